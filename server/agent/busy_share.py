"""Which share of a sliding window something was busy. Sans-I/O; all times are nanoseconds of one monotonic clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final, Protocol

_BUCKETS: Final = 24
_MAX_SPANS: Final = 4096


class Share(Protocol):
    """Work in, busy share out."""

    def add(self, start: int, end: int) -> None:
        """Take in work from ``start`` to ``end``, in the order of the ends."""
        ...

    def share(self, now: int, running_since: Collection[int] = ()) -> float:
        """Return the busy share, 0 to 1, of the window that ends ``now``.

        ``running_since`` holds the starts of work that has not ended; it counts up to ``now``.
        """
        ...


class TimeShare:
    """Share of the time in which anything ran at all: what overlaps counts once.

    Right for what does one thing at a time: a batch is one piece of work, and two models on one core slow each other.
    """

    def __init__(self, window_ns: int) -> None:
        assert window_ns > 0, window_ns
        self._window_ns = window_ns
        self._spans: deque[tuple[int, int]] = deque()
        """Disjoint, in order of time; the oldest may begin before the window."""
        self._covered_ns = 0

    def add(self, start: int, end: int) -> None:
        """Take in work from ``start`` to ``end``, in the order of the ends."""
        start = max(start, end - self._window_ns)
        if start >= end:
            return
        spans = self._spans
        while spans and spans[-1][1] >= start:
            earlier_start, earlier_end = spans.pop()
            self._covered_ns -= earlier_end - earlier_start
            start, end = min(start, earlier_start), max(end, earlier_end)
        spans.append((start, end))
        self._covered_ns += end - start
        self._forget(end)

    def share(self, now: int, running_since: Collection[int] = ()) -> float:
        """Return the busy share, 0 to 1, of the window that ends ``now``."""
        self._forget(now)
        horizon = now - self._window_ns
        running = max(horizon, min(now, min(running_since, default=now)))
        busy_ns = self._covered_ns + (now - running)
        for start, end in reversed(self._spans):
            if end <= running:
                break
            busy_ns -= end - max(start, running)
        if self._spans:
            busy_ns -= max(0, horizon - self._spans[0][0])
        return min(1.0, busy_ns / self._window_ns)

    def _forget(self, now: int) -> None:
        spans = self._spans
        while spans and (spans[0][1] <= now - self._window_ns or len(spans) > _MAX_SPANS):
            start, end = spans.popleft()
            self._covered_ns -= end - start


class WorkShare:
    """Summed work by what ``places`` places could have done; the window is exact to a 24th of its length."""

    def __init__(self, window_ns: int, places: int = 1) -> None:
        assert window_ns >= _BUCKETS, window_ns
        assert places > 0, places
        self._window_ns = window_ns
        self._width_ns = window_ns // _BUCKETS
        self._places = places
        self._buckets: deque[list[int]] = deque()
        """[index, ns of work], in order of time."""
        self._summed_ns = 0

    def add(self, start: int, end: int) -> None:
        """Take in work from ``start`` to ``end``."""
        start = max(start, end - self._window_ns)
        if start >= end:
            return
        width = self._width_ns
        for index in range(start // width, (end - 1) // width + 1):
            self._add(index, min(end, (index + 1) * width) - max(start, index * width))
        self._forget(end)

    def share(self, now: int, running_since: Collection[int] = ()) -> float:
        """Return the busy share, 0 to 1, of the window that ends ``now``."""
        self._forget(now)
        running_ns = sum(min(self._window_ns, now - start) for start in running_since if start < now)
        return min(1.0, (self._summed_ns + running_ns) / (self._window_ns * self._places))

    def _add(self, index: int, work_ns: int) -> None:
        self._summed_ns += work_ns
        place = len(self._buckets)
        while place and self._buckets[place - 1][0] > index:
            place -= 1
        if place and self._buckets[place - 1][0] == index:
            self._buckets[place - 1][1] += work_ns
        else:
            self._buckets.insert(place, [index, work_ns])

    def _forget(self, now: int) -> None:
        while self._buckets and (self._buckets[0][0] + 1) * self._width_ns <= now - self._window_ns:
            self._summed_ns -= self._buckets.popleft()[1]


def measure(window_ns: int, places: int) -> Share:
    """Return what measures something that does ``places`` things at once."""
    return TimeShare(window_ns) if places == 1 else WorkShare(window_ns, places)
