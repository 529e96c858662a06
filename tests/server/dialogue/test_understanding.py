"""What callers say on the telephone, as speech recognition writes it, and the values it means."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dialogue.provenance import said, understand
from server.dialogue.speaking import cardinal, ordinal, speak_date, speak_digits, speak_time
from server.dialogue.state import TurnRecord
from server.dialogue.understanding.dates import find_date
from server.dialogue.understanding.names import find_name, likeness
from server.dialogue.understanding.numbers import cardinals, digit_runs, find_digits
from server.dialogue.understanding.times import find_time
from server.dialogue.understanding.yes_no import yes_or_no

TODAY = date(2026, 11, 21)
"""A Saturday."""

DIGITS = [
    ("four eight two one", "4821"),
    ("4821.", "4821"),
    ("4-8-2-1", "4821"),
    ("4, 8, 2, 1.", "4821"),
    ("It's four eight two one.", "4821"),
    ("double five one two", "5512"),
    ("Triple seven one", "7771"),
    ("oh four double two", "0422"),
    ("zero four two two", "0422"),
    ("forty eight twenty one", "4821"),
    ("48 21", "4821"),
    ("four thousand eight hundred and twenty one", "4821"),
    ("4,821", "4821"),
    ("4 8 to 1", "4821"),
    ("My number is 4 8 2 1, please.", "4821"),
    ("4821, no sorry, 4822", "4822"),
    ("uh, four eight, um, two one", "4821"),
    ("5551234", None),
    ("four eight two", None),
    ("I don't have it", None),
]


@pytest.mark.parametrize(("text", "expected"), DIGITS, ids=[text for text, _ in DIGITS])
def test_spoken_digits_of_an_appointment_number(text: str, expected: str | None) -> None:
    found = find_digits(text, 4)
    assert (found.value if found else None) == expected


DATES = [
    ("the third of December", "2026-12-03"),
    ("December third", "2026-12-03"),
    ("December 3rd.", "2026-12-03"),
    ("December 3", "2026-12-03"),
    ("3 December", "2026-12-03"),
    ("Thursday, December 3rd, 2026", "2026-12-03"),
    ("Thursday the third of December", "2026-12-03"),
    ("on December the third", "2026-12-03"),
    ("December 3rd at 10.30", "2026-12-03"),
    ("the twenty-first of December", "2026-12-21"),
    ("the thirty first of January", "2027-01-31"),
    ("first of January", "2027-01-01"),
    ("January fifth", "2027-01-05"),
    ("Monday, December the seventh", "2026-12-07"),
    ("12/3", "2026-12-03"),
    ("12/3/2026", "2026-12-03"),
    ("2026-12-03", "2026-12-03"),
    ("the 3rd", "2026-12-03"),
    ("on the fifth", "2026-12-05"),
    ("the twenty fourth", "2026-11-24"),
    ("Friday the 4th", "2026-12-04"),
    ("next Tuesday", "2026-11-24"),
    ("Tuesday", "2026-11-24"),
    ("Tuesday, please.", "2026-11-24"),
    ("this coming Monday", "2026-11-23"),
    ("on Wednesday", "2026-11-25"),
    ("How about Wednesday?", "2026-11-25"),
    ("Tuesday week", "2026-12-01"),
    ("a week on Tuesday", "2026-12-01"),
    ("next week on Wednesday", "2026-11-25"),
    ("Wednesday next week", "2026-11-25"),
    ("today", "2026-11-21"),
    ("this afternoon", "2026-11-21"),
    ("tomorrow", "2026-11-22"),
    ("tomorrow morning at nine", "2026-11-22"),
    ("the day after tomorrow", "2026-11-23"),
    ("in two weeks", "2026-12-05"),
    ("in a week", "2026-11-28"),
    ("in three days", "2026-11-24"),
    ("two weeks from today", "2026-12-05"),
    ("in a fortnight", "2026-12-05"),
    ("a week from Monday", "2026-11-30"),
    ("no, Thursday", "2026-11-26"),
    ("not Tuesday, Thursday", "2026-11-26"),
    ("Tuesday, no sorry, Thursday", "2026-11-26"),
    ("from Tuesday to Friday", "2026-11-27"),
    ("I need to see a doctor next Tuesday at half past ten", "2026-11-24"),
    ("one second please", None),
    ("I may need a doctor", None),
    ("I don't know", None),
    ("the 31st of February", None),
]


@pytest.mark.parametrize(("text", "expected"), DATES, ids=[text for text, _ in DATES])
def test_spoken_dates(text: str, expected: str | None) -> None:
    found = find_date(text, TODAY, expected=True)
    assert (found.value.isoformat() if found else None) == expected


@pytest.mark.parametrize(
    ("today", "text", "expected"),
    [
        (date(2026, 11, 23), "next Tuesday", "2026-12-01"),
        (date(2026, 11, 23), "on Tuesday", "2026-11-24"),
        (date(2026, 11, 24), "Tuesday", "2026-12-01"),
        (date(2026, 12, 10), "December third", "2027-12-03"),
        (date(2026, 12, 3), "the third", "2026-12-03"),
        (date(2024, 2, 1), "the twenty ninth of February", "2024-02-29"),
    ],
)
def test_relative_dates_count_from_the_day_of_the_call(today: date, text: str, expected: str) -> None:
    found = find_date(text, today, expected=True)
    assert found is not None
    assert found.value.isoformat() == expected


def test_a_weekday_that_does_not_fit_its_date_is_noted() -> None:
    found = find_date("Tuesday the third of December", TODAY, expected=True)
    assert found is not None
    assert found.note == "weekday"


TIMES = [
    ("half past ten", "10:30"),
    ("half past 10.", "10:30"),
    ("half ten", "10:30"),
    ("quarter to four", "15:45"),
    ("a quarter past nine", "09:15"),
    ("quarter of three", "14:45"),
    ("quarter after eleven", "11:15"),
    ("ten thirty", "10:30"),
    ("10:30", "10:30"),
    ("10.30", "10:30"),
    ("At 10.30 a.m.", "10:30"),
    ("1030", "10:30"),
    ("at 1030", "10:30"),
    ("ten oh five", "10:05"),
    ("eight forty five", "08:45"),
    ("nine fifteen in the morning", "09:15"),
    ("twenty past nine", "09:20"),
    ("ten to three", "14:50"),
    ("five past twelve", "12:05"),
    ("3 p.m.", "15:00"),
    ("3pm", "15:00"),
    ("2:30 p.m.", "14:30"),
    ("12 p.m.", "12:00"),
    ("noon", "12:00"),
    ("twelve noon", "12:00"),
    ("ten o'clock, please.", "10:00"),
    ("4 o'clock", "16:00"),
    ("at ten", "10:00"),
    ("at three", "15:00"),
    ("ten", "10:00"),
    ("three", "15:00"),
    ("around two in the afternoon", "14:00"),
    ("seven in the evening", "19:00"),
    ("eight in the morning", "08:00"),
    ("make it eleven", "11:00"),
    ("no, make it eleven", "11:00"),
    ("not ten, eleven", "11:00"),
    ("the third of December at half past ten", "10:30"),
    ("December 3rd at 10.30", "10:30"),
    ("Tuesday at nine", "09:00"),
    ("14:15", "14:15"),
    ("in two weeks", None),
    ("December 3rd", None),
    ("I don't mind", None),
]


@pytest.mark.parametrize(("text", "expected"), TIMES, ids=[text for text, _ in TIMES])
def test_spoken_times(text: str, expected: str | None) -> None:
    found = find_time(text, expected=True)
    assert (found.value.isoformat("minutes") if found else None) == expected


def test_a_bare_number_is_a_time_only_where_a_time_was_asked_for() -> None:
    assert find_time("four eight two one", expected=False) is None
    assert find_time("ten", expected=False) is None


NAMES = [
    ("My name is Maria Lopez.", "Maria Lopez"),
    ("my name's maria lopez", "Maria Lopez"),
    ("The name is Jean-Luc Picard", "Jean-Luc Picard"),
    ("It's Maria Lopez", "Maria Lopez"),
    ("It's for Maria Lopez, please.", "Maria Lopez"),
    ("Maria Lopez", "Maria Lopez"),
    ("Maria Lopez, please.", "Maria Lopez"),
    ("Yes, Maria Lopez.", "Maria Lopez"),
    ("Uh, Lopez. Maria Lopez.", "Maria Lopez"),
    ("This is John Smith speaking.", "John Smith"),
    ("I'm John Smith and I'd like to book", "John Smith"),
    ("Mrs. Sarah Cohen", "Sarah Cohen"),
    ("O'Brien", "O'Brien"),
    ("Maria Lopez, L O P E Z", "Maria Lopez"),
    ("Maria Lopes, spelled L-O-P-E-Z.", "Maria Lopez"),
    ("Lopez, L.O.P.E.Z.", "Lopez"),
    ("L-O-P-E-Z", "Lopez"),
    ("Anna Maria de la Cruz", "Anna Maria De La Cruz"),
    ("Next Tuesday", None),
    ("I'm looking for a doctor", None),
    ("What do you mean?", None),
    ("Yes please.", None),
]


@pytest.mark.parametrize(("text", "expected"), NAMES, ids=[text for text, _ in NAMES])
def test_spoken_names(text: str, expected: str | None) -> None:
    found = find_name(text, expected=True)
    assert (found.value if found else None) == expected


@pytest.mark.parametrize("text", ["Maria Lopez", "I'm looking for a doctor", "It's raining", "for Tuesday"])
def test_no_name_is_taken_where_none_was_asked_for(text: str) -> None:
    assert find_name(text, expected=False) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Maria Lopez", "Maria Lopes", True),
        ("Sarah Cohen", "Sara Kohen", True),
        ("Philip Meyer", "Filip Meier", True),
        ("Maria Lopez", "David Miller", False),
        ("Bob Stone", "David Miller", False),
    ],
)
def test_names_are_compared_by_sound(one: str, other: str, same: bool) -> None:
    assert (likeness(one, other) >= 0.72) is same


ANSWERS = [
    ("Yes.", "yes"), ("Yes, please.", "yes"), ("Yeah, that's correct.", "yes"), ("Sure, go ahead.", "yes"),
    ("That's right", "yes"), ("Okay.", "yes"), ("Right.", "yes"), ("No problem.", "yes"), ("Please do.", "yes"),
    ("Yes, but at eleven", "yes"), ("That works for me", "yes"), ("No.", "no"), ("No, thank you.", "no"),
    ("no, Thursday", "no"), ("Nope", "no"), ("That's not right", "no"), ("I don't think so", "no"),
    ("Don't book it", "no"), ("No, that's wrong.", "no"), ("Not yet", "no"), ("Hmm.", "unclear"),
    ("What?", "unclear"), ("Tuesday", "unclear"), ("Yes no", "unclear"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ANSWERS, ids=[text for text, _ in ANSWERS])
def test_yes_and_no(text: str, expected: str) -> None:
    assert yes_or_no(text) == expected


# ── the way back: what is spoken is understood as the same value ─────────────────────────────────


@given(st.dates(TODAY, TODAY + timedelta(days=330)))
def test_a_spoken_date_is_understood_as_itself(value: date) -> None:
    found = find_date(speak_date(value, today=TODAY), TODAY, expected=True)
    assert found is not None
    assert (found.value, found.note) == (value, "")


@given(st.dates(TODAY + timedelta(days=340), TODAY + timedelta(days=900)))
def test_a_date_far_away_is_spoken_with_its_year(value: date) -> None:
    found = find_date(speak_date(value, today=TODAY), TODAY, expected=True)
    assert found is not None
    assert found.value == value


@given(st.times().map(lambda item: item.replace(second=0, microsecond=0)).filter(lambda item: item.hour > 0))
def test_a_spoken_time_is_understood_as_itself(value: time) -> None:
    found = find_time(speak_time(value, part_of_day=True), expected=True)
    assert found is not None
    assert found.value == value


@given(st.text("0123456789", min_size=4, max_size=4))
def test_spoken_digits_are_understood_as_themselves(digits: str) -> None:
    assert digit_runs(speak_digits(digits)) == [digits]


@given(st.integers(0, 9999))
def test_a_spoken_number_is_understood_as_itself(number: int) -> None:
    assert number in cardinals(cardinal(number))


@pytest.mark.parametrize(
    ("spoken", "words"),
    [
        (speak_date(date(2026, 12, 1)), "Tuesday the first of December"),
        (speak_date(date(2026, 12, 22)), "Tuesday the twenty-second of December"),
        (
            speak_date(date(2027, 12, 30), today=TODAY),
            "Thursday the thirtieth of December, twenty twenty-seven",
        ),
        (speak_time(time(10, 30)), "half past ten"),
        (speak_time(time(15, 45)), "quarter to four"),
        (speak_time(time(8), part_of_day=True), "eight o'clock in the morning"),
        (speak_time(time(9, 5)), "nine oh five"),
        (speak_digits("4021"), "four, zero, two, one"),
        (ordinal(12), "twelfth"),
    ],
)
def test_values_are_spoken_as_words(spoken: str, words: str) -> None:
    assert spoken == words


@given(st.sampled_from([text for text, value in TIMES if value]), st.sampled_from(["date", "digits", "name"]))
def test_what_is_understood_is_also_found_again_as_said(text: str, kind: str) -> None:
    for wanted in (kind, "time"):
        found = understand(wanted, text, TODAY, expected=True)
        if found is not None:
            assert said(wanted, found.text, TurnRecord(1, text, "speech", TODAY.isoformat()))
