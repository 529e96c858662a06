"""Record operations: what an agent reports about a call, as a closed union. Sans-I/O.

An operation is known by ``(call_id, sequence)``; sending it again changes nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from server.errors import RecordRejected

MAX_OPERATIONS: Final = 1000
"""Operations in one request."""


class EndReason(enum.StrEnum):
    """Why a call ended."""

    COMPLETED = "completed"
    TRANSFERRED = "transferred"
    CALLER_HANGUP = "caller_hangup"
    CALLER_DNC = "caller_dnc"
    SILENCE_TIMEOUT = "silence_timeout"
    DURATION_LIMIT = "duration_limit"
    TURN_LIMIT = "turn_limit"
    LLM_ERROR = "llm_error"
    SPEECH_ERROR = "speech_error"
    HANDOFF_UNCONFIGURED = "handoff_unconfigured"
    HANDOFF_FAILED = "handoff_failed"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    MEDIA_TIMEOUT = "media_timeout"
    AGENT_LOST = "agent_lost"
    SHUTDOWN = "shutdown"


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected an ISO time with an offset, as 2026-01-31T12:00:00Z")
    return value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_utc)]


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str = Field(min_length=1, max_length=128)
    sequence: int = Field(ge=1)
    at: UtcTime


class CallStarted(_Operation):
    """The call was answered or refused by us."""

    op: Literal["call_started"] = "call_started"
    door: str
    agent_name: str
    agent_version: str
    caller: str
    callee: str
    facts: dict[str, Any] = {}
    codec: str = ""


class Turn(_Operation):
    """One turn: what was heard and what was really played. A later revision replaces an earlier one."""

    op: Literal["turn"] = "turn"
    turn: int = Field(ge=0)
    revision: int = Field(default=0, ge=0)
    """How often the turn was reopened because the caller went on."""
    heard: str = ""
    said: str = ""
    turn_class: str = ""
    interrupted: bool = False
    sources: list[Any] = []
    ledger: dict[str, float | int | None] = {}
    """Milliseconds by name; ``speculation`` is 1 where the reply had been begun before the turn was over."""


class Tool(_Operation):
    """One attempt at a tool."""

    op: Literal["tool"] = "tool"
    turn: int = Field(default=0, ge=0)
    tool: str
    arguments: dict[str, Any] = {}
    provenance: Any = None
    idempotency_key: str = ""
    outcome: Literal["ok", "refused", "failed"]
    result: Any = None
    duration_ms: float = 0.0


class Transition(_Operation):
    """Hold, DTMF, transfer, takeover, fault."""

    op: Literal["transition"] = "transition"
    name: str
    detail: Any = None


class Snapshot(_Operation):
    """Everything an agent needs to go on; only the last one of a call is kept."""

    op: Literal["snapshot"] = "snapshot"
    state: dict[str, Any]


class CallEnded(_Operation):
    """The call is over."""

    op: Literal["call_ended"] = "call_ended"
    end_reason: EndReason
    statistics: dict[str, Any] = {}
    duration_ms: float = 0.0


Operation = CallStarted | Turn | Tool | Transition | Snapshot | CallEnded

_OPERATION: Final[TypeAdapter[Operation]] = TypeAdapter(Annotated[Operation, Field(discriminator="op")])


@dataclass(frozen=True, slots=True)
class Rejection:
    """An operation that was not written. ``reason`` names place and expectation, never a value."""

    call_id: str
    sequence: int
    reason: str


def parse_operations(items: object) -> tuple[list[Operation], list[Rejection]]:
    """Return the operations of a request, and those that are malformed.

    One malformed operation does not hold back the others: an agent resends until accepted, and would otherwise
    resend for ever. Raises :class:`server.errors.RecordRejected` when there is no list of operations at all.
    """
    if not isinstance(items, list):
        raise RecordRejected("ops: expected a list of operations")
    if len(items) > MAX_OPERATIONS:
        raise RecordRejected(f"ops: {len(items)} operations; expected at most {MAX_OPERATIONS}")
    operations: list[Operation] = []
    rejections: list[Rejection] = []
    for item in items:
        try:
            operations.append(_OPERATION.validate_python(item))
        except ValidationError as error:
            rejections.append(_rejection(item, error))
    return operations, rejections


def _rejection(item: object, error: ValidationError) -> Rejection:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    fields = item if isinstance(item, dict) else {}
    call_id, sequence = fields.get("call_id"), fields.get("sequence")
    return Rejection(
        call_id if isinstance(call_id, str) else "",
        sequence if isinstance(sequence, int) else 0,
        f"{place}: {first['msg']}" if place else first["msg"],
    )
