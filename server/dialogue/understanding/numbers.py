"""Spoken numbers: ``four eight two one``, ``double five``, ``oh``, ``forty eight twenty one``. Sans-I/O.

text2num turns number words into figures; what people do with digits on the telephone is added around it.
"""

from __future__ import annotations

import re

from text_to_num import alpha2digit

from server.dialogue.triggers import normalise
from server.dialogue.understanding.mention import CORRECTION, Mention

_REPEAT = re.compile(
    r"\b(double|triple|treble) ([0-9]|zero|oh|o|one|two|three|four|five|six|seven|eight|nine)\b"
)
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_OH = re.compile(r"\b(?:oh|o|zero|nought|naught|null|nil)\b")
_HOMOPHONES = {
    "to": "2",
    "too": "2",
    "for": "4",
    "ate": "8",
    "won": "1",
    "tree": "3",
    "fife": "5",
    "niner": "9",
}
_SKIPPED = frozenset(["and", "uh", "um", "er", "then", "dash", "hyphen", "space", "comma", "point"])
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")


def figures(text: str) -> str:
    """Return normalised text with number words as figures: ``half past ten`` as ``half past 10``."""
    words = _REPEAT.sub(lambda found: " ".join([found[2]] * _TIMES[found[1]]), normalise(text))
    converted: str = alpha2digit(words, "en", threshold=0.0)
    return " ".join(re.sub(r"(\d) ?(a|p)\.? ?m\b\.?", r"\1 \2m", converted).split())


def digit_runs(text: str) -> list[str]:
    """Return each run of spoken digits, joined; words between them part the runs."""
    return [item.value for item in _runs(text)]


def find_digits(text: str, length: int) -> Mention[str] | None:
    """Return the digits meant, when a run has ``length`` digits; after a correction the last run counts."""
    runs = _runs(text)
    whole = "".join(item.value for item in runs)
    fitting = [item for item in runs if len(item.value) == length]
    if fitting:
        return fitting[-1]
    if len(runs) > 1 and len(whole) == length and not CORRECTION.search(normalise(text)):
        return Mention(whole, text.strip(), 0)
    return None


def _runs(text: str) -> list[Mention[str]]:
    lowered = re.sub(r"(?<=\d)[,.:/-](?=\d)", " ", normalise(text.replace("-", " ")))
    tokens = figures(_OH.sub("zero", re.sub(r"(?<=\d)[.,:]", " ", lowered))).split()
    tokens = [_homophone(tokens, index) for index in range(len(tokens))]
    runs: list[Mention[str]] = []
    current, start, skipped = "", 0, 0
    for index, token in enumerate([*tokens, "."]):
        if token.isdigit():
            start = start if current else index
            current, skipped = current + token, 0
        elif current and token in _SKIPPED and skipped < 2:
            skipped += 1
        else:
            if current:
                runs.append(Mention(current, text.strip(), start))
            current, skipped = "", 0
    return runs


def _homophone(tokens: list[str], index: int) -> str:
    token = tokens[index]
    if token not in _HOMOPHONES:
        return token
    before = index > 0 and tokens[index - 1].isdigit()
    after = index + 1 < len(tokens) and tokens[index + 1].isdigit()
    edge = index in (0, len(tokens) - 1)
    return _HOMOPHONES[token] if (before and after) or (edge and (before or after)) else token


def cardinals(text: str) -> set[int]:
    """Return every number in a text, ordinals and times of day included, as whole numbers."""
    converted = _ORDINAL.sub(r"\1", figures(text.replace("-", " ")))
    return {int(digits) for digits in re.findall(r"\d+", converted.replace(",", ""))}
