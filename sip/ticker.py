"""The one 20 ms ticker that drives every leg: absolute deadlines, and a histogram of how late it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

PERIOD_NS: Final = 20_000_000
CATCH_UP_TICKS: Final = 5
_BIN_NS: Final = 100_000
_BINS: Final = 10_000


class LatenessHistogram:
    """Counts in bins of 0.1 ms up to 1 s."""

    def __init__(self) -> None:
        """Begin empty."""
        self._counts = [0] * (_BINS + 1)
        self.total = 0
        self.max_ns = 0

    def add(self, lateness_ns: int) -> None:
        """Count one tick; being early counts as being on time."""
        lateness_ns = max(0, lateness_ns)
        self._counts[min(_BINS, lateness_ns // _BIN_NS)] += 1
        self.total += 1
        self.max_ns = max(self.max_ns, lateness_ns)

    def percentile_ms(self, share: float) -> float:
        """Return the upper edge of the bin that holds ``share`` (0 to 1) of the ticks; 0 where there are none."""
        wanted = share * self.total
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                edge_ns = (index + 1) * _BIN_NS if index < _BINS else self.max_ns
                return min(edge_ns, self.max_ns) / 1e6
        return 0.0

    def summary_ms(self) -> dict[str, float]:
        """Return p50, p99, p99.9 and the maximum."""
        return {
            "p50": round(self.percentile_ms(0.5), 3),
            "p99": round(self.percentile_ms(0.99), 3),
            "p999": round(self.percentile_ms(0.999), 3),
            "max": round(self.max_ns / 1e6, 3),
        }


class Ticker:
    """Calls ``on_tick(now_ns, ticks)`` every 20 ms on the running loop.

    Up to ``CATCH_UP_TICKS`` missed ticks are made good at once, since the peer's jitter buffer bridges a stall of that
    size without a gap. What is beyond is skipped: ``ticks`` then counts the skipped ones too.
    """

    def __init__(self, on_tick: Callable[[int, int], None]) -> None:
        """Nothing runs before :meth:`start`."""
        self._on_tick = on_tick
        self._deadline_ns = 0
        self._handle: asyncio.TimerHandle | None = None
        self.lateness = LatenessHistogram()
        self.ticks = 0
        self.skipped = 0

    def start(self) -> None:
        """Tick from now on."""
        self._deadline_ns = time.monotonic_ns() + PERIOD_NS
        self._arm(PERIOD_NS)

    def stop(self) -> None:
        """Tick no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, delay_ns: int) -> None:
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(max(0, delay_ns) / 1e9, self._run)

    def _run(self) -> None:
        now = time.monotonic_ns()
        due = max(1, (now - self._deadline_ns) // PERIOD_NS + 1)
        self.lateness.add(now - self._deadline_ns)
        self._deadline_ns += due * PERIOD_NS
        # Armed before the work: an error in one tick must not be the last tick.
        self._arm(self._deadline_ns - now)
        skipped = max(0, due - 1 - CATCH_UP_TICKS)
        self.skipped += skipped
        self.ticks += due
        self._on_tick(now, 1 + skipped)
        for _ in range(due - 1 - skipped):
            self._on_tick(now, 1)
