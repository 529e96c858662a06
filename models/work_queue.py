"""Order of work before one model: final, then speculative, then partial; compatible waiting items run together.

Sans-I/O: told what comes and what was cancelled, it answers what to run next.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from models.protocols import Priority

Item = TypeVar("Item")


@dataclass(order=True, slots=True)
class _Entry(Generic[Item]):
    priority: int
    sequence: int
    item: Item = field(compare=False)
    live: bool = field(default=True, compare=False)


class WorkQueue(Generic[Item]):
    """A bounded priority queue whose items can be withdrawn."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[_Entry[Item]] = []
        self._sequence = itertools.count()

    def __len__(self) -> int:
        return sum(entry.live for entry in self._heap)

    def put(self, item: Item, priority: Priority) -> tuple[Callable[[], None], Item | None] | None:
        """Take ``item`` in and return how to withdraw it, and what was shed to make room.

        A full queue sheds the newest item of the least priority below this one; without one the answer is None.
        """
        shed: Item | None = None
        if len(self) >= self._limit:
            worst = max((entry for entry in self._heap if entry.live), default=None)
            if worst is None or worst.priority <= priority:
                return None
            worst.live = False
            shed = worst.item
        entry = _Entry(int(priority), next(self._sequence), item)
        heapq.heappush(self._heap, entry)

        def withdraw() -> None:
            entry.live = False

        return withdraw, shed

    def is_urged(self, priority: Priority) -> bool:
        """Say whether something more urgent than ``priority`` waits. May be asked from any thread."""
        return any(entry.live and entry.priority < priority for entry in tuple(self._heap))

    def take(self, limit: int, fits: Callable[[Item, Item], bool]) -> list[Item]:
        """Remove and return the next item and up to ``limit`` - 1 others that fit to it, in order."""
        live = sorted(entry for entry in self._heap if entry.live)
        if not live:
            self._heap.clear()
            return []
        first = live[0]
        chosen = [first]
        chosen += [entry for entry in live[1:] if fits(first.item, entry.item)][: limit - 1]
        for entry in chosen:
            entry.live = False
        self._heap = [entry for entry in live if entry.live]
        heapq.heapify(self._heap)
        return [entry.item for entry in chosen]
