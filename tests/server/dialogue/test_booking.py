"""Booking, moving and cancelling at the clinic, from the first words to the row in the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.dialogue import Talk

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "clinic.db"


def booked(database: Path, name: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT day, time FROM appointment WHERE name = ? AND status = 'booked' ORDER BY day, time",
            (name,),
        )
        return [(day, at) for day, at in rows]


async def test_an_appointment_is_booked_step_by_step(database: Path) -> None:
    talk = Talk(database)
    assert "day" in (await talk.say("I'd like to book an appointment.")).words
    assert "time" in (await talk.say("Next Tuesday.")).words
    assert "name" in (await talk.say("Half past ten.")).words
    asked = await talk.say("Nora Peters")
    assert asked.words == (
        "I have Tuesday the twenty-fourth of November at half past ten for Nora Peters. Shall I book it?"
    )
    assert booked(database, "Nora Peters") == []
    done = await talk.say("Yes, please.")
    assert done.effects == ["book_appointment"]
    assert booked(database, "Nora Peters") == [("2026-11-24", "10:30")]
    assert "half past ten" in done.words
    assert (await talk.say("No, thank you.")).ended == "completed"


async def test_everything_said_at_once_is_not_asked_again(database: Path) -> None:
    talk = Talk(database)
    asked = await talk.say("My name is Nora Peters and I need to see a doctor next Tuesday at half past ten.")
    assert asked.words.startswith(
        "I have Tuesday the twenty-fourth of November at half past ten for Nora Peters."
    )


@pytest.mark.parametrize(
    "words", ["no, Thursday", "Yes, but on Thursday", "I meant Thursday", "Not Tuesday, Thursday."]
)
async def test_a_correction_changes_what_will_be_booked(database: Path, words: str) -> None:
    talk = Talk(database)
    await talk.say_all("An appointment please", "Tuesday at half past ten", "Nora Peters")
    again = await talk.say(words)
    assert again.effects == []
    assert "Thursday the twenty-sixth of November at half past ten" in again.words
    await talk.say("Yes")
    assert booked(database, "Nora Peters") == [("2026-11-26", "10:30")]


async def test_a_plain_no_asks_what_to_change(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("An appointment please", "Tuesday at half past ten", "Norah Peterson")
    assert "change" in (await talk.say("No.")).words
    assert "name" in (await talk.say("The name.")).words
    assert "Nora Peters." in (await talk.say("Nora Peters")).words
    await talk.say("yes")
    assert booked(database, "Nora Peters") == [("2026-11-24", "10:30")]


async def test_nothing_is_booked_when_the_caller_leaves_it(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("An appointment please", "Tuesday at half past ten", "Nora Peters")
    left = await talk.say_all("No", "Leave it")
    assert "not booked" in left.words
    assert booked(database, "Nora Peters") == []


async def test_a_time_that_is_taken_is_refused_and_others_are_offered(database: Path) -> None:
    talk = Talk(database)
    refused = await talk.say_all("I'd like an appointment", "Tuesday at quarter to twelve")
    assert "not free" in refused.words
    assert "half past eleven" in refused.words
    await talk.say_all("Half past eleven", "Nora Peters", "Yes")
    assert booked(database, "Nora Peters") == [("2026-11-24", "11:30")]


async def test_two_callers_cannot_have_the_same_time(database: Path) -> None:
    first, second = Talk(database, call_id="a"), Talk(database, call_id="b")
    for talk, name in ((first, "Nora Peters"), (second, "Otto Krause")):
        await talk.say_all("An appointment please", "Tuesday at half past ten", name)
    await first.say("Yes")
    late = await second.say("Yes")
    assert "taken" in late.words
    assert booked(database, "Otto Krause") == []
    assert booked(database, "Nora Peters") == [("2026-11-24", "10:30")]


@pytest.mark.parametrize(
    ("day", "words"),
    [
        ("Sunday", "closed"),
        ("the third of December 2028", "a year ahead"),
        ("November third 2026", "in the past"),
    ],
)
async def test_a_day_without_appointments_is_said_at_once(database: Path, day: str, words: str) -> None:
    talk = Talk(database)
    refused = await talk.say_all("I'd like an appointment", day)
    assert words in refused.words
    assert "Which day" in refused.words


async def test_a_weekday_that_does_not_fit_is_asked_about(database: Path) -> None:
    talk = Talk(database)
    doubt = await talk.say_all("I'd like an appointment", "Tuesday the third of December")
    assert "Do you mean Thursday the third of December?" in doubt.words
    assert "Thursday the third of December" in (await talk.say("Yes")).words


async def test_a_question_in_between_is_answered_and_the_booking_goes_on(database: Path) -> None:
    talk = Talk(database)
    between = await talk.say_all("I'd like an appointment", "Are you open on Saturday?")
    assert "nine o'clock in the morning" in between.words
    assert between.words.endswith("Which day would suit you?")
    await talk.say_all(
        "Tuesday", "half past ten", "Are you a machine?", "Nora Peters", "Are you open on Saturday?", "yes"
    )
    assert booked(database, "Nora Peters") == [("2026-11-24", "10:30")]


async def test_free_times_are_named_on_request(database: Path) -> None:
    talk = Talk(database)
    named = await talk.say_all("I'd like an appointment", "Tuesday", "What times do you have?")
    assert "eight o'clock" in named.words
    assert "name" in (await talk.say("Eight.")).words


async def test_an_appointment_is_cancelled_by_number_and_name(database: Path) -> None:
    talk = Talk(database)
    asked = await talk.say_all("I want to cancel my appointment", "four eight two one", "Maria Lopes")
    assert "for Maria Lopez. Shall I cancel it?" in asked.words
    assert booked(database, "Maria Lopez")
    await talk.say("Yes")
    assert booked(database, "Maria Lopez") == []


async def test_the_number_can_be_typed(database: Path) -> None:
    talk = Talk(database)
    await talk.say("I want to cancel my appointment")
    for key in "482":
        assert (await talk.say(key, source="dtmf")).replies == []
    assert "name" in (await talk.say("1", source="dtmf")).words
    await talk.say("Maria Lopez")
    await talk.say("1", source="dtmf")
    assert booked(database, "Maria Lopez") == []


async def test_a_number_under_another_name_opens_nothing(database: Path) -> None:
    talk = Talk(database)
    refused = await talk.say_all("Cancel my appointment", "4 8 2 1", "Bob Stone")
    assert "not under the name" in refused.words
    assert "Lopez" not in refused.words
    assert booked(database, "Maria Lopez")


async def test_after_three_wrong_numbers_a_person_is_offered(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("Cancel my appointment", "1 1 1 1", "Bob Stone", "2 2 2 2")
    assert "speak to a person" in (await talk.say("3 3 3 3")).words
    assert (await talk.say("Yes")).handed_over == "asked"


async def test_an_appointment_is_moved(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("I need to reschedule my appointment", "7305", "James Wilson")
    asked = await talk.say("Next Friday at 3 p.m.")
    assert "to Friday the twenty-seventh of November at three o'clock" in asked.words
    await talk.say("That's right")
    assert booked(database, "James Wilson") == [("2026-11-27", "15:00")]


async def test_three_misunderstandings_bring_a_person(database: Path) -> None:
    talk = Talk(database)
    result = await talk.say_all("I'd like an appointment", "blah", "blub", "brr")
    assert result.handed_over == "misunderstood"


async def test_a_doubtful_yes_is_asked_for_again(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("An appointment please", "Tuesday at half past ten", "Nora Peters")
    unsure = await talk.say("Yes", confidence=0.2)
    assert "yes or a no" in unsure.words
    assert booked(database, "Nora Peters") == []
    await talk.say("Yes", confidence=0.9)
    assert booked(database, "Nora Peters")


async def test_a_yes_to_a_question_that_was_cut_off_books_nothing(database: Path) -> None:
    talk = Talk(database)
    asked = await talk.say_all("An appointment please", "Tuesday at half past ten", "Nora Peters")
    talk.dialogue.played("I have Tuesday")
    again = await talk.say("Yes")
    assert again.words == asked.words
    assert booked(database, "Nora Peters") == []
    await talk.say("Yes")
    assert booked(database, "Nora Peters")


async def test_a_yes_to_are_you_still_there_is_a_yes_to_the_open_question(database: Path) -> None:
    talk = Talk(database)
    await talk.say_all("An appointment please", "Tuesday at half past ten", "Nora Peters")
    prompt = talk.dialogue.silence_prompt()
    assert prompt.endswith("Shall I book it?")
