"""What one call writes into the records: its beginning and end, turns, tool runs, and snapshots for a takeover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from server.agent.journal import Journal
from server.agent.ledger import Speculation, TurnTimes, ledger
from server.agent.speech_output import Utterance
from server.dialogue.agent_file import Agent
from server.dialogue.replies import EndCall, HandOff, Heard, ToolRan
from sip import leg_protocol as leg

_END_REASONS: Final = {
    leg.LegEndCause.REMOTE_HANGUP: "caller_hangup",
    leg.LegEndCause.CANCELLED: "caller_hangup",
    leg.LegEndCause.TRANSFERRED: "transferred",
    leg.LegEndCause.MEDIA_TIMEOUT: "media_timeout",
    leg.LegEndCause.AGENT_LOST: "agent_lost",
    leg.LegEndCause.SHUTDOWN: "shutdown",
    leg.LegEndCause.PROTOCOL_ERROR: "interrupted",
    leg.LegEndCause.LOCAL_HANGUP: "completed",
}


@dataclass(slots=True)
class AnsweredTurn:
    """A turn being answered, until it is in the records."""

    number: int
    heard: str = ""
    source: Literal["speech", "dtmf"] = "speech"
    turn_class: str = "fixed"
    sources: list[str] = field(default_factory=list)
    times: TurnTimes | None = None
    """None where nobody spoke: greeting, prompts, keys."""
    reopened: int = 0
    after: HandOff | EndCall | None = None
    effects: int = 0
    speculation: Speculation = field(default_factory=Speculation)
    barge_in_ms: int | None = None
    """From the caller's first sound over this reply until it was silent."""
    recorded: bool = False


class CallRecords:
    """The records of one call."""

    def __init__(
        self, journal: Journal, offer: leg.Offer, *, on_turn: Callable[[str, dict[str, int], bool], None]
    ) -> None:
        """``on_turn`` is told of each finished turn: class, ledger, interrupted."""
        self._journal = journal
        self._offer = offer
        self._on_turn = on_turn

    def started(self, door: str, agent: Agent) -> None:
        """The call was accepted."""
        offer = self._offer
        self.write(
            "call_started",
            door=door,
            agent_name=agent.name,
            agent_version=str(agent.version),
            caller=offer.caller,
            callee=offer.callee,
            facts=dict(offer.facts),
            codec=offer.facts.get("codec", ""),
        )

    def taken_over(self, sequence: int, *, restored: bool) -> None:
        """Another agent process began this call; ``sequence`` is its last operation."""
        self._journal.adopt(self._offer.call_id, sequence)
        self.transition("takeover", restored=restored)

    def transition(self, name: str, **detail: Any) -> None:
        """Something happened to the call."""
        self.write("transition", name=name, detail=detail)

    def tool_ran(self, number: int, ran: ToolRan) -> None:
        """A tool ran or was refused."""
        self.write(
            "tool",
            turn=number,
            tool=ran.tool,
            arguments=dict(ran.arguments),
            provenance={name: origin.to_json() for name, origin in ran.provenance.items()},
            idempotency_key=ran.idempotency_key,
            outcome=ran.outcome,
            result=dict(ran.result),
            duration_ms=ran.duration_ms,
        )

    def snapshot(self, number: int, dialogue: dict[str, Any], pending: Heard | None) -> None:
        """Keep what an agent process needs that takes the call over."""
        waiting = None
        if pending is not None:
            waiting = {"text": pending.text, "source": pending.source, "confidence": pending.confidence}
        self.write("snapshot", state={"version": 1, "turn": number, "dialogue": dialogue, "pending": waiting})

    def turn(
        self, told: AnsweredTurn, said: str, utterances: Sequence[Utterance], *, interrupted: bool
    ) -> None:
        """Write a turn, once."""
        if told.recorded:
            return
        told.recorded = True
        stages: dict[str, int] = {}
        if told.times is not None:
            # Also where no content was heard: what was prepared in vain was paid for all the same.
            stages = ledger(told.times, utterances) | told.speculation.to_ledger()
        if told.barge_in_ms is not None:
            stages["barge_in"] = told.barge_in_ms
        self.write(
            "turn",
            turn=told.number,
            revision=told.reopened,
            heard=told.heard,
            said=said,
            turn_class=told.turn_class,
            interrupted=interrupted,
            sources=told.sources,
            ledger=stages,
        )
        self._on_turn(told.turn_class, stages, interrupted)

    def ended(
        self, cause: leg.LegEndCause, own_reason: str, statistics: dict[str, Any], duration_ms: int
    ) -> None:
        """The leg is gone. ``own_reason``: why this side ended it, where it did."""
        reason = own_reason or _END_REASONS[cause]
        if cause is leg.LegEndCause.REMOTE_HANGUP and own_reason == "completed":
            reason = "completed"
        elif cause is not leg.LegEndCause.LOCAL_HANGUP:
            reason = _END_REASONS[cause]
        self.write("call_ended", end_reason=reason, statistics=statistics, duration_ms=duration_ms)

    def write(self, op: str, **fields: Any) -> None:
        """Write one operation."""
        self._journal.write(self._offer.call_id, op, fields)
