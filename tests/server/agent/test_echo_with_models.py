"""Echo with the real detector of speech, the real recogniser and recorded speech: paths of -20 to -6 dB, 0 to 300 ms late."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr

from models.echo_canceller import WebRtcEchoCanceller
from models.fetch import verify
from models.vad import SileroVad
from models.whisper import ShortWhisper
from scripts.echo_line import RATE_HZ, Echo, Heard, run
from tests.e2e.caller_lines import LINES, recorded

pytestmark = pytest.mark.model

CACHE = Path(os.environ.get("LANDLINE_CACHE_DIRECTORY", Path.home() / ".cache" / "landline")) / "models"
PAUSE = bytes(2 * RATE_HZ * 3 // 10)
AGENT = b"".join(
    recorded(line) + PAUSE for line in LINES if "book" in line or "nervous" in line or "person" in line
)
CALLER = ("Sorry, are you open on Sunday?", "What are your hours on Saturday?")
PATHS = [Echo(gain_db, delay_ms) for gain_db in (-20, -12, -6) for delay_ms in (0, 60, 150, 300)]


@cache
def vad() -> SileroVad:
    return SileroVad(verify("silero-vad", CACHE))


@cache
def whisper() -> ShortWhisper:
    return ShortWhisper(
        verify("whisper-base", CACHE), device="cpu", compute_type="int8", threads=2, language="en"
    )


def words(pcm: bytes) -> list[str]:
    clip = soxr.resample(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768, RATE_HZ, 16_000)
    (transcript,) = whisper().transcribe([clip])
    return re.findall(r"[a-z']+", transcript.text.lower())


def line(
    caller: bytes = b"", *, echo: Echo | None, at_ms: int = 0, guarded: bool = True, closed: bool = True
) -> Heard:
    return run(
        AGENT, caller, echo=echo, vad=vad(), make_canceller=WebRtcEchoCanceller,
        caller_at_ms=at_ms, guarded=guarded, closed=closed,
    )  # fmt: skip


@pytest.mark.parametrize("echo", PATHS, ids=str)
def test_twenty_seconds_of_the_agent_alone_are_no_speech_and_no_words(echo: Echo) -> None:
    assert len(AGENT) // 2 >= 20 * RATE_HZ
    assert line(echo=echo, guarded=False, closed=False).starts_ms, "this echo would not have been mistaken"
    heard = line(echo=echo, closed=False)
    assert heard.starts_ms == []
    # Of what came before the echo was known at most half a second is left.
    assert words(heard.clean[RATE_HZ:]) == []


@pytest.mark.parametrize("echo", PATHS, ids=str)
def test_a_real_interruption_is_heard_in_time_and_understood(echo: Echo) -> None:
    delays, wrong, said = [], 0, 0
    for spoken in CALLER:
        for at_ms in (300, 2500, 7700):
            heard = line(recorded(spoken), echo=echo, at_ms=at_ms)
            assert heard.starts_ms, (spoken, at_ms)
            assert heard.first_offset is not None
            delays.append(heard.starts_ms[0] - at_ms)
            begin = 2 * max(0, min(heard.first_offset, at_ms * 8) - 160 * 8)
            expected = re.findall(r"[a-z']+", spoken.lower())
            wrong += _distance(expected, words(heard.clean[begin:]))
            said += len(expected)
    assert min(delays) > 0, "the agent interrupted itself"
    assert sorted(delays)[len(delays) // 2] <= 260
    assert max(delays) <= 500
    assert wrong / said <= 0.25, (wrong, said)


@pytest.mark.parametrize("at_ms", [300, 2500, 7700])
@pytest.mark.parametrize("spoken", CALLER)
def test_without_echo_nothing_is_later_or_other(spoken: str, at_ms: int) -> None:
    guarded = line(recorded(spoken), echo=None, at_ms=at_ms)
    plain = line(recorded(spoken), echo=None, at_ms=at_ms, guarded=False)
    assert guarded.starts_ms == plain.starts_ms
    assert guarded.clean == plain.raw


def _distance(expected: list[str], heard: list[str]) -> int:
    """Words that are wrong, missing or too many."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]
