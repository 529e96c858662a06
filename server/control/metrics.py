"""Prometheus metrics of the whole of Landline, in a registry of their own. No label holds anything personal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from server.records.operations import CallEnded, CallStarted, Operation, Tool

_LATENCY_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0, 4.5, 6.0, 10.0)
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
    latencies_ms: dict[str, list[float]] = {}
    """Stage to its milliseconds, one a turn."""


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
        self._stages = Histogram(
            "landline_stage_seconds",
            "Latency ledger: seconds of a turn by stage",
            ["stage"],
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
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
        for stage, values_ms in status.latencies_ms.items():
            stage_seconds = self._stages.labels(self._label(stage))
            for value_ms in values_ms:
                stage_seconds.observe(value_ms / 1000)

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
        for name, value in _numbers(statistics):
            self._sip.labels(self._label(name)).set(value)

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


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, bool | int | float):
            found.append((prefix + name, float(value)))
        elif isinstance(value, Mapping) and not prefix:
            found.extend(_numbers(value, f"{name}_"))
    return found[:_MAX_LABELS]
