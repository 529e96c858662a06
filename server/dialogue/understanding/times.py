"""Spoken times of day: ``half past ten``, ``quarter to four``, ``10.30``, ``3 p.m.``, ``noon``. Sans-I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import time
from typing import Final

from server.dialogue.understanding.mention import Mention, last_meant
from server.dialogue.understanding.numbers import figures

DAY_BEGINS: Final = 7
"""An hour below it, without a.m. or p.m., is in the afternoon: people ring about daytime."""

_H = r"(?P<h>1[0-9]|2[0-3]|0?[0-9])"
_AMPM = r"(?: ?(?P<half>am|pm|in the morning|in the afternoon|in the evening|at night|this afternoon|this morning))?"
_M = r"(?P<m>[0-5][0-9])"
_CLOCK = r"(?: ?o'?clock)?"
_LEAD = r"(?:at|around|about|by|for|from|to|after|before|until|till|make it|make that|say)"

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[int, int]], bool]


def _plain(found: re.Match[str]) -> tuple[int, int]:
    groups = found.groupdict()
    return int(groups["h"]), int(groups.get("m") or 0)


def _before(minutes: int) -> Callable[[re.Match[str]], tuple[int, int]]:
    return lambda found: ((int(found["h"]) - 1) % 24, 60 - minutes)


def _after(minutes: int) -> Callable[[re.Match[str]], tuple[int, int]]:
    return lambda found: (int(found["h"]), minutes)


def _rule(pattern: str, value: Callable[[re.Match[str]], tuple[int, int]], *, strong: bool = True) -> Rule:
    return re.compile(rf"(?<![\w:.]){pattern}(?![\w:])"), value, strong


_RULES: Final[tuple[Rule, ...]] = (
    _rule(r"(?:12 )?(?:noon|midday)", lambda _: (12, 0)),
    _rule(r"(?:12 )?midnight", lambda _: (0, 0)),
    _rule(rf"(?:a )?(?:half|1/2|30) (?:past|after) {_H}{_CLOCK}{_AMPM}", _after(30)),
    _rule(rf"(?:a )?quarter (?:past|after) {_H}{_CLOCK}{_AMPM}", _after(15)),
    _rule(rf"(?:a )?quarter (?:to|till|til|of|before) {_H}{_CLOCK}{_AMPM}", _before(15)),
    _rule(
        rf"(?P<n>5|10|15|20|25)(?: minutes?)? (?:past|after) {_H}{_CLOCK}{_AMPM}",
        lambda found: (int(found["h"]), int(found["n"])),
    ),
    _rule(
        rf"(?P<n>5|10|15|20|25)(?: minutes?)? (?:to|till|before) {_H}{_CLOCK}{_AMPM}",
        lambda found: ((int(found["h"]) - 1) % 24, 60 - int(found["n"])),
    ),
    _rule(rf"half {_H}{_AMPM}", _after(30)),
    _rule(rf"{_H}[:.h]{_M}(?: ?hours)?{_CLOCK}{_AMPM}", _plain),
    _rule(rf"{_H} (?:oh|o|0) (?P<m>[0-9]){_AMPM}", lambda found: (int(found["h"]), int(found["m"]))),
    _rule(rf"{_H} {_M} (?P<half>am|pm|in the morning|in the afternoon|in the evening)", _plain),
    _rule(rf"{_LEAD} {_H} {_M}{_CLOCK}", _plain),
    _rule(rf"{_LEAD} {_H}{_M}", _plain),
    _rule(rf"{_H} ?(?P<half>am|pm)", _plain),
    _rule(rf"{_H} ?o'?clock{_AMPM}", _plain),
    _rule(rf"{_H} (?P<half>in the morning|in the afternoon|in the evening|at night)", _plain),
    _rule(
        rf"(?:at|around|about|by|make it|make that) {_H}{_AMPM}(?! ?(?:/|%|days?|weeks?|st|nd|rd|th))", _plain
    ),
    _rule(rf"{_H} {_M}", _plain, strong=False),
    _rule(rf"{_H}{_M}", _plain, strong=False),
    _rule(rf"{_H}", _plain, strong=False),
)

_DATE_LIKE = re.compile(
    r"\b\d{1,2}(?:st|nd|rd|th)\b|\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}/\d{1,2}(?:/\d{2,4})?\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.? (?:the )?\d{1,2}\b(?![:.]\d)(?: \d{4}\b)?"
    r"|\b\d{1,2} (?:of )?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\b(?: \d{4}\b)?"
    r"|\bin \d+ (?:days?|weeks?|months?)\b"
)


def find_times(text: str) -> list[Mention[time]]:
    """Return every time of day in the text; a bare number is a weak mention."""
    words = _parted(text)
    blanked = _DATE_LIKE.sub(lambda found: "_" * len(found[0]), words)
    taken = [False] * len(blanked)
    mentions: list[Mention[time]] = []
    for pattern, value, strong in _RULES:
        for found in pattern.finditer(blanked):
            if any(taken[found.start() : found.end()]):
                continue
            hour, minute = value(found)
            half = found.groupdict().get("half") or ""
            if (spoken := _time_of_day(hour, minute, half)) is None:
                continue
            taken[found.start() : found.end()] = [True] * (found.end() - found.start())
            mentions.append(Mention(spoken, found[0].strip(), found.start(), strong))
    return sorted(mentions, key=lambda item: item.start)


def find_time(text: str, *, expected: bool) -> Mention[time] | None:
    """Return the time that was meant. A bare number counts only where a time was asked for."""
    mentions = find_times(text)
    strong = [item for item in mentions if item.strong]
    return last_meant(strong or (mentions if expected else []), _parted(text))


def _parted(text: str) -> str:
    """Return the text in figures; a comma keeps "not ten, eleven" from becoming eleven minutes past ten."""
    return figures(re.sub(r",(?!\d)", " ¦ ", text))


def _time_of_day(hour: int, minute: int, half: str) -> time | None:
    if not (0 <= hour <= 23 and 0 <= minute <= 59):
        return None
    if half in ("am", "in the morning", "this morning"):
        hour = 0 if hour == 12 else hour
    elif half:
        hour = hour + 12 if hour < 12 else hour
    elif 0 < hour < DAY_BEGINS:
        hour += 12
    return time(hour, minute) if hour <= 23 else None
