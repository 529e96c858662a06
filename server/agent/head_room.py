"""Head-room of the models: what to shed when they are busy, and how many calls they can carry. Sans-I/O.

Told of every piece of model work of this process, it measures how busy the bottleneck is: each kind of model by its
places, and the processor that those of this machine share.

What is shed, in this order (``allows``):

1. **Speculation**. It is the dearest (recogniser, language model and voice, for a turn that may not be over), and what it
   is doing when somebody's final work arrives cannot be taken back at once.
2. **Partials**. They are cheap by their budget, and without speculation they are what still saves time: knowledge and
   prefill are ready when the turn ends. In a worker's queue they stand behind speculation all the same, because a
   speculative result is awaited sooner.

Final work is never shed. A call that is alone sheds nothing: nobody else waits for its models.

How many calls (``capacity``): the work that cannot be shed (final, and speculation that was used) of each call, measured;
as many calls as fit below the target share, never more than configured, always one. While little has been measured the
configured number is taken as true.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from models.protocols import Priority
from server.agent.busy_share import Share, WorkShare, measure

ModelKind = Literal["stt", "turn", "llm", "tts"]
MODEL_KINDS: Final[tuple[ModelKind, ...]] = ("stt", "turn", "llm", "tts")

_MS: Final = 1_000_000
_S: Final = 1_000_000_000
_LOAD_WINDOW_NS: Final = 30 * _S
_SHED_WINDOW_NS: Final = 5 * _S
_LOST_NS: Final = 30 * _S
"""Work that has been running so long was given up without a word; it no longer counts."""
_MAX_RUNNING: Final = 1024
_MAX_WAITS: Final = 512
_LOOK_NS: Final = 50 * _MS
"""Every call asks at every window of its audio; the load need not be looked at so often."""
_STEP_UP_NS: Final = 1 * _S
"""Time that a step of shedding gets to show its effect before the next."""
_STEP_DOWN_NS: Final = 3 * _S
_TRUST_CALL_S: Final = 30.0
"""Measured seconds of calls that count as much as the configured capacity does."""
_PRESUMED_FULL: Final = 0.8
"""How full the models are presumed to be with all configured calls, so that little more than that is no reason to refuse."""
_FORGET_S: Final = 120.0
"""Time constant after which the demand of a call is measured anew."""
_CAPACITY_BAND: Final = 0.1
"""Share by which there must be more room before the capacity rises again."""
_PARTIAL_BURST_S: Final = 10.0
"""Seconds of the partials' budget that may be spent at once."""


class Shedding(enum.IntEnum):
    """What is left out, each step with those before it."""

    NOTHING = 0
    SPECULATION = 1
    PARTIALS = 2


@dataclass(frozen=True, slots=True)
class HeadRoomSettings:
    """What is known of the models. A kind without places is no bottleneck."""

    places: Mapping[str, int] = field(default_factory=dict)
    """Kind → pieces of work that run at once (``stt`` runs one batch: 1)."""
    host_threads: Mapping[str, int] = field(default_factory=dict)
    """Kind → threads, of those that share this machine's processor."""
    host_cores: int = 1
    target_share: float = 0.8
    """Busy share of the bottleneck, by work that cannot be shed, up to which calls are taken."""
    shed_share: float = 0.85
    """Busy share of the last 5 s from which speculation is left out."""
    shed_partials_share: float = 0.95
    """The same for partials."""
    restore_share: float = 0.6
    """Busy share at which a step of shedding is taken back."""
    shed_wait_ms: float = 200.0
    """Mean wait of final work from which speculation is left out; twice that: partials."""
    partial_cpu_share: float = 0.2
    """Share of one core that all partials of the process may use."""
    partial_interval_min_ms: int = 600


@dataclass(slots=True)
class _Resource:
    """One possible bottleneck."""

    kinds: tuple[str, ...]
    recent: Share
    """All work, short window: what shedding goes by."""
    final: Share
    """Final work, long window: what the capacity goes by."""
    awaited: Share
    """Final and speculative work, long window."""
    wasted: Share
    """Speculative work that was for nothing."""
    demand_s: float = 0.0
    """Integral of the share that could not be shed, forgetting."""


class HeadRoom:
    """Measures one agent process's models. All times are nanoseconds of one monotonic clock."""

    def __init__(self, settings: HeadRoomSettings, *, capacity: int) -> None:
        self._settings = settings
        self._configured = capacity
        self._capacity = capacity
        self._calls = 0
        self._resources = _resources(settings)
        self._running: deque[tuple[ModelKind, Priority, int]] = deque(maxlen=_MAX_RUNNING)
        self._waits: deque[tuple[int, float]] = deque(maxlen=_MAX_WAITS)
        """(end, milliseconds waited) of final work."""
        self._untold_waits: dict[str, list[float]] = {}
        self._shedding = Shedding.NOTHING
        self._shed_at = -_STEP_UP_NS
        self._looked_at = -_LOOK_NS
        self._calm_since: int | None = None
        self._call_s = 0.0
        self._calls_up: deque[tuple[int, float]] = deque(maxlen=_MAX_WAITS)
        """(end, seconds of calls) of the long window."""
        self._measured_at: int | None = None
        self._partial_cpu_ms = 0.0
        """Mean cost of one partial; 0 until one ran."""
        self._partial_purse_ms = settings.partial_cpu_share * _PARTIAL_BURST_S * 1000
        self._purse_at: int | None = None

    # ── what happened ────────────────────────────────────────────────────────────────────────────

    def calls(self, up: int, now: int) -> None:
        """Take in how many calls are up."""
        self._measure(now)
        self._calls = up

    def began(self, kind: ModelKind, priority: Priority, now: int) -> None:
        """Take in that a piece of work was handed to a model. :meth:`ended` must follow, whatever becomes of it."""
        self._running.append((kind, priority, now))

    def ended(self, kind: ModelKind, priority: Priority, waited_ms: float, ran_ms: float, now: int) -> None:
        """Take in that a piece of work is over: done, failed or cancelled.

        ``waited_ms`` is its time in the queue (as the worker says, or its whole time less ``ran_ms``), ``ran_ms`` the
        time for which the model worked on it.
        """
        found = next((item for item in self._running if item[:2] == (kind, priority)), None)
        if found is not None:
            self._running.remove(found)
        ran_ns = int(max(0.0, ran_ms) * _MS)
        for resource in self._resources:
            if kind in resource.kinds:
                resource.recent.add(now - ran_ns, now)
                if priority is Priority.FINAL:
                    resource.final.add(now - ran_ns, now)
                if priority is not Priority.PARTIAL:
                    resource.awaited.add(now - ran_ns, now)
        untold = self._untold_waits.setdefault(kind, [])
        if len(untold) < _MAX_WAITS:
            untold.append(max(0.0, waited_ms))
        if priority is Priority.FINAL:
            self._waits.append((now, max(0.0, waited_ms)))
        elif priority is Priority.PARTIAL:
            self._spend(kind, ran_ms, now)

    def wasted(self, kind: ModelKind, ran_ms: float, now: int) -> None:
        """Take in that so much speculative work of a kind was for nothing: it could as well have been shed."""
        ran_ns = int(max(0.0, ran_ms) * _MS)
        for resource in self._resources:
            if kind in resource.kinds:
                resource.wasted.add(now - ran_ns, now)

    # ── what to do ───────────────────────────────────────────────────────────────────────────────

    def allows(self, priority: Priority, now: int) -> bool:
        """Return whether work of this priority may begin."""
        match priority:
            case Priority.FINAL:
                return True
            case Priority.SPECULATIVE:
                return self.shedding(now) < Shedding.SPECULATION
            case Priority.PARTIAL:
                return self.shedding(now) < Shedding.PARTIALS and self._partial_purse(now) > 0.0

    def shedding(self, now: int) -> Shedding:
        """Return what is left out now."""
        if self._calls < 2:
            self._shedding = Shedding.NOTHING
            return self._shedding
        if now - self._looked_at < _LOOK_NS:
            return self._shedding
        self._looked_at = now
        share, wait_ms = self.busy(now), self._wait_ms(now)
        if self._is_pressing(share, wait_ms) and now - self._shed_at >= _STEP_UP_NS:
            self._shedding, self._shed_at = Shedding(self._shedding + 1), now
        settings = self._settings
        if share > settings.restore_share or wait_ms > settings.shed_wait_ms / 2:
            self._calm_since = None
            return self._shedding
        if self._calm_since is None:
            self._calm_since = now
        while self._shedding and now - self._calm_since >= _STEP_DOWN_NS:
            self._shedding = Shedding(self._shedding - 1)
            self._calm_since += _STEP_DOWN_NS
        return self._shedding

    def _is_pressing(self, share: float, wait_ms: float) -> bool:
        """Return whether the next step of shedding is due."""
        settings = self._settings
        match self._shedding:
            case Shedding.NOTHING:
                return share >= settings.shed_share or wait_ms >= settings.shed_wait_ms
            case Shedding.SPECULATION:
                return share >= settings.shed_partials_share or wait_ms >= 2 * settings.shed_wait_ms
            case Shedding.PARTIALS:
                return False

    def capacity(self, now: int) -> int:
        """Return how many calls this process can carry in all, those that are up included; at least 1.

        It falls at once and rises only when there is room to spare, so it does not flutter.
        """
        self._measure(now)
        target = self._settings.target_share
        most = self._fitting(target, now)
        least = self._fitting(target - _CAPACITY_BAND, now)
        self._capacity = max(least, min(self._capacity, most))
        return self._capacity

    def room(self, now: int) -> int:
        """Return how many more calls can be taken without harm to those that are up."""
        return max(0, self.capacity(now) - self._calls)

    def busy(self, now: int) -> float:
        """Return the busy share of the bottleneck in the last 5 s, 0 to 1."""
        self._forget_lost(now)
        return max(
            (
                resource.recent.share(now, [at for kind, _, at in self._running if kind in resource.kinds])
                for resource in self._resources
            ),
            default=0.0,
        )

    def cpu_budget(self, priority: Priority) -> float:
        """Return the share of one core that work of this priority may use; only partials have such a budget."""
        return self._settings.partial_cpu_share if priority is Priority.PARTIAL else float("inf")

    def partial_interval_ms(self) -> int:
        """Return how often a call may have its turn so far transcribed: the measured cost, shared by the calls."""
        least = self._settings.partial_interval_min_ms
        share = self._settings.partial_cpu_share
        if share <= 0.0:
            return int(_LOST_NS / _MS)
        return max(least, round(max(1, self._calls) * self._partial_cpu_ms / share))

    def take_waits(self) -> dict[str, list[float]]:
        """Return kind → milliseconds that work waited since the last time, for the metrics."""
        waits, self._untold_waits = self._untold_waits, {}
        return waits

    # ── measuring ────────────────────────────────────────────────────────────────────────────────

    def _fitting(self, target: float, now: int) -> int:
        """Return how many calls fit below ``target``."""
        if self._shedding is Shedding.PARTIALS:
            return max(1, min(self._calls, self._configured))
        fits = self._configured
        for resource in self._resources:
            per_call = self._per_call(resource)
            # What calls did that are gone by now says nothing about those that are left.
            left = min(1.0, self._calls / mean) if (mean := self._mean_calls(now)) else 0.0
            load = max(self._firm_share(resource, now) * left, self._calls * per_call)
            more = int((target - load) / per_call + 1e-9) if load < target else 0
            fits = min(fits, self._calls + more)
        return max(1, fits)

    def _per_call(self, resource: _Resource) -> float:
        """Return the share of a resource that a call needs: as measured, and as configured while little was."""
        presumed = _PRESUMED_FULL * (self._settings.target_share - _CAPACITY_BAND) / self._configured
        return max(1e-6, (resource.demand_s + presumed * _TRUST_CALL_S) / (self._call_s + _TRUST_CALL_S))

    def _firm_share(self, resource: _Resource, now: int) -> float:
        """Return the busy share by work that cannot be shed: final, and speculation but for what it wasted."""
        since = [at for kind, priority, at in self._running if _is_final(kind, priority, resource)]
        used = resource.awaited.share(now, since) - resource.wasted.share(now)
        return max(resource.final.share(now, since), used)

    def _measure(self, now: int) -> None:
        """Go on with the sums by which the demand of a call is known."""
        self._forget_lost(now)
        elapsed_s = 0.0 if self._measured_at is None else max(0.0, (now - self._measured_at) / _S)
        self._measured_at = now
        kept = max(0.0, 1.0 - elapsed_s / _FORGET_S)
        self._call_s = (self._call_s + self._calls * elapsed_s) * kept
        if self._calls and elapsed_s:
            self._calls_up.append((now, self._calls * elapsed_s))
        for resource in self._resources:
            resource.demand_s = (resource.demand_s + self._firm_share(resource, now) * elapsed_s) * kept

    def _mean_calls(self, now: int) -> float:
        """Return how many calls were up in the mean of the long window."""
        while self._calls_up and self._calls_up[0][0] <= now - _LOAD_WINDOW_NS:
            self._calls_up.popleft()
        return sum(call_s for _, call_s in self._calls_up) * _S / _LOAD_WINDOW_NS

    def _wait_ms(self, now: int) -> float:
        while self._waits and self._waits[0][0] <= now - _SHED_WINDOW_NS:
            self._waits.popleft()
        return sum(wait_ms for _, wait_ms in self._waits) / len(self._waits) if self._waits else 0.0

    def _forget_lost(self, now: int) -> None:
        while self._running and now - self._running[0][2] > _LOST_NS:
            self._running.popleft()

    def _spend(self, kind: ModelKind, ran_ms: float, now: int) -> None:
        cost_ms = max(0.0, ran_ms) * self._settings.host_threads.get(kind, 1)
        self._partial_purse_ms = self._partial_purse(now) - cost_ms
        if kind == "stt":
            known = self._partial_cpu_ms or cost_ms
            self._partial_cpu_ms = known + 0.2 * (cost_ms - known)

    def _partial_purse(self, now: int) -> float:
        """Return the processor milliseconds that partials may still spend."""
        share = self._settings.partial_cpu_share
        elapsed_ms = 0.0 if self._purse_at is None else max(0, now - self._purse_at) / _MS
        self._purse_at = now
        full_ms = share * _PARTIAL_BURST_S * 1000
        self._partial_purse_ms = min(full_ms, self._partial_purse_ms + share * elapsed_ms)
        return self._partial_purse_ms


def _is_final(kind: ModelKind, priority: Priority, resource: _Resource) -> bool:
    return priority is Priority.FINAL and kind in resource.kinds


def _resources(settings: HeadRoomSettings) -> list[_Resource]:
    wanted: list[tuple[tuple[str, ...], int]] = [
        ((kind,), places) for kind, places in settings.places.items()
    ]
    if settings.host_threads:
        # Two models that together have more threads than there are cores slow each other down.
        at_once = max(1, settings.host_cores // max(settings.host_threads.values()))
        wanted.append((tuple(settings.host_threads), at_once))
    return [
        _Resource(
            kinds=kinds,
            recent=measure(_SHED_WINDOW_NS, places),
            final=measure(_LOAD_WINDOW_NS, places),
            awaited=measure(_LOAD_WINDOW_NS, places),
            wasted=WorkShare(_LOAD_WINDOW_NS, places),
        )
        for kinds, places in wanted
    ]
