"""Many deadlines, one timer: a heap of (when, whose) that forgets lazily. Sans-I/O."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Deadlines(Generic[Key]):
    """At most one deadline a key; setting it again moves it. Equal deadlines come due in the order set."""

    def __init__(self) -> None:
        self._at: dict[Key, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: Key, at: int | None) -> None:
        """Let ``key`` be due at ``at`` (ns), or no more (None)."""
        if at is None:
            self._at.pop(key, None)
        elif key not in self._at or self._at[key][0] != at:
            self._sequence += 1
            self._at[key] = (at, self._sequence)
            heapq.heappush(self._heap, (at, self._sequence, key))
        if len(self._heap) > 64 + 2 * len(self._at):
            self._heap = [(at, sequence, key) for key, (at, sequence) in self._at.items()]
            heapq.heapify(self._heap)

    def next(self) -> int | None:
        """Return the earliest deadline."""
        while self._heap:
            at, sequence, key = self._heap[0]
            if self._at.get(key) == (at, sequence):
                return at
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: int) -> Key | None:
        """Forget and return one key that is due at ``now``, None where none is."""
        earliest = self.next()
        if earliest is None or earliest > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._at[key]
        return key
