"""Transcript cues."""

from __future__ import annotations

import pytest

from server.turns.endpointing import required_silence_ms, sounds_unfinished
from server.turns.settings import TurnSettings


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
    assert sounds_unfinished(text)


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
    assert not sounds_unfinished(text)


def test_an_unfinished_phrase_waits_longer() -> None:
    settings = TurnSettings()
    assert required_silence_ms("I would like to", settings) > required_silence_ms("Yes, please.", settings)
