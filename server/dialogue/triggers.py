"""What callers say, written as an owner can read it: words, ``a|b`` alternatives, ``[maybe]`` and ``...`` gaps.

``book|make|schedule ... appointment|visit`` matches "could you make me an appointment". A trigger may match anywhere
in what was said, unless it begins with ``^`` (only at the start) or ends with ``$`` (only at the end). Sans-I/O.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_GAP_WORDS = 6


class TriggerError(ValueError):
    """A trigger cannot be read; the text says what was expected."""


_PUNCTUATION = re.compile(r"(?<!\d)[.,:](?!\d)|(?<=\d)[.,:](?!\d)|(?<!\d)[.,:](?=\d)|[!?;\"()\[\]…—–]|--+")
_HYPHEN = re.compile(r"(?<!\d\d\d\d)(?<!\d\d\d\d-\d\d)-|-(?!\d\d\b)")
"""Every hyphen but those of a date like 2026-12-03."""
_TOKEN = re.compile(r"^[a-z0-9'’|+-]+$")


def normalise(text: str) -> str:
    """Lower case, one space between words, punctuation gone except inside numbers and words."""
    lowered = text.lower().replace("’", "'").replace("‘", "'")
    return " ".join(_HYPHEN.sub(" ", _PUNCTUATION.sub(" ", lowered)).split())


@lru_cache(maxsize=1024)
def compile_trigger(trigger: str) -> re.Pattern[str]:
    """Return the pattern to search in normalised text. Raises :class:`TriggerError`."""
    words = trigger.lower().replace("’", "'").split()
    start = bool(words) and words[0].startswith("^")
    end = bool(words) and words[-1].endswith("$")
    if start:
        words[0] = words[0][1:]
    if end:
        words[-1] = words[-1][:-1]
    words = [word for word in words if word]
    if not words or all(word == "..." for word in words):
        raise TriggerError(f"trigger {trigger!r}: expected at least one word")
    # Each word part eats the space behind it, so nothing but the end of the text remains to be asked for.
    opening = "^" if start else r"(?:^|(?<= ))"
    return re.compile(opening + "".join(_part(word, trigger) for word in words) + ("$" if end else ""))


def _part(word: str, trigger: str) -> str:
    if word == "...":
        return rf"(?:[^ ]+ ){{0,{MAX_GAP_WORDS}}}?"
    optional = word.startswith("[") and word.endswith("]")
    inner = word[1:-1] if optional else word
    if not _TOKEN.match(inner) or not all(inner.split("|")):
        raise TriggerError(
            f"trigger {trigger!r}: cannot read {word!r}; expected words, a|b, [maybe], `...`, ^ first or $ last"
        )
    group = "|".join(re.escape(choice).replace(r"\+", " ") for choice in inner.split("|"))
    return rf"(?:(?:{group})(?: |$)){'?' if optional else ''}"


def matches(triggers: tuple[str, ...], normalised: str) -> re.Match[str] | None:
    """Return the first match of any trigger in normalised text."""
    for trigger in triggers:
        if (found := compile_trigger(trigger).search(normalised)) is not None:
            return found
    return None
