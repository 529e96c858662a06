"""SIP user agent: datagrams and commands in, datagrams and call events out (RFC 3261). Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sip.address import Address
from sip.user_agent_events import (
    Answered,
    CallEnded,
    Confirmed,
    Event,
    Failed,
    IncomingCall,
    InfoReceived,
    Output,
    Reoffer,
    Ringing,
    SendDatagram,
    TransferProgress,
)

__all__ = [
    "Address",
    "Answered",
    "CallEnded",
    "Confirmed",
    "Event",
    "Failed",
    "IncomingCall",
    "InfoReceived",
    "Output",
    "Reoffer",
    "Ringing",
    "SendDatagram",
    "TransferProgress",
    "UserAgent",
    "UserAgentConfig",
]


@dataclass(frozen=True, slots=True)
class UserAgentConfig:
    """Who we are on the wire, and how much we hold at most."""

    local: Address
    """Goes into Via and Contact."""
    user: str = "landline"
    product: str = "Landline"
    max_legs: int = 1000
    max_server_transactions: int = 4096


class UserAgent:
    """All calls of one UDP socket. ``now`` is a monotonic time in ns."""

    def __init__(self, config: UserAgentConfig, token: Callable[[int], str]) -> None:
        """``token(n)`` returns n random hex characters."""
        raise NotImplementedError

    def receive_datagram(self, data: bytes, source: Address, now: int) -> None:
        """Take in one datagram; never raises, whatever it holds."""
        raise NotImplementedError

    def handle_timeout(self, now: int) -> None:
        """Do what is due at ``now``."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """Return when ``handle_timeout`` is to be called next, None for never."""
        raise NotImplementedError

    def outputs(self) -> list[Output]:
        """Return and forget what is to be done; drain after every call."""
        raise NotImplementedError

    def ring(self, leg_id: int, now: int) -> None:
        """Send 180."""
        raise NotImplementedError

    def answer(self, leg_id: int, sdp: str, now: int) -> None:
        """Send 200 with our answer (or our offer, where the INVITE had none)."""
        raise NotImplementedError

    def reject(self, leg_id: int, status: int, now: int, retry_after_s: int = 0) -> None:
        """Refuse with a final status from 300 to 699. No CallEnded follows."""
        raise NotImplementedError

    def accept_reoffer(self, leg_id: int, sdp: str, now: int) -> None:
        """Answer the pending re-INVITE or UPDATE with 200."""
        raise NotImplementedError

    def reject_reoffer(self, leg_id: int, status: int, now: int) -> None:
        """Refuse the pending re-INVITE or UPDATE; the session goes on as it was."""
        raise NotImplementedError

    def hang_up(self, leg_id: int, now: int, reason: str = "") -> None:
        """End the leg: BYE, CANCEL or a final refusal, whichever its state demands."""
        raise NotImplementedError

    def transfer(self, leg_id: int, target: str, now: int) -> None:
        """Blind transfer by REFER (RFC 3515)."""
        raise NotImplementedError

    def invite(
        self, target: str, destination: Address, sdp: str, now: int, caller: str = "sip:landline@invalid"
    ) -> int:
        """Call ``target`` (a SIP URI) through ``destination``; return the new leg's id."""
        raise NotImplementedError
