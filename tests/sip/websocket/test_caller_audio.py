"""A client's audio by the sample clock, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.websocket.caller_audio import LEAD_MS, MAX_WAITING_S, CallerAudio
from sip.websocket.wire import WireError

MS = 1_000_000
RATE_HZ = 8_000
FRAME = 160


def speech(count: int, start: int = 0) -> bytes:
    """Return samples that are never zero and tell their place."""
    return ((np.arange(start, start + count) % 32_000) + 1).astype("<i2").tobytes()


def spoken(pcm: bytes) -> list[int]:
    samples = np.frombuffer(pcm, "<i2")
    return [int(sample) for sample in samples[samples != 0]]


def test_audio_in_real_time_goes_on_at_once() -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    for tick in range(1, 50):
        audio.push(speech(FRAME), tick * 20 * MS)
        assert audio.take(tick * 20 * MS) == ((tick - 1) * FRAME, speech(FRAME))


def test_when_nothing_comes_silence_is_put_in_by_the_clock() -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    audio.push(speech(FRAME), 20 * MS)
    got = b"".join(audio.take(tick * 20 * MS)[1] for tick in range(1, 51))
    assert len(got) // 2 == (1000 - 100) * RATE_HZ // 1000
    assert spoken(got) == spoken(speech(FRAME))


def test_what_comes_after_silence_stands_where_it_was_spoken() -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    for tick in range(1, 50):
        audio.take(tick * 20 * MS)
    audio.push(speech(FRAME), 1000 * MS)
    offset, pcm = audio.take(1000 * MS)
    place = offset + int(np.flatnonzero(np.frombuffer(pcm, "<i2"))[0])
    assert place == (1000 - 20) * RATE_HZ // 1000


def test_what_is_sent_ahead_waits_for_its_time() -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    for _ in range(5):
        audio.push(speech(2 * RATE_HZ), 0)
    assert len(audio.take(0)[1]) // 2 == LEAD_MS * RATE_HZ // 1000
    assert len(audio.take(20 * MS)[1]) // 2 == FRAME
    audio.take(9000 * MS)
    assert audio.offset == 10 * RATE_HZ


def test_far_too_much_ahead_is_refused() -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    audio.push(speech(MAX_WAITING_S * RATE_HZ), 0)
    with pytest.raises(WireError) as wrong:
        audio.push(speech(FRAME), 0)
    assert (wrong.value.close_code, wrong.value.code) == (1008, "too_fast")


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_sender_whose_clock_is_off_is_never_filled_up(ppm: int) -> None:
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    frames = 60_000
    got = 0
    for frame in range(1, frames):
        now = frame * 20 * (MS + ppm)
        audio.push(speech(FRAME), now)
        pcm = audio.take(now)[1]
        assert 0 not in np.frombuffer(pcm, "<i2")
        got += len(pcm) // 2
    assert got >= (frames - 1) * FRAME - RATE_HZ


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 800)), min_size=1, max_size=60))
def test_nothing_is_lost_or_reordered_and_the_clock_has_no_gap(pushes: list[tuple[int, int]]) -> None:
    """Messages of any size after pauses of any length, taken by a tick of 20 ms."""
    audio = CallerAudio(RATE_HZ, 0, FRAME)
    now_ms, said, got, position = 0, 0, b"", 0

    def take(at_ms: int) -> None:
        nonlocal got, position
        offset, pcm = audio.take(at_ms * MS)
        assert offset == position
        position += len(pcm) // 2
        expected = at_ms * RATE_HZ // 1000
        assert expected - 1000 < position <= expected + LEAD_MS * RATE_HZ // 1000 + RATE_HZ // 50
        got += pcm

    for pause_ms, samples in pushes:
        for tick in range(now_ms // 20 + 1, (now_ms + pause_ms) // 20 + 1):
            take(tick * 20)
        now_ms += pause_ms
        audio.push(speech(samples, said), now_ms * MS)
        said += samples
    for tick in range(now_ms // 20 + 1, now_ms // 20 + 400):
        take(tick * 20)
    assert spoken(got) == spoken(speech(said))
