"""Spoken dates: ``the third of December``, ``December 3rd``, ``next Tuesday``, ``the day after tomorrow``. Sans-I/O.

dateparser resolves the relative ones it does well ("in two weeks"); calendar dates and weekdays have rules of their own,
because it leaves out weekday conflicts and takes "the 3rd" for last month's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Final

import dateparser

from server.dialogue.understanding.mention import Mention, last_meant
from server.dialogue.understanding.numbers import figures

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS: Final = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip

_WEEKDAY = r"(?P<weekday>mon(?:day)?|tue(?:s|sday)?|wed(?:nesday|s)?|thu(?:r|rs|rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)s?"
_MONTH = (
    r"(?P<month>january|jan|february|feb|march|mar|april|apr|may|june|jun|july|jul|august|aug|"
    r"september|sept|sep|october|oct|november|nov|december|dec)"
)
_DAY = r"(?P<day>3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)?"
_ORDINAL = r"(?P<day>3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)"
_YEAR = r"(?:,? (?P<year>20[0-9]{2}|20 [0-9]{2}))?"
_OPT_WEEKDAY = rf"(?:{_WEEKDAY},? (?:on )?(?:the )?)?"

Resolve = Callable[[re.Match[str], date], "tuple[date | None, str]"]


def _weekday_index(name: str) -> int:
    return next(index for index, full in enumerate(WEEKDAYS) if full.startswith(name[:3]))


def _calendar(found: re.Match[str], today: date) -> tuple[date | None, str]:
    groups = found.groupdict()
    month = next(index for index, full in enumerate(MONTHS, 1) if full.startswith(groups["month"][:3]))
    year = int(groups["year"].replace(" ", "")) if groups.get("year") else None
    value = _future(int(groups["day"]), month, year, today)
    return value, _conflict(groups.get("weekday"), value)


def _future(day: int, month: int, year: int | None, today: date) -> date | None:
    for candidate in (year,) if year else (today.year, today.year + 1):
        try:
            value = date(candidate, month, day)
        except ValueError:
            continue
        if year or value >= today:
            return value
    return None


def _conflict(weekday: str | None, value: date | None) -> str:
    wrong = weekday and value and value.weekday() != _weekday_index(weekday)
    return "weekday" if wrong else ""


def _numeric(found: re.Match[str], today: date) -> tuple[date | None, str]:
    first, second = int(found["a"]), int(found["b"])
    month, day = (first, second) if first <= 12 else (second, first)
    if not 1 <= month <= 12:
        return None, ""
    year = found.groupdict().get("year")
    full = int(year) + (2000 if len(year) == 2 else 0) if year else None
    return _future(day, month, full, today), ""


def _iso(found: re.Match[str], _today: date) -> tuple[date | None, str]:
    try:
        return date.fromisoformat(found[0]), ""
    except ValueError:
        return None, ""


def _day_of_month(found: re.Match[str], today: date) -> tuple[date | None, str]:
    day, weekday = int(found["day"]), found.groupdict().get("weekday")
    options: list[date] = []
    for ahead in range(13):
        month0 = today.month - 1 + ahead
        try:
            value = date(today.year + month0 // 12, month0 % 12 + 1, day)
        except ValueError:
            continue
        if value >= today:
            options.append(value)
    if weekday and options and options[0].weekday() != _weekday_index(weekday):
        return options[0], "weekday"
    return (options[0] if options else None), ""


def _coming(found: re.Match[str], today: date) -> tuple[date, str]:
    """The next such weekday after today; ``next`` means the one of next week, ``week`` a week later."""
    wanted = _weekday_index(found["weekday"])
    ahead = (wanted - today.weekday()) % 7 or 7
    which = (found.groupdict().get("which") or "").strip()
    if which == "next" and ahead <= 6 - today.weekday():
        ahead += 7
    if found.groupdict().get("later"):
        ahead += 7
    return today + timedelta(days=ahead), ""


def _relative(days: int) -> Resolve:
    return lambda _found, today: (today + timedelta(days=days), "")


def _parsed(found: re.Match[str], today: date) -> tuple[date | None, str]:
    words = re.sub(r"\b(?:a|an|one)\b", "1", found[0]).replace("fortnight", "2 weeks").replace("1 2", "2")
    words = re.sub(r" from (?:now|today)$", "", words)
    parsed: datetime | None = dateparser.parse(
        words if words.startswith("in ") else f"in {words}",
        languages=["en"],
        settings={
            "RELATIVE_BASE": datetime.combine(today, time()),
            "PREFER_DATES_FROM": "future",
        },
    )
    return (parsed.date() if parsed else None), ""


def _rule(pattern: str, resolve: Resolve, *, strong: bool = True) -> tuple[re.Pattern[str], Resolve, bool]:
    return re.compile(rf"(?<![\w/-]){pattern}(?![\w/-])"), resolve, strong


_RULES: Final = (
    _rule(r"\d{4}-\d{2}-\d{2}", _iso),
    _rule(rf"{_OPT_WEEKDAY}(?:the )?{_DAY}(?: day)?(?: of|,)? {_MONTH}{_YEAR}", _calendar),
    _rule(rf"{_OPT_WEEKDAY}{_MONTH}(?: the)? {_DAY}(?![:.]\d){_YEAR}", _calendar),
    _rule(r"(?P<a>\d{1,2})/(?P<b>\d{1,2})(?:/(?P<year>\d{4}|\d{2}))?", _numeric),
    _rule(r"(?:the )?day after tomorrow", _relative(2)),
    _rule(rf"(?:(?:of|in) )?(?P<which>next) week(?: on)? {_WEEKDAY}", _coming),
    _rule(rf"{_WEEKDAY}(?: of)? (?P<which>next) week", _coming),
    _rule(
        rf"(?:a )?week (?:on|from) (?P<later>){_WEEKDAY}",
        lambda f, t: (_coming(f, t)[0] + timedelta(days=7), ""),
    ),
    _rule(rf"{_WEEKDAY} (?P<later>week)", _coming),
    _rule(rf"{_WEEKDAY},? (?:on )?(?:the )?{_ORDINAL}", _day_of_month),
    _rule(rf"(?:(?P<which>next|this|this coming|coming|on|on the) )?{_WEEKDAY}", _coming),
    _rule(r"(?:a )?week (?:from )?tomorrow|tomorrow week", _relative(8)),
    _rule(r"tomorrow|tomorrow's", _relative(1)),
    _rule(
        r"(?:in )?(?:a|an|one|\d+) (?:days?|weeks?|months?|fortnight)(?:'s? time| from (?:now|today)| time)",
        _parsed,
    ),
    _rule(r"in (?:a|an|one|\d+) (?:days?|weeks?|months?|fortnight)", _parsed),
    _rule(r"today|today's|this (?:morning|afternoon|evening)|tonight", _relative(0)),
    _rule(rf"(?:on )?(?:the )?{_ORDINAL}", _day_of_month, strong=False),
    _rule(r"the (?P<day>3[01]|[12][0-9]|0?[1-9])", _day_of_month, strong=False),
)


def _repair(words: str) -> str:
    """Mend what recognition does to dates: "2nd" of "a second", years in two halves, "Tuesday's"."""
    words = re.sub(r"\b(?:1|a|just a|1st) 2nd\b", lambda found: "_" * len(found[0]), words)
    return re.sub(r"\b(monday|tuesday|wednesday|thursday|friday|saturday|sunday)'s\b", r"\1", words)


def find_dates(text: str, today: date) -> list[Mention[date]]:
    """Return every date in the text. A weekday that does not fit its date carries the note ``weekday``."""
    words = _repair(figures(text))
    taken = [False] * len(words)
    mentions: list[Mention[date]] = []
    for pattern, resolve, strong in _RULES:
        for found in pattern.finditer(words):
            if any(taken[found.start() : found.end()]):
                continue
            value, note = resolve(found, today)
            # A date that cannot be ("the 31st of February") is not read as another one either.
            taken[found.start() : found.end()] = [True] * (found.end() - found.start())
            if value is None:
                continue
            mentions.append(Mention(value, found[0].strip(), found.start(), strong, note))
    return sorted(mentions, key=lambda item: item.start)


def find_date(text: str, today: date, *, expected: bool) -> Mention[date] | None:
    """Return the date that was meant. "The 3rd" alone counts only where a date was asked for."""
    mentions = find_dates(text, today)
    strong = [item for item in mentions if item.strong]
    return last_meant(strong or (mentions if expected else []), _repair(figures(text)))
