"""Transcript cues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.turns.endpointing import Cues, Expected, FusedSilence, endpointing, fused
from server.turns.pauses import PauseHabit
from server.turns.settings import TurnSettings
from server.turns.transcript_cues import (
    Completeness,
    completeness,
    is_acknowledgement,
    is_greeting,
    same_words,
)

OPEN = (Completeness.UNFINISHED, Completeness.DICTATING)


@pytest.mark.parametrize(
    "text",
    [
        "I would like to",
        "It's on the",
        "My number is four eight",
        "four eight two",
        "I need an appointment, and",
        "Well, uh",
        "I was wondering...",
        "I can come on Tuesday or",
    ],
)
def test_what_breaks_off_goes_on(text: str) -> None:
    assert completeness(text) in OPEN


@pytest.mark.parametrize(
    "text",
    [
        "What are your hours on Saturday?",
        "Yes.",
        "Half past ten.",
        "I am nervous about coming to see you.",
        "Thank you.",
        "At 10:30.",
        "Next Wednesday at half past 10.",
        "The 25",
        "Where is it at?",
        "My number is 020 7946 0958",
        "four",
        "",
    ],
)
def test_what_is_complete_is_over(text: str) -> None:
    assert completeness(text) not in OPEN


def test_a_number_is_whole_when_it_has_the_digits_that_were_asked_for() -> None:
    assert completeness("4 8 2", expected_digits=6) is Completeness.DICTATING
    assert completeness("4 8 2 9 1 0", expected_digits=6) is Completeness.COMPLETE
    assert completeness("482910.", expected_digits=6) is Completeness.COMPLETE


@pytest.mark.parametrize(
    "text",
    [
        "Thank you very much.",
        "Okay, thanks.",
        "No, thank you.",
        "Yes, please.",
        "That's all, thank you. Goodbye.",
        "No.",
    ],
)
def test_a_formula_is_whole_by_itself(text: str) -> None:
    assert completeness(text) is Completeness.FORMULA
    sure, doubtful = (FUSED.required_silence_ms(Cues(text, score)) for score in (0.8, 0.1))
    assert sure == FUSED.question_ms
    assert doubtful < FUSED.required_silence_ms(Cues("I came yesterday.", 0.1))


@pytest.mark.parametrize(
    "text", ["Thank you for the", "Yes, on Tuesday.", "No, I would like to", "Thanks to my"]
)
def test_what_only_begins_like_one_is_none(text: str) -> None:
    assert completeness(text) is not Completeness.FORMULA


def test_spelling_goes_on() -> None:
    assert completeness("B A K") is Completeness.DICTATING


@pytest.mark.parametrize(
    "text", ["Mm-hmm.", "Uh-huh", "Right.", "Okay, right", "I see.", "Yeah, of course.", "Mhm", ""]
)
def test_a_listeners_signs_want_no_turn(text: str) -> None:
    assert is_acknowledgement(text)


@pytest.mark.parametrize(
    "text", ["Right now?", "Okay, but when?", "No.", "Yes, on Tuesday.", "I see you on Monday."]
)
def test_whatever_says_more_wants_one(text: str) -> None:
    assert not is_acknowledgement(text)


def test_a_hello_is_a_greeting_and_a_question_is_not() -> None:
    assert is_greeting("Hello?")
    assert is_greeting("Hi, good morning.")
    assert not is_greeting("Hello, where can I park?")
    assert not is_greeting("")


def test_punctuation_and_case_make_no_other_words() -> None:
    assert same_words("Where can I park?", "where can I park.")
    assert not same_words("Where can I park?", "Where can I park my car?")


FUSED = FusedSilence()


@pytest.mark.parametrize(
    ("quicker", "slower"),
    [
        (Cues("Where can I park?", 0.9), Cues("Where can I", 0.9)),
        (Cues("Where can I park?", 0.9), Cues("Where can I park?", 0.1)),
        (Cues("I would like to", 0.9), Cues("I would like to", 0.1)),
        (Cues("On Tuesday.", 0.6, Expected(brief=True)), Cues("On Tuesday.", 0.6)),
        (Cues("4 8 2 9 1 0", 0.6, Expected(digits=6)), Cues("4 8 2 9 1 0", 0.6, Expected(digits=9))),
        (Cues("Is it open?", 0.5), Cues("Is it open?", 0.5, habit=PauseHabit(800, 100, 3))),
    ],
    ids=["broken off", "by its sound", "broken off by its sound", "asked for a yes", "digits", "habit"],
)
def test_what_sounds_over_is_answered_sooner(quicker: Cues, slower: Cues) -> None:
    assert FUSED.required_silence_ms(quicker) < FUSED.required_silence_ms(slower)


@given(st.sampled_from(["Yes.", "I would like to", "4 8", "Is it?", ""]), st.floats(0, 1), st.floats(0, 1))
def test_a_surer_sound_never_waits_longer(text: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert FUSED.required_silence_ms(Cues(text, high)) <= FUSED.required_silence_ms(Cues(text, low))


@given(st.sampled_from(["Yes.", "I would like to", "4 8", None]), st.none() | st.floats(0, 1))
def test_no_wrong_score_waits_for_seconds(text: str | None, score: float | None) -> None:
    assert FUSED.required_silence_ms(Cues(text, score, habit=PauseHabit(2500, 900, 9))) <= FUSED.dictating_ms


def test_patience_stretches_every_silence() -> None:
    cues = Cues("Where can I park?", 0.9)
    patient = fused(TurnSettings(patience=2.0))
    assert patient.required_silence_ms(cues) == 2 * fused(TurnSettings()).required_silence_ms(cues)


def test_a_strategy_is_chosen_by_name() -> None:
    assert (
        endpointing(TurnSettings(endpointing="fixed", endpoint_silence_ms=321)).required_silence_ms(Cues())
        == 321
    )
    by_words = endpointing(TurnSettings(endpointing="transcript"))
    assert by_words.required_silence_ms(Cues("Well, and")) > by_words.required_silence_ms(Cues("Yes."))
    with pytest.raises(ValueError, match="expected one of fused, transcript, fixed"):
        endpointing(TurnSettings(endpointing="oracle"))


@given(st.lists(st.integers(120, 3000), min_size=1, max_size=30))
def test_a_habit_lies_within_what_was_heard(pauses: list[int]) -> None:
    habit = PauseHabit()
    for pause in pauses:
        habit = habit.learn(pause)
    assert min(pauses) - 1 <= habit.mean_ms <= max(pauses) + 1
    assert habit.bound_ms >= habit.mean_ms - 1


@pytest.mark.parametrize("pause_ms", [0, 119, 3001])
def test_what_is_no_pause_teaches_nothing(pause_ms: int) -> None:
    assert PauseHabit().learn(pause_ms) == PauseHabit()
