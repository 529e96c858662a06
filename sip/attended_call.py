"""One caller as a door keeps them: phase, care while no agent speaks, and how the call is to end. Sans-I/O."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass

from sip.leg_protocol import LegEndCause, LegStatistics, Offer
from sip.playout import Playout


class Phase(enum.Enum):
    """Where the call stands.

    ::

        RINGING ──Accept──▶ ANSWERED ──confirmed──▶ TALKING ──HangUp, Transfer, lost, shutdown──▶ ENDING
                                                       ▲                                             │ all played
                                                       └────── transfer failed ── TRANSFERRING ◀─────┤
                                                                                         hang up ◀───┘
    """

    RINGING = enum.auto()
    ANSWERED = enum.auto()
    TALKING = enum.auto()
    ENDING = enum.auto()
    TRANSFERRING = enum.auto()


class Care(enum.Enum):
    """What a caller without an agent has been told."""

    ATTENDED = enum.auto()
    ALONE = enum.auto()
    CONSOLED = enum.auto()
    GIVEN_UP = enum.auto()


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done once everything queued has been played."""

    cause: LegEndCause
    """Told to the agent, unless a transfer succeeds."""
    target: str = ""
    """Transfer to this URI; empty to hang up."""


@dataclass(slots=True, kw_only=True)
class AttendedCall(ABC):
    """What the switchboard knows of a call; a door's own class adds its wire."""

    offer: Offer
    agent: int | None = None
    phase: Phase = Phase.RINGING
    care: Care = Care.ATTENDED
    since_ns: int = 0
    """When the phase's limit runs from: the offer, or the last agent's loss."""
    ending: Ending | None = None
    drained_ns: int | None = None
    """When the last queued sample was sent, in ENDING."""
    end_cause: LegEndCause | None = None
    """Set by whoever hangs up on our side."""

    @property
    def leg_id(self) -> int:
        """Unique within one life of the door."""
        return self.offer.leg_id

    @property
    @abstractmethod
    def playout(self) -> Playout:
        """What is still to be said to the caller."""
        ...

    @property
    @abstractmethod
    def offset(self) -> int:
        """Sample clock of the caller's audio."""
        ...

    @property
    @abstractmethod
    def drained(self) -> bool:
        """Return whether everything queued was sent, or cannot be because the peer does not listen."""
        ...

    @property
    @abstractmethod
    def up(self) -> bool:
        """Return whether media flows."""
        ...

    @abstractmethod
    def statistics(self) -> LegStatistics:
        """Return the counters of its media."""
        ...
