"""Everything that a conversation remembers, as plain values that go to JSON and back unchanged. Sans-I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError

from server.dialogue.errors import SnapshotTooNew
from server.dialogue.replies import JSON, Provenance
from server.dialogue.tools import Value

SNAPSHOT_VERSION: Final = 1
MAX_TURNS_KEPT: Final = 400


@dataclass(slots=True)
class TurnRecord:
    """One exchange: what was heard, and what of the answer the caller really heard."""

    number: int
    heard: str
    source: str
    day: str
    """ISO date on which it was said, to resolve "tomorrow" again."""
    said: str = ""
    """What was played of the answer, all of it."""


@dataclass(slots=True)
class SlotValue:
    """A value with its origin. ``text`` is canonical: ISO 8601 for dates and times."""

    kind: str
    text: str
    provenance: Provenance

    @property
    def value(self) -> Value:
        """Return the typed value."""
        return typed(self.kind, self.text)


@dataclass(slots=True)
class TaskState:
    """A task under way."""

    name: str
    slots: dict[str, SlotValue] = field(default_factory=dict)
    open_slot: str = ""
    """The slot that was asked for last."""
    confirming: bool = False
    question: str = ""
    """The open question as it was put."""
    checked: list[str] = field(default_factory=list)
    """Checks that passed, with the values they passed for."""
    attempts: dict[str, int] = field(default_factory=dict)
    doubtful: SlotValue | None = None
    """A value that the open question proposes."""


@dataclass(slots=True)
class State:
    """The conversation."""

    turns: list[TurnRecord] = field(default_factory=list)
    turn: int = 0
    task: TaskState | None = None
    offer: str = ""
    """What a plain yes or no would answer, besides a task's confirmation: ``person``, ``anything_else``, ``task:NAME``."""
    misunderstandings: int = 0
    verified: dict[str, str] = field(default_factory=dict)
    """Identities proven in this call, by a tool's result."""
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    """The latest result of each tool, single values in canonical text."""
    spoken: dict[str, dict[str, str]] = field(default_factory=dict)
    """The same in words."""
    writes: int = 0
    """Writes that came back: part of the idempotency key, so that a repeated run is the same run."""
    keyed: str = ""
    """Digits pressed so far."""
    last_said: str = ""
    """The last answer in full, for "could you repeat that"."""
    planned: str = ""
    """What was generated of the reply that plays now."""
    heard_of_reply: str | None = None
    """What of it was heard; None while nobody told."""
    answering: bool = False
    """Whether the reply that plays now answers the last turn."""

    def begin_turn(self, heard: str, source: str, day: date) -> TurnRecord:
        """Open the next turn."""
        self.turn += 1
        record = TurnRecord(self.turn, heard, source, day.isoformat())
        self.turns.append(record)
        del self.turns[:-MAX_TURNS_KEPT]
        self.begin_reply()
        return record

    def begin_reply(self) -> None:
        """Forget what was planned: the next words begin a reply of their own."""
        self.planned, self.heard_of_reply, self.answering = "", None, False

    def utterance(self, number: int) -> TurnRecord | None:
        """Return the turn with this number."""
        return next((item for item in reversed(self.turns) if item.number == number), None)

    def dump(self) -> dict[str, JSON]:
        """Return the state as JSON."""
        return {
            "version": SNAPSHOT_VERSION,
            **cast("dict[str, JSON]", _ADAPTER.dump_python(self, mode="json")),
        }


_ADAPTER: Final = TypeAdapter(State)


def load_state(raw: Mapping[str, JSON]) -> State:
    """Return the state of a snapshot. Raises :class:`SnapshotTooNew` for another version or shape."""
    values: dict[str, Any] = dict(raw)
    version = values.pop("version", None)
    if version != SNAPSHOT_VERSION:
        raise SnapshotTooNew(f"snapshot has version {version!r}; expected {SNAPSHOT_VERSION}")
    values = {key: value for key, value in values.items() if key in _FIELDS}
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise SnapshotTooNew(f"snapshot has another shape: {error.error_count()} fields differ") from None


_FIELDS: Final = frozenset(item.name for item in dataclasses.fields(State))


def canonical(value: Value) -> str:
    """Return a value as its canonical text."""
    match value:
        case date():
            return value.isoformat()
        case time():
            return value.isoformat(timespec="minutes")
        case _:
            return str(value)


def typed(kind: str, text: str) -> Value:
    """Return the value of a canonical text. Raises ValueError where it is none of its kind."""
    match kind:
        case "date":
            return date.fromisoformat(text)
        case "time":
            return time.fromisoformat(text)
        case "number":
            return int(text)
        case _:
            return text
