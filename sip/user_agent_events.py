"""What the user agent tells its shell: datagrams to send and what became of each leg. Sans-I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sip.address import Address
from sip.leg_protocol import LegEndCause


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """One SIP message for the wire."""

    data: bytes
    destination: Address


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A new INVITE; 100 was sent. The shell calls ``ring``, ``answer`` or ``reject``."""

    leg_id: int
    call_id: str
    """The SIP Call-ID, chosen by the peer: never a key of ours."""
    caller: str
    callee: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """``user_agent``, ``caller_name``, ``caller_uri``, ``diversion``, ``asserted_identity`` where sent."""
    sdp: str | None = None
    """The offer; None asks us to offer (late offer), the answer then comes in :class:`Confirmed`."""
    source: Address = field(default_factory=lambda: Address("", 0))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """ACK of our 2xx has come. ``sdp`` is the peer's answer where we had made the offer."""

    leg_id: int
    sdp: str | None = None


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The leg is gone for the shell: no further event follows, commands on it do nothing.

    ``status`` is the SIP status that ended it, 0 where none did (BYE). It follows ``hang_up`` at once, except
    for an INVITE of ours that has to be cancelled first.
    """

    leg_id: int
    cause: LegEndCause
    status: int = 0


@dataclass(frozen=True, slots=True)
class Reoffer:
    """A re-INVITE or UPDATE with an offer; a re-INVITE without SDP (None) asks us to offer.

    To be answered by ``accept_reoffer`` or ``reject_reoffer`` at once; after 4 s the user agent answers 500.
    """

    leg_id: int
    sdp: str | None


@dataclass(frozen=True, slots=True)
class Ringing:
    """A provisional response above 100 to our INVITE; SDP in it is early media."""

    leg_id: int
    status: int
    sdp: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """Our INVITE got its 2xx and the ACK is sent."""

    leg_id: int
    sdp: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """Our INVITE was refused or timed out (408). The leg is gone."""

    leg_id: int
    status: int


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Status of a transfer: of the sipfrag, of the refused REFER, or 408. A final 2xx is followed by CallEnded."""

    leg_id: int
    status: int
    final: bool


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """INFO in a dialog (RFC 6086), such as ``application/dtmf-relay``; 200 was sent."""

    leg_id: int
    content_type: str
    body: bytes


Event = (
    IncomingCall
    | Confirmed
    | CallEnded
    | Reoffer
    | Ringing
    | Answered
    | Failed
    | TransferProgress
    | InfoReceived
)
Output = SendDatagram | Event
