"""Prometheus metrics of the whole of Landline, in a registry of their own. No label holds anything personal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from server.records.operations import CallEnded, CallStarted, Operation, Tool

_LATENCY_BUCKETS_S: Final = (
    *(0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.45, 0.6, 0.8),
    *(1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.5, 6.0, 10.0),
)
"""What is promised of a latency is the bound of a bucket."""
_WAIT_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 8.0)
_MODEL_KINDS: Final = ("stt", "turn", "llm", "tts")
_SHEDDING_STEPS: Final = ("speculation", "partials")
_LABEL: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MAX_LABELS: Final = 40


class AgentStatus(BaseModel):
    """What an agent tells about itself once a second; counts and latencies are those since the last time."""

    model_config = ConfigDict(extra="allow")

    process: str = Field(max_length=32)
    calls: int = 0
    connected: bool = False
    warm: bool = True
    """Whether the language model has the agent's prompt in its cache."""
    turns: dict[str, int] = {}
    """Finished turns by class, and ``interrupted``."""
    stages_ms: dict[str, dict[str, list[float]]] = {}
    """Class of turn to stage to its milliseconds, one a turn. ``gap`` and ``barge_in`` are among them."""
    speculation_hits: int = Field(default=0, ge=0)
    """Turns whose reply had been begun before they were over, and was played."""
    speculation_misses: int = Field(default=0, ge=0)
    """Revisions whose work was dropped."""
    speculation_reused: int = Field(default=0, ge=0)
    """Revisions that said the same as the one before, whose work went on."""
    wasted_ms: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Kind of model to the milliseconds that it worked on what was dropped."""
    waits_ms: dict[str, list[float]] = {}
    """Kind of model to the milliseconds that each piece of work waited for it."""
    refused: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Calls that the agent refused, by reason."""
    capacity: int | None = None
    """Calls that it can carry by what it measures."""
    head_room: int | None = None
    """How many of them are free."""
    busy: float = 0.0
    """Busy share of the busiest model, 0 to 1."""
    shedding: int = 0
    """0 nothing, 1 speculation, 2 partial transcripts too."""


class ProcessStatus(BaseModel):
    """One process as the supervisor sees it."""

    model_config = ConfigDict(extra="forbid")

    up: bool
    restarts: int = 0


class SupervisorStatus(BaseModel):
    """What the supervisor tells about the processes."""

    model_config = ConfigDict(extra="forbid")

    process: str
    processes: dict[str, ProcessStatus]


class Metrics:
    """Everything that ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._started = Counter("landline_calls_started", "Calls begun", registry=registry)
        self._ended = Counter("landline_calls", "Calls ended, by reason", ["end_reason"], registry=registry)
        self._duration = Histogram(
            "landline_call_duration_seconds",
            "Length of calls",
            buckets=(5, 15, 30, 60, 120, 300, 600, 1200, 1800),
            registry=registry,
        )
        self._tools = Counter("landline_tool_attempts", "Tools run", ["tool", "outcome"], registry=registry)
        self._turns = Counter("landline_turns", "Turns, by class", ["turn_class"], registry=registry)
        self._latencies = _Latencies(registry)
        self._models = _ModelMetrics(registry)
        self._refused = Counter(
            "landline_calls_refused", "Calls refused, by reason", ["reason"], registry=registry
        )
        self._refused_at_door: dict[tuple[str, str], int] = {}
        """(door, counter) → its value when it was last seen."""
        self._active = Gauge("landline_calls_active", "Calls being talked with", registry=registry)
        self._rejected = Counter(
            "landline_records_rejected", "Malformed record operations", registry=registry
        )
        self._writable = Gauge(
            "landline_records_writable", "1 while records can be written", registry=registry
        )
        self._disk = Gauge("landline_disk_free_bytes", "Free space for records", registry=registry)
        self._ready = Gauge("landline_ready", "1 while a call would be answered well", registry=registry)
        self._missing = Gauge(
            "landline_part_ready", "1 while a part is ready for calls", ["part"], registry=registry
        )
        self._up = Gauge("landline_process_up", "1 while a process runs", ["process"], registry=registry)
        self._restarts = Gauge(
            "landline_process_restarts", "Restarts since Landline was started", ["process"], registry=registry
        )
        self._sip = Gauge(
            "landline_sip", "Statistics of the telephone side", ["statistic"], registry=registry
        )
        self._websocket = Gauge(
            "landline_websocket", "Statistics of the WebSocket door", ["statistic"], registry=registry
        )
        self._labels: set[str] = set()

    def count_records(self, operations: Sequence[Operation]) -> None:
        """Count what was written to the records for the first time."""
        for item in operations:
            match item:
                case CallStarted():
                    self._started.inc()
                case CallEnded(end_reason=reason, duration_ms=duration_ms):
                    self._ended.labels(reason.value).inc()
                    self._duration.observe(duration_ms / 1000)
                case Tool(tool=tool, outcome=outcome):
                    self._tools.labels(self._label(tool), outcome).inc()
                case _:
                    pass

    def count_rejected(self, count: int) -> None:
        """Count operations that could not be taken."""
        self._rejected.inc(count)

    def agent(self, status: AgentStatus) -> None:
        """Take in an agent's report."""
        self._active.set(status.calls)
        for turn_class, count in status.turns.items():
            self._turns.labels(self._label(turn_class)).inc(max(count, 0))
        for turn_class, stages in status.stages_ms.items():
            for stage, values_ms in stages.items():
                self._latencies.observe(self._label(turn_class), self._label(stage), values_ms)
        for reason, count in status.refused.items():
            self._refused.labels(self._label(reason)).inc(count)
        self._models.take(status)

    def supervisor(self, status: SupervisorStatus) -> None:
        """Take in the supervisor's report."""
        for name, process in status.processes.items():
            self._up.labels(self._label(name)).set(process.up)
            self._restarts.labels(self._label(name)).set(process.restarts)

    def parts(self, missing: Mapping[str, str], *, known: Sequence[str]) -> None:
        """Take in which parts are not ready."""
        self._ready.set(not missing)
        for part in known:
            self._missing.labels(part).set(part not in missing)

    def records(self, *, writable: bool, disk_free_bytes: int) -> None:
        """Take in the state of the records."""
        self._writable.set(writable)
        self._disk.set(disk_free_bytes)

    def sip(self, statistics: Mapping[str, Any]) -> None:
        """Take in the sip process's statistics: its numbers, whatever their names."""
        self._door("sip", self._sip, statistics)

    def websocket(self, statistics: Mapping[str, Any]) -> None:
        """Take in the websocket process's statistics."""
        self._door("websocket", self._websocket, statistics)

    def _door(self, door: str, gauge: Gauge, statistics: Mapping[str, Any]) -> None:
        for name, value in _numbers(statistics):
            gauge.labels(self._label(name)).set(value)
        counters = statistics.get("counters")
        if isinstance(counters, Mapping):
            self._count_refused_at_door(door, counters)

    def _count_refused_at_door(self, door: str, counters: Mapping[str, Any]) -> None:
        """Count what a door refused since the last time; its counters begin anew when it is started anew."""
        for name, value in counters.items():
            reason = name.removeprefix("refused_")
            # What the agent refused it tells itself, with its reason.
            if reason in (name, "refused_by_agent") or not isinstance(value, int):
                continue
            before = self._refused_at_door.get((door, name), 0)
            self._refused.labels(self._label(reason)).inc(
                value - before if value >= before else max(value, 0)
            )
            self._refused_at_door[door, name] = value

    def render(self) -> bytes:
        """Return the text format."""
        return generate_latest(self.registry)

    def _label(self, text: str) -> str:
        """Bound names and number of labels, whatever a process sends."""
        if _LABEL.fullmatch(text) is None or (
            text not in self._labels and len(self._labels) >= 4 * _MAX_LABELS
        ):
            return "other"
        self._labels.add(text)
        return text


class _Latencies:
    """The ledgers of all turns."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages = Histogram(
            "landline_stage_seconds",
            "Latency ledger: seconds of a turn by stage; the gap is their sum",
            ["stage", "turn_class"],
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._gap = Histogram(
            "landline_response_gap_seconds",
            "From the caller's last speech to the first content of the answer",
            ["turn_class"],
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._barge_in = Histogram(
            "landline_barge_in_seconds",
            "From the caller's first speech over the agent to silence",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )

    def observe(self, turn_class: str, stage: str, values_ms: Sequence[float]) -> None:
        """Take in the milliseconds of one stage."""
        for value_ms in values_ms:
            if stage == "barge_in":
                self._barge_in.observe(value_ms / 1000)
                continue
            self._stages.labels(stage, turn_class).observe(value_ms / 1000)
            if stage == "gap":
                self._gap.labels(turn_class).observe(value_ms / 1000)


class _ModelMetrics:
    """How busy the models are, and what is done about it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._speculations = Counter(
            "landline_speculations", "Speculated replies, by outcome", ["outcome"], registry=registry
        )
        self._wasted = Counter(
            "landline_speculation_wasted_seconds",
            "Time that models worked on speculation that was dropped",
            ["kind"],
            registry=registry,
        )
        self._waits = Histogram(
            "landline_model_wait_seconds",
            "Time that work waited for a model",
            ["kind"],
            buckets=_WAIT_BUCKETS_S,
            registry=registry,
        )
        self._capacity = Gauge(
            "landline_capacity_calls", "Calls that the models can carry, as measured", registry=registry
        )
        self._head_room = Gauge(
            "landline_head_room_calls",
            "Calls that can be taken now without harm to others",
            registry=registry,
        )
        self._busy = Gauge(
            "landline_models_busy_ratio", "Busy share of the busiest model in the last 5 s", registry=registry
        )
        self._shedding = Gauge(
            "landline_shedding",
            "1 while this is left out because the models are busy",
            ["what"],
            registry=registry,
        )
        for outcome in ("hit", "miss", "reused"):
            self._speculations.labels(outcome)
        for kind in _MODEL_KINDS:
            self._wasted.labels(kind)
            self._waits.labels(kind)

    def take(self, status: AgentStatus) -> None:
        """Take in an agent's report."""
        self._speculations.labels("hit").inc(status.speculation_hits)
        self._speculations.labels("miss").inc(status.speculation_misses)
        self._speculations.labels("reused").inc(status.speculation_reused)
        for kind, value_ms in status.wasted_ms.items():
            self._wasted.labels(_known_kind(kind)).inc(value_ms / 1000)
        for kind, values_ms in status.waits_ms.items():
            for value_ms in values_ms:
                self._waits.labels(_known_kind(kind)).observe(value_ms / 1000)
        if status.capacity is not None:
            self._capacity.set(status.capacity)
        if status.head_room is not None:
            self._head_room.set(status.head_room)
        self._busy.set(status.busy)
        for step, what in enumerate(_SHEDDING_STEPS, start=1):
            self._shedding.labels(what).set(status.shedding >= step)


def _known_kind(kind: str) -> str:
    return kind if kind in _MODEL_KINDS else "other"


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, bool | int | float):
            found.append((prefix + name, float(value)))
        elif isinstance(value, Mapping) and not prefix:
            found.extend(_numbers(value, f"{name}_"))
    return found[:_MAX_LABELS]
