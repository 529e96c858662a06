"""SIP user agent: datagrams and commands in, datagrams and call events out (RFC 3261). Sans-I/O.

The halves stand in ``sip.user_agent_server`` and ``sip.user_agent_client``, what they share in
``sip.user_agent_core``, and what lies below them in ``sip.transactions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from sip.address import Address
from sip.errors import LocalProtocolError
from sip.header_fields import stamp_via
from sip.leg import OVER, Leg, LegInput, LegState, LegTimer
from sip.leg_protocol import LegEndCause
from sip.message import Request, parse
from sip.responses import respond_to
from sip.transactions import (
    Overload,
    RequestReceived,
    ResponseReceived,
    StrayResponse,
    TimedOut,
    Upward,
)
from sip.transfer import refer
from sip.user_agent_client import Client
from sip.user_agent_core import Core, UserAgentConfig
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
from sip.user_agent_server import Server

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


class UserAgent:
    """All calls of one UDP socket. ``now`` is a monotonic time in ns.

    Commands name a leg. One that is over does nothing (the peer may have been quicker); one that was never issued,
    or a command that the leg's state does not allow, raises :class:`sip.errors.LocalProtocolError`.
    """

    def __init__(self, config: UserAgentConfig, token: Callable[[int], str]) -> None:
        """``token(n)`` returns n random hex characters."""
        self._core = Core(config, token)
        self._server = Server(self._core)
        self._client = Client(self._core)

    def receive_datagram(self, data: bytes, source: Address, now: int) -> None:
        """Take in one datagram; never raises, whatever it holds."""
        message = parse(data)
        if isinstance(message, Request):
            self._receive_request(message, source, now)
        elif message is not None and message.via.sent_by == self._sent_by():
            # RFC 3261 §18.1.2: a response whose top Via is not ours is not for us.
            self._core.layer.receive_response(message, now)
        self._pump(now)

    def handle_timeout(self, now: int) -> None:
        """Do what is due at ``now``."""
        self._core.layer.handle_timeout(now)
        self._pump(now)
        while (due := self._core.timers.pop_due(now)) is not None:
            leg = self._core.legs.get(due[0])
            if leg is not None:
                self._leg_timer(leg, due[1], now)
            self._pump(now)

    def deadline(self) -> int | None:
        """Return when ``handle_timeout`` is to be called next, None for never."""
        deadlines = [self._core.layer.deadline(), self._core.timers.next()]
        return min((each for each in deadlines if each is not None), default=None)

    def outputs(self) -> list[Output]:
        """Return and forget what is to be done; drain after every call."""
        outputs, self._core.outputs = self._core.outputs, []
        return outputs

    @property
    def legs(self) -> int:
        """Calls held, those included that the shell has been told are over."""
        return len(self._core.legs)

    @property
    def transactions(self) -> int:
        """Transactions held, both sides."""
        return len(self._core.layer)

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    def ring(self, leg_id: int, now: int) -> None:
        """Send 180."""
        leg = self._live(leg_id)
        if leg is None:
            return
        if leg.state is not LegState.INCOMING:
            raise LocalProtocolError("only an incoming call that is not yet answered can ring")
        response = respond_to(leg.invite, 180, leg.local_tag)
        for value in leg.invite.headers.all("Record-Route"):
            response.headers.add("Record-Route", value)
        response.headers.add("Contact", self._core.contact())
        response.headers.add("Server", self._core.config.product)
        self._core.layer.respond(leg.invite_key, response, now)
        self._pump(now)

    def answer(self, leg_id: int, sdp: str, now: int) -> None:
        """Send 200 with our answer (or our offer, where the INVITE had none)."""
        leg = self._live(leg_id)
        if leg is not None and not self._core.step(leg, LegInput.ANSWER, now, sdp=sdp):
            raise LocalProtocolError("only an incoming call that is not yet answered can be answered")
        self._pump(now)

    def reject(self, leg_id: int, status: int, now: int, retry_after_s: int = 0) -> None:
        """Refuse with a final status from 300 to 699. No CallEnded follows."""
        if not 300 <= status <= 699:
            raise LocalProtocolError(f"a call is refused with a status from 300 to 699, not {status}")
        leg = self._live(leg_id)
        headers = {"Retry-After": str(retry_after_s)} if retry_after_s > 0 else {}
        if leg is not None and not self._core.step(leg, LegInput.REJECT, now, status=status, headers=headers):
            raise LocalProtocolError("only an incoming call that is not yet answered can be refused")
        self._pump(now)

    def accept_reoffer(self, leg_id: int, sdp: str, now: int) -> None:
        """Answer the pending re-INVITE or UPDATE with 200; does nothing where none is pending any more."""
        leg = self._live(leg_id)
        if leg is not None and leg.reoffer is not None and leg.dialog is not None:
            pending = leg.reoffer
            self._core.close_reoffer(leg)
            leg.dialog.refresh_target(pending.request.headers)
            self._core.accept(leg, pending.key, pending.request, sdp, late_offer=pending.late_offer, now=now)
        self._pump(now)

    def reject_reoffer(self, leg_id: int, status: int, now: int) -> None:
        """Refuse the pending re-INVITE or UPDATE; the session goes on as it was."""
        if not 300 <= status <= 699:
            raise LocalProtocolError(f"an offer is refused with a status from 300 to 699, not {status}")
        leg = self._live(leg_id)
        if leg is not None:
            self._core.refuse_reoffer(leg, status, now)
        self._pump(now)

    def hang_up(self, leg_id: int, now: int, reason: str = "") -> None:
        """End the leg: BYE, CANCEL or a final refusal, whichever its state demands."""
        leg = self._live(leg_id)
        if leg is not None:
            leg.reason = reason
            status = 480 if leg.state is LegState.INCOMING else 0
            self._core.step(leg, LegInput.HANG_UP, now, status=status, cause=LegEndCause.LOCAL_HANGUP)
        self._pump(now)

    def transfer(self, leg_id: int, target: str, now: int) -> None:
        """Blind transfer by REFER (RFC 3515) to a SIP URI; one that is no URI is reported as refused with 400."""
        leg = self._live(leg_id)
        if leg is not None:
            refer(self._core, leg, target, now)
        self._pump(now)

    def invite(
        self, target: str, destination: Address, sdp: str, now: int, caller: str = "sip:landline@invalid"
    ) -> int:
        """Call ``target`` (a SIP URI) through ``destination``; return the new leg's id."""
        leg_id = self._client.invite(target, destination, sdp, now, caller)
        self._pump(now)
        return leg_id

    # ── within ───────────────────────────────────────────────────────────────────────────────────

    def _sent_by(self) -> str:
        local = self._core.config.local
        return f"{local.host.lower()}:{local.port}"

    def _live(self, leg_id: int) -> Leg | None:
        if not 1 <= leg_id <= self._core.legs_issued:
            raise LocalProtocolError(f"leg {leg_id} was never issued")
        leg = self._core.legs.get(leg_id)
        return None if leg is None or leg.state in OVER else leg

    def _receive_request(self, request: Request, source: Address, now: int) -> None:
        vias = request.headers.all("Via")
        try:
            request.headers.replace_first("Via", stamp_via(vias[0], source))
            destination = request.via.response_destination(source)
        except ValueError:
            # Where even the Via cannot be read, its answer can only go back whence it came.
            destination = source
        if request.defect is None:
            self._core.layer.receive_request(request, source, now)
        elif request.method != "ACK":
            defect = request.defect
            response = respond_to(request, defect.status, self._core.token(16), defect.reason)
            self._core.respond_stateless(response, destination)

    def _leg_timer(self, leg: Leg, timer: LegTimer, now: int) -> None:
        match timer:
            case LegTimer.RING:
                incoming = leg.state is LegState.INCOMING
                cause = LegEndCause.PROTOCOL_ERROR if incoming else LegEndCause.LOCAL_HANGUP
                self._core.step(leg, LegInput.EXPIRED, now, status=480 if incoming else 408, cause=cause)
            case LegTimer.REPEAT_OK:
                self._core.repeat_ok(leg, now)
            case LegTimer.ACK:
                self._core.stop_repeating(leg)
                self._core.step(leg, LegInput.NO_ACK, now, status=408, cause=LegEndCause.PROTOCOL_ERROR)
            case LegTimer.REOFFER:
                self._core.refuse_reoffer(leg, 500, now)
            case LegTimer.NOTIFY:
                self._core.end_transfer(leg, 408, now)
            case _:
                assert_never(timer)

    def _pump(self, now: int) -> None:
        """Carry what the transactions have to say up, until they have nothing more."""
        while outputs := self._core.layer.outputs():
            for output in outputs:
                if isinstance(output, SendDatagram):
                    self._core.outputs.append(output)
                else:
                    self._upward(output, now)

    def _upward(self, event: Upward, now: int) -> None:
        match event:
            case RequestReceived(request=request, key=None):
                self._server.acknowledge(request, now)
            case RequestReceived(request=request, source=source, key=key) if key is not None:
                self._server.receive(request, source, key, now)
            case RequestReceived():
                pass
            case ResponseReceived(response=response, key=key):
                self._client.receive(response, key, now)
            case StrayResponse(response=response):
                self._client.receive_stray(response, now)
            case TimedOut(key=key):
                self._client.timed_out(key, now)
            case Overload(request=request, source=source):
                self._server.overload(request, source)
            case _:
                assert_never(event)
