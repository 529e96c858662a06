"""One call as the door keeps it: phase, care while no agent speaks, and how it is to end. Sans-I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sip.leg_protocol import LegEndCause, Offer
from sip.media_leg import MediaLeg
from sip.offer_answer import Answer, LocalMedia


class Phase(enum.Enum):
    """Where the call stands.

    ::

        RINGING ──Accept──▶ ANSWERED ──ACK──▶ TALKING ──HangUp, Transfer, lost, shutdown──▶ ENDING
                                                 ▲                                             │ all played
                                                 └────── transfer failed ── TRANSFERRING ◀─────┤
                                                                                       BYE ◀───┘
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
    """Transfer to this URI; empty for BYE."""


@dataclass(slots=True)
class Call:
    """A leg's signalling and media, and who attends to it."""

    offer: Offer
    local: LocalMedia
    answer: Answer | None
    """None where the INVITE had no offer: ours goes into the 200."""
    sdp: str
    """What we last sent, or will send in the 200."""
    signalling_host: str
    leg: MediaLeg
    signalled_ns: int
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
    last_press: tuple[str, str, int] = ("", "", 0)
    """Digit, way it came, and when: some phones send a key both in RTP and as INFO."""

    @property
    def leg_id(self) -> int:
        """The user agent's id of it."""
        return self.offer.leg_id

    @property
    def up(self) -> bool:
        """Return whether media flows."""
        return self.phase in (Phase.TALKING, Phase.ENDING, Phase.TRANSFERRING) and self.leg.media is not None
