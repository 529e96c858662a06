"""Playout marks by what the client says it played, rather than by what was sent. Sans-I/O.

A client that never reports gets marks as they are made. One that does has its marks held until it has played up to them,
and what it had to drop at a ``clear`` is taken off what an utterance is said to have played.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Final

from sip.leg_protocol import Mark, MarkKind

HOLD_LIMIT_NS: Final = 2_000_000_000
"""A client that has stopped reporting must not keep its call waiting."""


class PlayedMarks:
    """Marks of one leg, positions counted in samples sent."""

    def __init__(self) -> None:
        """Nothing was sent or reported yet."""
        self._reports = False
        self._sent = 0
        self._played = 0
        self._dropped = 0
        self._held: deque[tuple[int, Mark]] = deque()
        self._ready: list[Mark] = []

    @property
    def idle(self) -> bool:
        """Return whether no mark is held."""
        return not self._held

    def send(self, samples: int, marks: list[Mark]) -> None:
        """Take in a frame that is sent, and the marks that were made by taking it."""
        before, self._sent = self._sent, self._sent + samples
        for mark in marks:
            position = before + 1 if mark.kind is MarkKind.STARTED else self._sent
            self._take(mark, position)

    def add(self, marks: list[Mark]) -> None:
        """Take in marks made between frames."""
        for mark in marks:
            self._take(mark, self._sent)

    def report(self, samples: int, now_ns: int) -> None:
        """Take in how many samples the client has played since the call began, cleared ones not counted."""
        self._reports = True
        self._played = max(self._played, min(self._sent - self._dropped, samples))
        self._release(now_ns)

    def clear(self, marks: list[Mark]) -> None:
        """Take in that the client drops what it holds; ``marks`` are those of the pause or stop that asked for it."""
        lost = self._sent - self._heard if self._reports else 0
        for position, mark in self._held:
            short = max(0, position - self._heard)
            played = max(0, mark.played - short) if mark.kind is MarkKind.FINISHED else mark.played
            self._ready.append(dataclasses.replace(mark, played=played))
        self._held.clear()
        self._ready += [dataclasses.replace(mark, played=max(0, mark.played - lost)) for mark in marks]
        self._dropped += lost

    def take(self, now_ns: int) -> list[Mark]:
        """Return the marks that are to be told now."""
        self._release(now_ns)
        ready, self._ready = self._ready, []
        return ready

    @property
    def _heard(self) -> int:
        """Position up to which what was sent is behind the client."""
        return self._played + self._dropped

    def _take(self, mark: Mark, position: int) -> None:
        if self._reports:
            self._held.append((position, mark))
        else:
            self._ready.append(mark)

    def _release(self, now_ns: int) -> None:
        while self._held:
            position, mark = self._held[0]
            if position > self._heard and now_ns - mark.at_ns < HOLD_LIMIT_NS:
                return
            self._held.popleft()
            self._ready.append(dataclasses.replace(mark, at_ns=max(mark.at_ns, now_ns)))
