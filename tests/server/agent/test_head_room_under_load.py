"""Head-room in the loop, in virtual time: more callers than two cores can serve, who talk as people do.

One processor serves the models' work in the order of its priority, without taking away what runs. Durations are those of
the embedded models on two cores.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from models.protocols import Priority
from server.agent.head_room import HeadRoom, HeadRoomSettings, ModelKind

_MS = 1_000_000
_CHAIN: tuple[tuple[ModelKind, int], ...] = (("stt", 250), ("llm", 700), ("tts", 250))
"""What answers a turn, in milliseconds of model time."""
_PARTIAL_MS = 200
_MISS_SHARE = 0.3
MEASURED = HeadRoomSettings(
    places={"stt": 1, "turn": 1, "tts": 1, "llm": 2},
    host_threads={"stt": 2, "turn": 2, "tts": 2, "llm": 2},
    host_cores=2,
)
BLIND = HeadRoomSettings()
"""Nothing is known of the models: everything is allowed, and as many calls as configured."""


@dataclass
class Office:
    """Callers, one processor, and a head-room that is told what runs."""

    settings: HeadRoomSettings
    capacity: int = 12
    random: random.Random = field(default_factory=lambda: random.Random(3))
    now_ms: int = 0
    up: int = 0
    most_up: int = 0
    refused: int = 0
    gaps_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room = HeadRoom(self.settings, capacity=self.capacity)
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._queue: list[tuple[Priority, int, int, ModelKind, int, Callable[[], None]]] = []
        self._busy = False

    @property
    def now(self) -> int:
        return self.now_ms * _MS

    def run(self, seconds: int, callers_per_minute: float) -> None:
        self._arrive(callers_per_minute)
        self._look()
        while self._events and self._events[0][0] <= seconds * 1000:
            self.now_ms, _, act = heapq.heappop(self._events)
            act()

    def _at(self, after_ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ms + round(after_ms), next(self._order), act))

    def _look(self) -> None:
        """The agent's report, once a second."""
        self.room.capacity(self.now)
        self._at(1000, self._look)

    def _arrive(self, per_minute: float) -> None:
        self._at(self.random.expovariate(per_minute / 60_000), lambda: self._arrive(per_minute))
        if self.up >= self.capacity or not self.room.room(self.now):
            self.refused += 1
            return
        self._count(1)
        self._speak(turns=8)

    def _count(self, change: int) -> None:
        self.up += change
        self.most_up = max(self.most_up, self.up)
        self.room.calls(self.up, self.now)

    # ── a caller ─────────────────────────────────────────────────────────────────────────────────

    def _speak(self, turns: int) -> None:
        if not turns:
            self._count(-1)
            return
        for after_ms in (1000, 2000):
            self._at(after_ms, self._partial)
        self._at(self.random.uniform(2000, 3500), lambda: self._stop_speaking(turns))

    def _partial(self) -> None:
        if self.room.allows(Priority.PARTIAL, self.now):
            self._work("stt", Priority.PARTIAL, _PARTIAL_MS, lambda: None)

    def _stop_speaking(self, turns: int) -> None:
        stopped_ms = self.now_ms

        def answered() -> None:
            self.gaps_ms.append(max(450, self.now_ms - stopped_ms))
            self._at(self.random.uniform(3500, 6000), lambda: self._speak(turns - 1))

        def commit() -> None:
            self._chain(Priority.FINAL, answered)

        if not self.room.allows(Priority.SPECULATIVE, self.now):
            self._at(450, commit)
        elif self.random.random() < _MISS_SHARE:
            self._at(100, lambda: self._chain(Priority.SPECULATIVE, self._wasted))
            self._at(900, lambda: self._stop_speaking(turns))
        else:
            self._at(100, lambda: self._chain(Priority.SPECULATIVE, answered))

    def _wasted(self) -> None:
        for kind, ran_ms in _CHAIN:
            self.room.wasted(kind, ran_ms, self.now)

    # ── the processor ────────────────────────────────────────────────────────────────────────────

    def _chain(self, priority: Priority, done: Callable[[], None], step: int = 0) -> None:
        if step == len(_CHAIN):
            done()
            return
        kind, ran_ms = _CHAIN[step]
        self._work(kind, priority, ran_ms, lambda: self._chain(priority, done, step + 1))

    def _work(self, kind: ModelKind, priority: Priority, ran_ms: int, done: Callable[[], None]) -> None:
        self.room.began(kind, priority, self.now)
        heapq.heappush(self._queue, (priority, next(self._order), self.now_ms, kind, ran_ms, done))
        self._serve()

    def _serve(self) -> None:
        if self._busy or not self._queue:
            return
        self._busy = True
        priority, _, since_ms, kind, ran_ms, done = heapq.heappop(self._queue)
        waited_ms = self.now_ms - since_ms

        def over() -> None:
            self._busy = False
            self.room.ended(kind, priority, waited_ms, ran_ms, self.now)
            done()
            self._serve()

        self._at(ran_ms, over)


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def test_calls_that_are_up_keep_their_quality_when_more_come_than_can_be_served() -> None:
    blind, measured = Office(BLIND), Office(MEASURED)
    for office in (blind, measured):
        office.run(1800, callers_per_minute=12)
    # All twelve are taken, and wait for each other.
    assert blind.most_up == 12
    assert statistics.median(blind.gaps_ms) > 4000
    # Fewer are taken, and they are answered.
    assert 3 <= measured.most_up <= 7
    assert statistics.median(measured.gaps_ms) < 2500
    assert p95(measured.gaps_ms) < 4500
    assert measured.refused > blind.refused
    # The processor is not left idle for it: about as many turns are answered.
    assert len(measured.gaps_ms) > 0.75 * len(blind.gaps_ms)


def test_where_there_is_room_nobody_is_refused_and_nothing_is_left_out() -> None:
    office = Office(MEASURED, capacity=4)
    office.run(1800, callers_per_minute=0.5)
    assert office.refused <= 1
    assert statistics.median(office.gaps_ms) < 1600
