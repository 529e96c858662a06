"""Values as words that a synthesiser says well: dates, times, digits, lists. Sans-I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from typing import Final

from server.dialogue.understanding.dates import MONTHS, WEEKDAYS

_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS: Final = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS: Final = {
    1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth",
    20: "twentieth", 30: "thirtieth",
}  # fmt: skip


WEEKDAY_NAMES: Final = tuple(name.capitalize() for name in WEEKDAYS)


def cardinal(number: int) -> str:
    """Return a whole number below 10,000 as words."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    joint = " and " if rest < 100 else " "
    return f"{cardinal(thousands)} thousand" + (f"{joint}{cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """Return 1 to 99 as an ordinal in words."""
    if number in _ORDINALS:
        return _ORDINALS[number]
    if number < 20:
        return f"{_ONES[number]}th"
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{ordinal(ones)}" if ones else f"{_TENS[tens][:-1]}ieth"


def year(number: int) -> str:
    """Return a year as people say it: twenty twenty-six."""
    century, rest = divmod(number, 100)
    if rest == 0 or number // 10 == 200:
        return cardinal(number)
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def speak_date(value: date, *, today: date | None = None) -> str:
    """Return ``Tuesday the third of December``; the year is said only when it is not the obvious one."""
    words = f"{WEEKDAYS[value.weekday()].capitalize()} the {ordinal(value.day)} of {MONTHS[value.month - 1].capitalize()}"
    if today is not None and not 0 <= (value - today).days <= 330:
        words += f", {year(value.year)}"
    return words


def speak_time(value: time, *, part_of_day: bool = False) -> str:
    """Return ``half past ten``; with ``part_of_day`` also in the morning, afternoon or evening."""
    hour = value.hour % 12 or 12
    following = (value.hour + 1) % 12 or 12
    match value.minute:
        case 0 if value.hour == 12:
            return "twelve noon"
        case 0 if value.hour == 0:
            return "midnight"
        case 0:
            words = f"{cardinal(hour)} o'clock"
        case 15:
            words = f"quarter past {cardinal(hour)}"
        case 30:
            words = f"half past {cardinal(hour)}"
        case 45:
            words = f"quarter to {cardinal(following)}"
        case minute:
            words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    if not part_of_day:
        return words
    part = "morning" if value.hour < 12 else "afternoon" if value.hour < 18 else "evening"
    return f"{words} in the {part}"


def speak_digits(digits: str) -> str:
    """Return ``four, eight, two, one``: the commas make the synthesiser part them."""
    return ", ".join(_ONES[int(digit)] for digit in digits if digit.isdigit())


def speak_list(parts: Sequence[str], *, joint: str = "or") -> str:
    """Return ``a, b or c``."""
    if len(parts) <= 1:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}"


def speak(value: object, kind: str = "", *, today: date | None = None) -> str:
    """Return any value of a slot or a tool as words."""
    match value:
        case date():
            return speak_date(value, today=today)
        case time():
            return speak_time(value)
        case list() | tuple():
            return speak_list([speak(item, kind, today=today) for item in value])
        case bool():
            return "yes" if value else "no"
        case int() if 0 <= value < 10_000:
            return cardinal(value)
        case str() if kind == "digits" or (value.isdigit() and len(value) >= 3):
            return speak_digits(value)
        case _:
            return str(value)
