"""Caller audio: history by sample offset, and VAD windows in one batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.agent.audio_history import AudioHistory
from server.agent.voice_activity import VoiceActivity

MS = 1_000_000
LEG = ("sip", 1)


def ramp(start: int, count: int) -> bytes:
    return np.arange(start, start + count, dtype="<i2").tobytes()


def test_history_gives_back_what_was_heard_and_when() -> None:
    history = AudioHistory(rate_hz=8000)
    history.append(0, ramp(0, 160), 20 * MS)
    history.append(160, ramp(160, 160), 40 * MS)
    assert history.slice(100, 200) == ramp(100, 100)
    assert history.heard_at(160) == 20 * MS
    assert history.slice(-50, 10) == ramp(0, 10)
    assert history.slice(310, 1000) == ramp(310, 10)


def test_a_gap_in_the_offsets_is_silence() -> None:
    history = AudioHistory(rate_hz=8000)
    history.append(0, ramp(1, 160), 20 * MS)
    history.append(320, ramp(1, 160), 60 * MS)
    assert history.slice(160, 320) == bytes(320)
    assert history.end == 480


def test_history_is_bounded() -> None:
    history = AudioHistory(rate_hz=8000, limit_ms=2000)
    for tick in range(500):
        history.append(160 * tick, ramp(0, 160), tick)
    assert len(history.slice(0, history.end)) // 2 <= 3 * 8000
    assert history.slice(history.end - 160, history.end) == ramp(0, 160)


class LoudnessVad:
    """The mean of the window as its probability; the state counts the windows of a stream."""

    def __init__(self, window_samples: int = 256) -> None:
        self.window_samples = window_samples
        self.batches: list[int] = []

    def initial_state(self) -> NDArray[np.float32]:
        return np.zeros(1, dtype=np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append(len(windows))
        return windows.mean(axis=1), states + 1


def test_the_windows_of_all_legs_are_judged_in_one_batch() -> None:
    vad = LoudnessVad()
    activity = VoiceActivity({8000: vad})
    for leg_id in range(20):
        activity.open(("sip", leg_id))
    for tick in range(8):
        for leg_id in range(20):
            activity.feed(("sip", leg_id), 160 * tick, np.full(160, 100 * leg_id, dtype="<i2").tobytes())
        for judgement in activity.judge():
            assert judgement.probability == np.float32(100 * judgement.leg[1] / 32768)
    assert vad.batches == [20] * 5


@given(st.lists(st.integers(1, 700), min_size=1, max_size=40))
def test_windows_follow_each_other_however_the_audio_is_cut(sizes: list[int]) -> None:
    activity = VoiceActivity({8000: LoudnessVad()})
    activity.open(LEG, offset=1000)
    offset, seen = 1000, []
    for size in sizes:
        activity.feed(LEG, offset, bytes(2 * size))
        offset += size
        seen += [judgement.offset for judgement in activity.judge()]
    assert seen == list(range(1000, 1000 + 256 * (sum(sizes) // 256), 256))


def test_a_jump_of_the_offset_begins_a_window_there() -> None:
    activity = VoiceActivity({8000: LoudnessVad()})
    activity.open(LEG)
    activity.feed(LEG, 0, bytes(2 * 100))
    activity.feed(LEG, 5000, bytes(2 * 256))
    assert [judgement.offset for judgement in activity.judge()] == [5000]
    activity.close(LEG)
    activity.feed(LEG, 6000, bytes(2 * 256))
    assert activity.judge() == []


def test_each_rate_has_a_network_and_windows_of_its_own() -> None:
    narrow, wide = LoudnessVad(256), LoudnessVad(512)
    activity = VoiceActivity({8000: narrow, 16000: wide})
    activity.open(("sip", 1), rate_hz=8000)
    activity.open(("websocket", 1), rate_hz=16000)
    heard: dict[tuple[str, int], list[int]] = {}
    for tick in range(8):
        activity.feed(("sip", 1), 160 * tick, bytes(2 * 160))
        activity.feed(("websocket", 1), 320 * tick, bytes(2 * 320))
        for judgement in activity.judge():
            heard.setdefault(judgement.leg, []).append(judgement.offset)
    assert heard == {("sip", 1): [0, 256, 512, 768, 1024], ("websocket", 1): [0, 512, 1024, 1536, 2048]}
    assert narrow.batches == wide.batches == [1] * 5
