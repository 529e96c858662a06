"""What the words of a turn so far say about whether more will come. Pure; English telephone speech as Whisper writes it."""

from __future__ import annotations

import enum
import re
from typing import Final

_CLOCK_TIME: Final = re.compile(r"\b\d{1,2}[:.]\d{2}\b")
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")

_UNFINISHED_LAST_WORDS: Final = frozenset(
    "a an the and or but so because if when that which who to of in on at by from with into "
    "is are was were am i i'm i'd i'll we we're they it's my your our his their um uh er erm "
    "hmm would could should can will may has had does very really than as next".split()
)
"""After these a speaker goes on (articles, prepositions, conjunctions, auxiliaries, hesitations)."""

_DIGIT_WORDS: Final = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_DICTATION_MIN: Final = 2
_CLOCK_DIGITS: Final = 2
_TELEPHONE_NUMBER_DIGITS: Final = 7
_SPELLED_MIN: Final = 2

_ACKNOWLEDGEMENTS: Final = frozenset(
    "mm mhm mmhmm mm-hmm hm hmm uh-huh uhuh huh aha ah oh right okay ok yeah yep yes sure exactly "
    "i-see got-it all-right alright of-course good great fine cool thanks".split()
)
"""What a listener says while the other goes on (Yngve 1970), without wanting the turn."""
_ACKNOWLEDGEMENT_WORDS: Final = 4
_GREETINGS: Final = frozenset("hello hi hey good morning afternoon evening yes there".split())
_TWO_WORD_SIGNS: Final = frozenset({"mm-hmm", "uh-huh", "i-see", "got-it", "all-right", "of-course"})


class Completeness(enum.Enum):
    """How finished the words of a turn sound."""

    SILENT = "silent"
    """No words."""
    QUESTION = "question"
    COMPLETE = "complete"
    UNFINISHED = "unfinished"
    """Breaks off: "I would like to", "and", "on the"."""
    DICTATING = "dictating"
    """Digits or letters one by one, fewer than expected or than a telephone number has."""


def words(text: str) -> list[str]:
    """Return the words of a transcript in lower case, punctuation dropped."""
    return _WORD.findall(text.lower().replace("’", "'"))


def same_words(one: str, other: str) -> bool:
    """Say whether two transcripts hold the same words, whatever their punctuation and case."""
    return words(one) == words(other)


def completeness(text: str, *, expected_digits: int = 0) -> Completeness:
    """Judge how finished ``text`` sounds. With ``expected_digits`` a number of so many digits is whole."""
    spoken = words(text)
    if not spoken:
        return Completeness.SILENT
    digits = _digits_at_end(spoken) if not _CLOCK_TIME.search(text) else []
    if expected_digits and digits:
        return Completeness.COMPLETE if _count(digits) >= expected_digits else Completeness.DICTATING
    if text.rstrip().endswith(("...", "…", "-", ",")):
        return Completeness.UNFINISHED
    if text.rstrip().endswith("?"):
        return Completeness.QUESTION
    if spoken[-1] in _UNFINISHED_LAST_WORDS and len(spoken) > 1:
        return Completeness.UNFINISHED
    if _is_dictated(digits) or _is_spelled(spoken):
        return Completeness.DICTATING
    return Completeness.COMPLETE


def is_acknowledgement(text: str) -> bool:
    """Say whether these are only a listener's words ("mm-hmm", "right, okay"), or none."""
    spoken = _joined(words(text))
    return len(spoken) <= _ACKNOWLEDGEMENT_WORDS and all(word in _ACKNOWLEDGEMENTS for word in spoken)


def is_greeting(text: str) -> bool:
    """Say whether the caller only says hello, as people do when they hear that somebody answers."""
    spoken = words(text)
    return bool(spoken) and len(spoken) <= 3 and all(word in _GREETINGS for word in spoken)


def _joined(spoken: list[str]) -> list[str]:
    """Join what two words say together: "uh huh" is one sign."""
    joined: list[str] = []
    for word in spoken:
        if joined and f"{joined[-1]}-{word}" in _TWO_WORD_SIGNS:
            joined[-1] = f"{joined[-1]}-{word}"
        else:
            joined.append(word)
    return joined


def _digits_at_end(spoken: list[str]) -> list[str]:
    taken: list[str] = []
    for word in reversed(spoken):
        if not word.isdigit() and word not in _DIGIT_WORDS:
            break
        taken.append(word)
    return taken[::-1]


def _count(digits: list[str]) -> int:
    return sum(len(word) if word.isdigit() else 1 for word in digits)


def _is_dictated(digits: list[str]) -> bool:
    """Say whether these are digits spoken one by one; a single "10" or "25th" is a time or a day."""
    count = _count(digits)
    return _DICTATION_MIN <= count < _TELEPHONE_NUMBER_DIGITS and (len(digits) > 1 or count > _CLOCK_DIGITS)


def _is_spelled(spoken: list[str]) -> bool:
    """Say whether the words end in single letters: "B A K", which may go on."""
    letters = 0
    for word in reversed(spoken):
        if len(word) != 1 or not word.isalpha():
            break
        letters += 1
    return letters >= _SPELLED_MIN
