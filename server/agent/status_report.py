"""What the agent process tells control once a second: counts and latencies since the last time. Sans-I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from server.agent.head_room import MODEL_KINDS, HeadRoom

_SPECULATION_HIT: Final = "speculation"
"""Ledger: 1 where the reply that was played had been begun before the turn was over, 0 where not."""
_SPECULATION_COUNTS: Final = {"speculation_misses": "misses", "speculation_reused": "reused"}
"""Ledger: dropped and reused revisions of the turn."""
_WASTED: Final = {f"wasted_{kind}_ms": kind for kind in MODEL_KINDS}


class StatusReport:
    """Collects what happened until it is taken."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._stages_ms: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._speculation: defaultdict[str, int] = defaultdict(int)
        self._wasted_ms: defaultdict[str, float] = defaultdict(float)
        self._refused: defaultdict[str, int] = defaultdict(int)

    def turn(
        self, turn_class: str, ledger: Mapping[str, float | None], interrupted: bool
    ) -> dict[str, float]:
        """Take in a finished turn; return the model milliseconds that its speculation wasted, by kind."""
        self._turns[turn_class] += 1
        if interrupted:
            self._turns["interrupted"] += 1
        wasted_ms: dict[str, float] = {}
        for name, value in ledger.items():
            if value is None:
                continue
            if name == _SPECULATION_HIT:
                self._speculation["hits"] += int(value > 0)
            elif name in _SPECULATION_COUNTS:
                self._speculation[_SPECULATION_COUNTS[name]] += int(value)
            elif name in _WASTED:
                wasted_ms[_WASTED[name]] = float(value)
            else:
                self._stages_ms[turn_class][name].append(value)
        # Wasted work is a dropped speculation, even where the ledger does not count them.
        if "speculation_misses" not in ledger and any(wasted_ms.values()):
            self._speculation["misses"] += 1
        for kind, value in wasted_ms.items():
            self._wasted_ms[kind] += value
        return wasted_ms

    def refused(self, reason: str) -> None:
        """Take in that a call was refused."""
        self._refused[reason] += 1

    def take(self, head_room: HeadRoom, now: int) -> dict[str, Any]:
        """Return what happened since the last time, and the head-room of ``now`` (nanoseconds)."""
        taken = {
            "turns": dict(self._turns),
            "stages_ms": {name: dict(stages) for name, stages in self._stages_ms.items()},
            "speculation_hits": self._speculation["hits"],
            "speculation_misses": self._speculation["misses"],
            "speculation_reused": self._speculation["reused"],
            "wasted_ms": dict(self._wasted_ms),
            "refused": dict(self._refused),
            "waits_ms": head_room.take_waits(),
            "capacity": head_room.capacity(now),
            "head_room": head_room.room(now),
            "busy": round(head_room.busy(now), 3),
            "shedding": int(head_room.shedding(now)),
        }
        self._clear()
        return taken
