"""Latency ledger of one turn: every millisecond between the caller's last sound and ours has a name and an owner.

``gap`` runs from the last audible sample of the caller, when it reached this process, to the first packet of content.
It is the sum of the stages in :data:`STAGES`. What lies before (one packet's length on the caller's side) and behind
(the network) nobody here can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from server.agent.speech_output import Utterance
from server.dialogue.replies import Role

_NS_PER_MS: Final = 1_000_000

STAGES: Final = ("detect", "endpoint", "stt_wait", "words", "voice", "playout")
"""In order: voice activity detection notices the end of speech; silence until the turn counts as over; waiting for its
transcript; dialogue until the first clause; voice until its first audio; door until its first packet."""


@dataclass(slots=True)
class Speculation:
    """What preparing replies did for one turn of the caller."""

    hit: bool = False
    misses: int = 0
    reused: int = 0
    wasted_ms: Mapping[str, float] = field(default_factory=dict)

    def to_ledger(self) -> dict[str, int]:
        """Return the ledger's entries."""
        entries = {
            "speculation": int(self.hit),
            "speculation_misses": self.misses,
            "speculation_reused": self.reused,
        }
        return entries | {f"wasted_{kind}_ms": round(spent) for kind, spent in self.wasted_ms.items()}


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """When the turn of the caller ended (ns), as the turn machine saw it."""

    speech_stop_at: int
    noticed_at: int
    over_at: int
    """When the silence had lasted long enough."""
    committed_at: int


def ledger(times: TurnTimes, utterances: Iterable[Utterance]) -> dict[str, int]:
    """Return name → milliseconds; empty when no content was heard.

    Stages are differences of rounded moments, so that they sum to ``gap`` exactly. What was done ahead of the commit
    (words and audio of a prepared reply) takes no time of the caller's.
    """
    spoken = [utterance for utterance in utterances if utterance.started_at]
    content = next((u for u in spoken if u.role is Role.CONTENT), None)
    if content is None:
        return {}
    moments = [times.noticed_at, times.over_at, times.committed_at, content.said_at, content.first_audio_at]
    # Only the silence can end before it is noticed; the others wait for the commit.
    moments[1] = min(moments[1], times.committed_at)
    began = times.speech_stop_at
    entries: dict[str, int] = {}
    reached = 0
    for name, moment in zip(STAGES, [*moments, content.started_at], strict=True):
        at = max(reached, min(_ms(moment - began), _ms(content.started_at - began)))
        entries[name], reached = at - reached, at
    entries["gap"] = reached
    filler = next((u for u in spoken if u.role is Role.FILLER), None)
    if filler is not None and filler.started_at < content.started_at:
        entries["filler_gap"] = _ms(filler.started_at - began)
    return entries


def _ms(nanoseconds: int) -> int:
    return round(nanoseconds / _NS_PER_MS)
