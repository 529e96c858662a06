"""When an agent counts as heard, and when as silent."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.bench_lines import RATE_HZ, insert_pause
from scripts.bench_phone import silent_from

MS = 1_000_000


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


def test_a_pause_lies_where_the_line_is_quietest_and_changes_no_word() -> None:
    tone = np.full(RATE_HZ, 8000, "<i2")
    tone[7000:8600] = 5
    joined = np.frombuffer(insert_pause(tone.tobytes(), 400), "<i2")
    assert len(joined) == RATE_HZ + 400 * RATE_HZ // 1000
    quiet = np.flatnonzero(np.abs(joined) < 8000)
    assert quiet[0] == 7000
    assert len(quiet) == 1600 + 400 * RATE_HZ // 1000
    assert np.abs(joined[quiet]).max() < 300
