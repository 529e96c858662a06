"""VAD windows into starts and stops of speech."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.turns.segmenter import Segmenter, SegmentStart, SegmentStop
from server.turns.settings import TurnSettings

SETTINGS = TurnSettings(speech_start_ms=96, speech_stop_ms=64, sure_threshold=0.95)


def run(probabilities: list[float]) -> list[SegmentStart | SegmentStop]:
    segmenter = Segmenter(SETTINGS, rate_hz=8000, window_samples=256)
    events = [segmenter.feed(256 * index, p) for index, p in enumerate(probabilities)]
    return [event for event in events if event is not None]


def test_speech_is_dated_from_where_it_began_and_ended() -> None:
    events = run([0.0, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    assert events == [SegmentStart(256), SegmentStop(5 * 256)]


def test_one_window_that_is_sure_is_enough() -> None:
    assert run([0.0, 0.97, 0.1, 0.1]) == [SegmentStart(256), SegmentStop(2 * 256)]
    assert run([0.6, 0.97]) == [SegmentStart(0)]


def test_a_click_is_no_speech_and_a_short_dip_no_stop() -> None:
    assert run([0.0, 0.9, 0.9, 0.0, 0.9, 0.0]) == []
    assert run([0.9, 0.9, 0.9, 0.1, 0.9, 0.9]) == [SegmentStart(0)]


def test_between_the_thresholds_nothing_changes() -> None:
    assert run([0.4] * 20) == []
    assert run([0.9] * 3 + [0.4] * 20) == [SegmentStart(0)]


@given(st.lists(st.floats(0, 1), max_size=200))
def test_starts_and_stops_alternate_in_order_of_time(probabilities: list[float]) -> None:
    events = run(probabilities)
    kinds = [type(event) for event in events]
    assert kinds == [SegmentStart, SegmentStop] * (len(kinds) // 2) + [SegmentStart] * (len(kinds) % 2)
    offsets = [event.offset for event in events]
    assert offsets == sorted(offsets)
