"""One call's dialogue: decides every turn, in code where it can and with the language model where it must.

Knows no audio and no clock: what was heard and when are arguments.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from models.protocols import ChatRequest, LanguageModel
from server.dialogue.agent_file import Agent
from server.dialogue.knowledge import Knowledge
from server.dialogue.replies import JSON, Heard, Reply
from server.dialogue.tools import ToolRegistry

FarewellReason = Literal[
    "silence_timeout", "duration_limit", "turn_limit", "speech_error", "llm_error", "shutdown"
]
TransferFailure = Literal["unconfigured", "refused", "timeout"]


@dataclass(frozen=True, slots=True)
class Services:
    """What the dialogue works with."""

    llm: LanguageModel
    knowledge: Knowledge
    tools: ToolRegistry


class Dialogue:
    """The conversation of one call."""

    def __init__(self, agent: Agent, services: Services, *, call_id: str) -> None:
        """Begin a conversation. ``call_id`` makes the idempotency keys of this call's tools its own."""
        self._agent = agent
        self._services = services
        self._call_id = call_id

    def greeting(self) -> str:
        """Return the first words, which say that a machine speaks."""
        return self._agent.full_greeting

    def respond(self, heard: Heard, *, now: datetime) -> AsyncGenerator[Reply, None]:
        """Answer. ``now`` is the caller's local time, aware or naive. Closing the iterator cancels everything."""
        raise NotImplementedError

    def undo_turn(self) -> None:
        """Forget the last :meth:`respond`: the caller went on, and the whole turn will be said anew."""
        raise NotImplementedError

    def played(self, text: str) -> None:
        """Tell what of the last reply (all of it so far) was really heard; history keeps exactly that."""
        raise NotImplementedError

    def silence_prompt(self) -> str:
        """Return what to ask a caller who says nothing."""
        raise NotImplementedError

    def farewell(self, reason: FarewellReason) -> str:
        """Return the last words when the call ends for another reason than what was said."""
        raise NotImplementedError

    def transfer_failed(self, reason: TransferFailure) -> Sequence[Reply]:
        """Return what is said when nobody could be reached; the conversation goes on."""
        raise NotImplementedError

    def resume_line(self) -> str:
        """Return what an agent process says that took the call over: an apology and the open question."""
        raise NotImplementedError

    def snapshot(self) -> dict[str, JSON]:
        """Return everything needed to go on elsewhere, as versioned JSON."""
        raise NotImplementedError

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Go on from a snapshot. Raises ``SnapshotTooNew``."""
        raise NotImplementedError


def fixed_phrases(agent: Agent) -> list[str]:
    """Return every fixed line of this agent, each as one ``Say`` carries it (render them at start)."""
    raise NotImplementedError


def warm_prefix(agent: Agent, tools: ToolRegistry) -> ChatRequest:
    """Return the request that warms the language model: everything constant of this agent."""
    raise NotImplementedError
