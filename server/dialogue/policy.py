"""The gate before every turn: go on, authenticate, escalate or block. Decided in code, never by a model. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from server.dialogue.agent_file import Agent
from server.dialogue.replies import Heard
from server.dialogue.state import State
from server.dialogue.triggers import matches, normalise


@dataclass(frozen=True, slots=True)
class Continue:
    """Nothing stands in the way."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The caller must be verified before ``task`` may do anything."""

    task: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person takes over."""

    reason: Literal["asked", "misunderstood"]


@dataclass(frozen=True, slots=True)
class Block:
    """Refused; ``do_not_call`` also ends the call."""

    reason: Literal["subject", "do_not_call"]


Decision = Continue | Authenticate | Escalate | Block

ASKS_FOR_PERSON: Final = (
    "speak|talk|chat|connect|put|transfer|get|give ... real|human|actual|live|another [human] "
    "person|human|being|agent|someone|somebody|operator",
    "speak|talk|chat|transfer|connect|put|connected|transferred ... [a|an|the] "
    "person|human|operator|receptionist|someone|somebody|representative|staff|manager|colleague",
    "^ [a] [real] person|human|operator|receptionist|representative [please] $",
    "^ [a] real|live|human person|human|being|agent [please] $",
    "want|need|like|prefer|get ... [a] person|human|operator|receptionist|representative",
    "is there|anyone|anybody|someone|somebody ... i|you can|could speak|talk to|with",
    "put|pass me through|on|over to someone|somebody|a",
    "not|don't ... talk|speak ... machine|robot|computer|bot",
    "operator|agent|representative please",
)
ASKS_NOT_TO_BE_CALLED: Final = (
    "do|please not|never call|ring|phone|contact me|us|here [again|anymore]",
    "don't|never|stop|quit [you] [ever] call|calling|ring|ringing|phone|phoning|contact|contacting me|us|here",
    "take|remove me|us|my|this ... off|from ... list",
    "put|add me|us|my ... do not call",
)
_DENIED: Final = (
    "don't|not|no|never [want|need|like|to|a] [to] [speak|talk] [to] [a] person|human|operator",
)


def gate(agent: Agent, state: State, heard: Heard) -> Decision:
    """Decide on one turn before anything else looks at it."""
    if heard.source == "dtmf":
        return Escalate("asked") if heard.text == "0" and not state.keyed else Continue()
    words = normalise(heard.text)
    if matches((*ASKS_NOT_TO_BE_CALLED, *agent.policies.do_not_call), words):
        return Block("do_not_call")
    if asks_for_person(words):
        return Escalate("asked")
    if agent.policies.blocked and matches(agent.policies.blocked, words):
        return Block("subject")
    return Continue()


def asks_for_person(words: str) -> bool:
    """Return whether normalised text asks for a person."""
    return matches(ASKS_FOR_PERSON, words) is not None and matches(_DENIED, words) is None


def too_often(agent: Agent, state: State) -> bool:
    """Return whether so much went wrong in a row that a person should take over."""
    return state.misunderstandings >= agent.policies.misunderstandings
