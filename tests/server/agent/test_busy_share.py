"""Busy shares: against the same counted second by second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agent.busy_share import TimeShare, WorkShare, measure

WINDOW = 24
"""As many nanoseconds as a window has parts, so that both kinds are exact."""

works = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=20).map(
    lambda spans: sorted(((start, start + length) for start, length in spans), key=lambda span: span[1])
)
running = st.lists(st.integers(0, 100), max_size=4)


@given(works, st.integers(0, 60), running)
def test_time_share_counts_each_moment_once(
    spans: list[tuple[int, int]], later: int, since: list[int]
) -> None:
    share = TimeShare(WINDOW)
    for start, end in spans:
        share.add(start, end)
    now = max((end for _, end in spans), default=0) + later
    busy = {at for start, end in spans for at in range(start, end)}
    busy |= {at for start in since for at in range(start, now)}
    expected = sum(at in busy for at in range(now - WINDOW, now)) / WINDOW
    assert share.share(now, since) == pytest.approx(expected)


@given(works, st.integers(0, 60), running, st.integers(1, 3))
def test_work_share_sums_what_overlaps(
    spans: list[tuple[int, int]], later: int, since: list[int], places: int
) -> None:
    share = WorkShare(WINDOW, places)
    for start, end in spans:
        share.add(start, end)
    now = max((end for _, end in spans), default=0) + later
    all_spans = spans + [(start, now) for start in since if start < now]
    work = sum(max(0, end - max(start, now - WINDOW)) for start, end in all_spans)
    assert share.share(now, since) == pytest.approx(min(1.0, work / (WINDOW * places)))


def test_one_place_is_measured_by_time_and_several_by_work() -> None:
    for places, expected in ((1, 0.5), (2, 0.5), (4, 0.25)):
        share = measure(WINDOW, places)
        share.add(0, 12)
        share.add(0, 12)
        assert share.share(24) == expected, places


def test_memory_is_bounded() -> None:
    share = TimeShare(1_000_000)
    for start in range(0, 100_000, 2):
        share.add(start, start + 1)
    assert len(share._spans) <= 4096
