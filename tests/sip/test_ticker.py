"""How late the ticker was, and how it makes up for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from sip.ticker import CATCH_UP_TICKS, PERIOD_NS, LatenessHistogram, Ticker


def test_percentiles_are_those_of_what_was_counted() -> None:
    histogram = LatenessHistogram()
    for tenth_ms in range(1000):
        histogram.add(tenth_ms * 100_000)
    assert histogram.percentile_ms(0.5) == pytest.approx(50, abs=0.2)
    assert histogram.percentile_ms(0.99) == pytest.approx(99, abs=0.2)
    assert histogram.summary_ms()["max"] == pytest.approx(99.9)


def test_early_is_on_time_and_very_late_is_the_maximum() -> None:
    histogram = LatenessHistogram()
    assert histogram.percentile_ms(0.5) == 0
    histogram.add(-5_000_000)
    histogram.add(7_000_000_000)
    assert histogram.percentile_ms(0.5) <= 0.1
    assert histogram.summary_ms()["p999"] == 7000


@pytest.mark.loopback
def test_time_told_to_the_legs_is_the_time_that_passed_even_over_a_stall() -> None:
    """Short of a stall every tick is made good; a long one is told at once, as skipped."""

    async def run() -> tuple[list[int], int, int]:
        told: list[int] = []
        done = asyncio.Event()

        def on_tick(now_ns: int, ticks: int) -> None:
            del now_ns
            told.append(ticks)
            if len(told) == 3:
                # The process does not run: as when the machine is overloaded.
                time.sleep((CATCH_UP_TICKS + 10) * PERIOD_NS / 1e9)
            if len(told) > 3 + CATCH_UP_TICKS:
                done.set()

        begun = time.monotonic_ns()
        ticker = Ticker(on_tick)
        ticker.start()
        await asyncio.wait_for(done.wait(), 10)
        passed = (time.monotonic_ns() - begun) // PERIOD_NS
        ticker.stop()
        return told, ticker.skipped, passed

    told, skipped, passed = asyncio.run(run())
    assert max(told) >= 5
    assert sum(told) == len(told) + skipped
    assert abs(sum(told) - passed) <= CATCH_UP_TICKS + 1
