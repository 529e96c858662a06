"""What goes into a turn of the dialogue and what comes out of it: plain values, one closed union. Sans-I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

Outcome = Literal["ok", "refused", "failed"]


class Role(enum.StrEnum):
    """What a clause is for. Only ``content`` counts as an answer."""

    CONTENT = "content"
    FILLER = "filler"
    PROMPT = "prompt"


class TurnClass(enum.StrEnum):
    """How a turn was decided, which says how long it may take."""

    FIXED = "fixed"
    """Patterns, slots and phrases; no model."""
    PLAIN = "plain"
    """The language model's words."""
    GROUNDED = "grounded"
    """From passages of the knowledge base."""
    TOOL = "tool"
    """A tool ran."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller said, or the keys pressed."""

    text: str
    source: Literal["speech", "dtmf"] = "speech"
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a tool's argument comes from; ``quote`` holds the very words."""

    kind: Literal["utterance", "record", "confirmation"]
    reference: str
    """``turn 3`` for an utterance or a confirmation, ``tool:key`` for a record."""
    quote: str

    def to_json(self) -> dict[str, JSON]:
        """Return the value as a JSON object."""
        return {"kind": self.kind, "reference": self.reference, "quote": self.quote}


@dataclass(frozen=True, slots=True)
class Say:
    """A clause, ready for the synthesiser."""

    text: str
    role: Role = Role.CONTENT
    turn_class: TurnClass = TurnClass.FIXED
    sources: tuple[str, ...] = ()
    cacheable: bool = False
    """The words are the owner's own, so their audio may be kept: a fixed phrase, or sentences of a document read word
    for word. Never words of the model, nor what holds a slot, a record or something the caller said."""


@dataclass(frozen=True, slots=True)
class EffectStarts:
    """A tool with an effect runs next: asking for the next reply lets it run, closing the iterator does not.

    Everything before it is free of effects, so a turn that may not be over yet may be answered up to here.
    """

    tool: str


@dataclass(frozen=True, slots=True)
class ToolRan:
    """A tool ran, or was refused before it could (``outcome`` refused and ``duration_ms`` 0)."""

    tool: str
    arguments: Mapping[str, JSON]
    provenance: Mapping[str, Provenance]
    idempotency_key: str
    outcome: Outcome
    result: Mapping[str, JSON] = field(default_factory=dict)
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class HandOff:
    """Transfer the caller to the agent's hand-off target, after what was said."""

    reason: Literal["asked", "misunderstood", "llm_error", "policy", "tool_failed", "emergency"]


@dataclass(frozen=True, slots=True)
class EndCall:
    """Hang up after what was said. ``reason`` is an ``end_reason`` of the records."""

    reason: Literal["completed", "caller_dnc", "handoff_unconfigured"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What kind of answer the open question asks for, so that a dictated number gets more time and a yes less."""

    kind: Literal["open", "yes_no", "digits", "date_time", "name"] = "open"
    digits: int = 0
    """How many digits are still to come; 0 unless ``kind`` is ``digits``."""


Reply: TypeAlias = Say | EffectStarts | ToolRan | HandOff | EndCall
