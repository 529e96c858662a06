from __future__ import annotations

import numpy as np
import pytest

from models.whisper import is_invented, is_looping, is_silent


def test_an_open_line_without_speech_is_silent_and_a_word_is_not() -> None:
    noise = np.random.default_rng(1).normal(0, 0.0003, 16000).astype(np.float32)
    assert is_silent(noise)
    noise[8000:10000] += (0.1 * np.sin(np.arange(2000) * 0.2)).astype(np.float32)
    assert not is_silent(noise)
    assert is_silent(np.zeros(0, np.float32))


def test_a_decoder_that_repeats_itself_is_found() -> None:
    assert is_looping("I am going to go to the " * 12)
    assert not is_looping(
        "Had he married a more amiable woman, he might have been made still more respectable."
    )
    assert not is_looping("no no no")


@pytest.mark.parametrize(
    ("text", "mean_log_probability", "no_speech", "invented"),
    [
        ("Thank you.", -1.4, 0.3, True),
        ("Thank you.", -0.2, 0.05, False),
        ("anything at all", -1.5, 0.8, True),
        ("I need an appointment.", -1.2, 0.1, False),
    ],
)
def test_words_that_nobody_said(
    text: str, mean_log_probability: float, no_speech: float, invented: bool
) -> None:
    assert is_invented(text, mean_log_probability, no_speech) is invented
