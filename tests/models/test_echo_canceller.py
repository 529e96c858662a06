"""The canceller by itself: what it takes out, what it leaves, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from models.echo_canceller import WebRtcEchoCanceller
from tests.e2e.caller_lines import recorded


def _speech(rate_hz: int) -> NDArray[np.int16]:
    pcm = recorded("I would like to book an appointment next Friday at quarter past nine.")
    samples = np.frombuffer(pcm * 2, "<i2")
    if rate_hz != 8000:
        samples = soxr.resample(samples, 8000, rate_hz)
    return samples[: len(samples) // 160 * 160].astype(np.int16)


def _level(samples: NDArray[np.int16]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-3))


def _cancel(rate_hz: int, capture: NDArray[np.int16], reference: NDArray[np.int16]) -> NDArray[np.int16]:
    canceller = WebRtcEchoCanceller(rate_hz)
    step = 2 * canceller.frame_samples
    pieces = [
        canceller.cancel(capture[at : at + step], reference[at : at + step])
        for at in range(0, len(capture), step)
    ]
    return np.concatenate(pieces)


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("delay_ms", [20, 320])
def test_a_late_echo_is_taken_out(rate_hz: int, delay_ms: int) -> None:
    sent = _speech(rate_hz)
    late = np.concatenate((np.zeros(rate_hz * delay_ms // 1000, np.int16), sent))[: len(sent)]
    echo = (late // 3).astype(np.int16)
    cleaned = _cancel(rate_hz, echo, sent)
    after = slice(2 * rate_hz, None)
    assert _level(echo[after]) - _level(cleaned[after]) > 20


def test_a_voice_of_which_nothing_was_sent_is_left() -> None:
    speech = _speech(8000)
    cleaned = _cancel(8000, speech, np.zeros_like(speech))
    assert abs(_level(speech) - _level(cleaned)) < 2


def test_what_it_cannot_take_is_refused() -> None:
    canceller = WebRtcEchoCanceller(8000)
    with pytest.raises(ValueError, match="expected the same multiple of 80"):
        canceller.cancel(np.zeros(100, np.int16), np.zeros(100, np.int16))
    with pytest.raises(ValueError, match="expected the same multiple of 80"):
        canceller.cancel(np.zeros(80, np.int16), np.zeros(160, np.int16))
    with pytest.raises(ValueError, match="expected 8000 or 16000"):
        WebRtcEchoCanceller(44_100)
