"""When an agent counts as heard, and when as silent."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.bench_lines import RATE_HZ, insert_pause
from scripts.bench_phone import silent_from
from scripts.bench_wire import Playout

MS = 1_000_000
FRAME = 2 * RATE_HZ // 50
LOUD = np.full(RATE_HZ // 50, 8000, "<i2").tobytes()
QUIET = bytes(FRAME)


def speech(*spans: tuple[int, int]) -> list[int]:
    """Packets of 20 ms in spans of milliseconds."""
    return [at * MS for start, end in spans for at in range(start, end, 20)]


def test_silence_begins_after_the_last_packet() -> None:
    assert silent_from(speech((900, 1200)), 1000 * MS) == 1200 * MS


def test_a_gap_between_words_is_no_silence() -> None:
    assert silent_from(speech((900, 1100), (1300, 1400), (2000, 2500)), 1000 * MS) == 1400 * MS


@pytest.mark.parametrize("heard", [[], speech((700, 900))], ids=["nothing heard", "ended before"])
def test_an_agent_that_is_silent_already_cannot_fall_silent(heard: list[int]) -> None:
    assert silent_from(heard, 1000 * MS) is None


def test_what_arrives_ahead_of_time_is_heard_in_time() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(LOUD * 10, 0)
    assert playout.speech_between(0, 1000 * MS) == speech((0, 200))


def test_a_clear_takes_back_what_was_not_heard() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(LOUD * 10, 0)
    playout.clear(90 * MS)
    assert playout.speech_between(0, 1000 * MS) == speech((0, 100))
    playout.receive(LOUD, 100 * MS)
    assert playout.speech_between(100 * MS, 1000 * MS) == [100 * MS]


def test_silence_that_fell_behind_is_skipped_and_pauses_between_words_are_kept() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(LOUD + QUIET * 2 + LOUD, 0)
    assert playout.speech_between(0, 1000 * MS) == [0, 60 * MS]
    late = Playout(RATE_HZ)
    late.receive(QUIET * 5, 0)
    late.receive(LOUD, 20 * MS)
    assert late.speech_between(0, 1000 * MS) == [20 * MS]


def test_messages_need_not_be_whole_frames() -> None:
    playout = Playout(RATE_HZ)
    for start in range(0, len(LOUD), 100):
        playout.receive(LOUD[start : start + 100], 5 * MS)
    assert playout.speech_between(0, 1000 * MS) == [5 * MS]


def test_a_pause_lies_where_the_line_is_quietest_and_changes_no_word() -> None:
    tone = np.full(RATE_HZ, 8000, "<i2")
    tone[7000:8600] = 5
    joined = np.frombuffer(insert_pause(tone.tobytes(), 400), "<i2")
    assert len(joined) == RATE_HZ + 400 * RATE_HZ // 1000
    quiet = np.flatnonzero(np.abs(joined) < 8000)
    assert quiet[0] == 7000
    assert len(quiet) == 1600 + 400 * RATE_HZ // 1000
    assert np.abs(joined[quiet]).max() < 300
