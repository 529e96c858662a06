from __future__ import annotations

import numpy as np
import pytest

from models.transcript_guards import (
    Decoded,
    believed,
    is_looping,
    is_silent,
    is_too_fast,
    leans_on_hot_words,
    voiced_ms,
)

SURE = {"mean_log_probability": -0.2, "no_speech": 0.05}


def heard(text: str, mean_log_probability: float, no_speech: float, voiced: int = 4000) -> str:
    return believed(Decoded(text, mean_log_probability, no_speech), voiced)


def test_an_open_line_without_speech_is_silent_and_a_word_is_not() -> None:
    noise = np.random.default_rng(1).normal(0, 0.0003, 16000).astype(np.float32)
    assert is_silent(noise)
    noise[8000:10000] += (0.1 * np.sin(np.arange(2000) * 0.2)).astype(np.float32)
    assert not is_silent(noise)
    assert is_silent(np.zeros(0, np.float32))


def test_what_is_far_below_the_loudest_is_not_voiced() -> None:
    rng = np.random.default_rng(2)
    clip = rng.normal(0, 0.001, 48000).astype(np.float32)
    clip[16000:24000] += rng.normal(0, 0.1, 8000).astype(np.float32)
    assert voiced_ms(clip) == 500
    assert voiced_ms(np.zeros(16000, np.float32)) == 0
    assert voiced_ms(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize(
    "text",
    [
        "I am going to go to the " * 12,
        "go on go on go on go on",
        "it is a bit of a " + "problem with the phone " * 4 + "today",
        "no " * 8,
    ],
)
def test_a_decoder_that_repeats_itself_is_found(text: str) -> None:
    assert is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "Had he married a more amiable woman, he might have been made still more respectable.",
        "no no no",
        "yes yes, yes please, yes",
        "zero zero zero, zero one one one one",
        "Tuesday or Wednesday, or Wednesday or Thursday",
    ],
)
def test_what_people_repeat_is_no_loop(text: str) -> None:
    assert not is_looping(text)


@pytest.mark.parametrize(
    ("text", "mean_log_probability", "no_speech", "expected"),
    [
        ("Thank you.", -1.4, 0.3, ""),
        ("Thank you.", -0.3, 0.5, ""),
        ("Thank you.", -0.2, 0.05, "Thank you."),
        ("Okay.", -0.5, 0.1, "Okay."),
        ("anything at all", -1.5, 0.8, ""),
        ("I need an appointment.", -1.2, 0.1, "I need an appointment."),
        ("a guess from end to end", -1.9, 0.1, ""),
        ("Thanks for watching!", -0.1, 0.01, ""),
        ("Please subscribe to my channel.", -0.1, 0.01, ""),
        ("Subtitles by the Amara.org community", -0.1, 0.01, ""),
        ("[MUSIC]", -0.1, 0.01, ""),
        ("(upbeat music) Where can I park?", -0.1, 0.01, "Where can I park?"),
        ("...", -0.1, 0.01, ""),
    ],
)
def test_words_that_nobody_said(
    text: str, mean_log_probability: float, no_speech: float, expected: str
) -> None:
    assert heard(text, mean_log_probability, no_speech) == expected


def test_more_words_than_there_is_time_for_are_not_believed() -> None:
    text = "I would like to book an appointment"
    assert is_too_fast(text, voiced=400)
    assert not is_too_fast(text, voiced=1300)
    assert not is_too_fast("yes please", voiced=0)
    assert heard(text, **SURE, voiced=400) == ""


@pytest.mark.parametrize(
    ("text", "hot_words", "leans"),
    [
        ("Baker. Kowalski!", "Baker, Miller, Kowalski", True),
        ("Dr. Baker, Miller,", "Doctor Baker, Miller, Kowalski", True),
        ("Dr. Walski, Dr. Walski, Riverside Clinic,", "Kowalski, Riverside Clinic", True),
        ("My name is Baker", "Baker, Miller, Kowalski", False),
        ("Baker", "", False),
        ("", "Baker", False),
    ],
)
def test_what_stands_on_hot_words_alone_is_found(text: str, hot_words: str, leans: bool) -> None:
    assert leans_on_hot_words(text, hot_words) is leans
