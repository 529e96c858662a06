"""What the user agent's halves share: legs and their steps, requests in dialogs, and the clock. Sans-I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from sip.address import Address
from sip.deadlines import Deadlines
from sip.dialog import Dialog
from sip.errors import LocalProtocolError
from sip.header_fields import MAGIC_COOKIE, quoted
from sip.leg import (
    RING_LIMIT_NS,
    TABLE,
    Leg,
    LegAction,
    LegInput,
    LegState,
    LegTimer,
    PendingOk,
    TransferState,
)
from sip.leg_protocol import LegEndCause
from sip.message import Headers, Request, Response
from sip.responses import respond_to
from sip.session_description import CONTENT_TYPE
from sip.transaction_tables import LIFETIME_NS, T1_NS, T2_NS
from sip.transactions import TransactionKey, TransactionLayer
from sip.user_agent_events import CallEnded, Confirmed, Event, Failed, SendDatagram, TransferProgress

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"


@dataclass(frozen=True, slots=True)
class UserAgentConfig:
    """Who we are on the wire, and how much we hold at most."""

    local: Address
    """Goes into Via and Contact."""
    user: str = "landline"
    product: str = "Landline"
    max_legs: int = 1000
    max_server_transactions: int = 4096


class Purpose(enum.Enum):
    """What a request of ours is for."""

    INVITE = enum.auto()
    CANCEL = enum.auto()
    BYE = enum.auto()
    REFER = enum.auto()


class Core:
    """The legs and everything that either half of the user agent needs to move one on."""

    def __init__(self, config: UserAgentConfig, token: Callable[[int], str]) -> None:
        self.config = config
        self.token = token
        self.layer = TransactionLayer(config.max_server_transactions)
        self.legs: dict[int, Leg] = {}
        self.legs_issued = 0
        self.purposes: dict[TransactionKey, tuple[int, Purpose]] = {}
        self.timers: Deadlines[tuple[int, LegTimer]] = Deadlines()
        self.outputs: list[SendDatagram | Event] = []
        self._by_tag: dict[str, Leg] = {}

    # ── legs ─────────────────────────────────────────────────────────────────────────────────────

    def add(self, leg: Leg, now: int) -> None:
        """Take a new leg in."""
        self.legs[leg.leg_id] = leg
        self._by_tag[leg.local_tag] = leg
        self.timers.set((leg.leg_id, LegTimer.RING), now + RING_LIMIT_NS)

    def next_leg_id(self) -> int:
        """Return the number of a new leg."""
        self.legs_issued += 1
        return self.legs_issued

    def by_tag(self, local_tag: str) -> Leg | None:
        """Return the live leg of a tag of ours."""
        return self._by_tag.get(local_tag)

    def step(
        self,
        leg: Leg,
        event: LegInput,
        now: int,
        *,
        status: int = 0,
        cause: LegEndCause = LegEndCause.LOCAL_HANGUP,
        sdp: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Feed one input to a leg; return whether its table has a place for it.

        ``status`` and ``cause`` are what an ending is reported with, ``sdp`` the body of a 2xx of ours or of an
        ACK, ``headers`` further fields of a refusal.
        """
        found = TABLE.get((leg.state, event))
        if found is None:
            return False
        leg.state, action = found
        self._act(leg, action, now, status, cause, sdp, headers or {})
        if leg.state is LegState.ENDED:
            self._forget(leg, now)
        return True

    def _act(
        self,
        leg: Leg,
        action: LegAction,
        now: int,
        status: int,
        cause: LegEndCause,
        sdp: str | None,
        headers: Mapping[str, str],
    ) -> None:
        match action:
            case LegAction.NOTHING | LegAction.REPORT_RINGING | LegAction.ACK_AND_REPORT:
                # The client half has the response at hand and does these two itself.
                pass
            case LegAction.SEND_OK:
                assert sdp is not None
                self.timers.set((leg.leg_id, LegTimer.RING), None)
                self.accept(leg, leg.invite_key, leg.invite, sdp, late_offer=not leg.invite.body, now=now)
            case LegAction.SEND_REFUSAL:
                self.refuse(leg.invite_key, leg.invite, status, leg.local_tag, now, headers)
            case LegAction.REFUSE_AND_REPORT:
                self.refuse(leg.invite_key, leg.invite, status, leg.local_tag, now, headers)
                self._report_end(leg, cause, status, now)
            case LegAction.SEND_CANCEL:
                self._send_cancel(leg, now)
            case LegAction.SEND_BYE:
                self._send_bye(leg, now)
            case LegAction.BYE_AND_REPORT | LegAction.ACK_BYE_AND_REPORT:
                # Where there was something to acknowledge, the client half has done so.
                self._send_bye(leg, now)
                self._report_end(leg, cause, status, now)
            case LegAction.REPORT_CONFIRMED:
                self.outputs.append(Confirmed(leg.leg_id, sdp))
            case LegAction.REPORT_FAILED:
                self.outputs.append(Failed(leg.leg_id, status))
            case LegAction.REPORT_ENDED:
                self._report_end(leg, cause, status, now)
            case _:
                assert_never(action)

    def _report_end(self, leg: Leg, cause: LegEndCause, status: int, now: int) -> None:
        """Tell the shell, and close what else is open on the leg."""
        self.refuse_reoffer(leg, 487, now)
        leg.transfer = TransferState.NONE
        self.timers.set((leg.leg_id, LegTimer.NOTIFY), None)
        self.outputs.append(CallEnded(leg.leg_id, cause, status))

    def _forget(self, leg: Leg, now: int) -> None:
        self.refuse_reoffer(leg, 487, now)
        for timer in LegTimer:
            self.timers.set((leg.leg_id, timer), None)
        del self.legs[leg.leg_id]
        del self._by_tag[leg.local_tag]
        self.purposes.pop(leg.invite_key, None)
        self.layer.abandon(leg.invite_key)

    def end_transfer(self, leg: Leg, status: int, now: int) -> None:
        """Report how a transfer came out; the leg ends where it came out well."""
        leg.transfer = TransferState.NONE
        self.timers.set((leg.leg_id, LegTimer.NOTIFY), None)
        self.outputs.append(TransferProgress(leg.leg_id, status, final=True))
        if status // 100 == 2:
            self.step(leg, LegInput.HANG_UP, now, cause=LegEndCause.TRANSFERRED)

    # ── responses ────────────────────────────────────────────────────────────────────────────────

    def contact(self) -> str:
        """Return our Contact."""
        return f"<sip:{self.config.user}@{self.config.local}>"

    def refuse(
        self,
        key: TransactionKey,
        request: Request,
        status: int,
        tag: str,
        now: int,
        headers: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        """Send a response without a body."""
        response = respond_to(request, status, tag, reason)
        response.headers.add("Server", self.config.product)
        for name, value in (headers or {}).items():
            response.headers.add(name, value)
        self.layer.respond(key, response, now)

    def accept(
        self, leg: Leg, key: TransactionKey, request: Request, sdp: str | None, *, late_offer: bool, now: int
    ) -> None:
        """Send 200 to INVITE or UPDATE; one to INVITE is repeated until its ACK (§13.3.1.4)."""
        response = respond_to(request, 200, leg.local_tag)
        for value in request.headers.all("Record-Route"):
            response.headers.add("Record-Route", value)
        response.headers.add("Contact", self.contact())
        response.headers.add("Allow", ALLOW)
        # No empty Supported: it says nothing, and there are telephones whose parser fails on it.
        response.headers.add("Server", self.config.product)
        if sdp is not None:
            response.headers.add("Content-Type", CONTENT_TYPE)
            response.body = sdp.encode()
        self.layer.respond(key, response, now)
        if request.method == "INVITE":
            leg.ok = PendingOk(key, response, request.cseq.number, late_offer)
            self.timers.set((leg.leg_id, LegTimer.REPEAT_OK), now + T1_NS)
            self.timers.set((leg.leg_id, LegTimer.ACK), now + LIFETIME_NS)

    def repeat_ok(self, leg: Leg, now: int) -> None:
        """Send the 2xx that nobody has acknowledged again."""
        if leg.ok is None:
            return
        # The transaction may be gone by a hair before the wait for the ACK is over.
        self.layer.respond(leg.ok.key, leg.ok.response, now)
        leg.ok.interval_ns = min(2 * leg.ok.interval_ns, T2_NS)
        self.timers.set((leg.leg_id, LegTimer.REPEAT_OK), now + leg.ok.interval_ns)

    def stop_repeating(self, leg: Leg) -> None:
        """Forget the 2xx: acknowledged, or given up."""
        leg.ok = None
        self.timers.set((leg.leg_id, LegTimer.REPEAT_OK), None)
        self.timers.set((leg.leg_id, LegTimer.ACK), None)

    def refuse_reoffer(self, leg: Leg, status: int, now: int) -> None:
        """Refuse the re-INVITE or UPDATE that waits, if one does."""
        if leg.reoffer is not None:
            self.refuse(leg.reoffer.key, leg.reoffer.request, status, leg.local_tag, now)
            self.close_reoffer(leg)

    def close_reoffer(self, leg: Leg) -> None:
        """Forget the re-INVITE or UPDATE that waited."""
        leg.reoffer = None
        self.timers.set((leg.leg_id, LegTimer.REOFFER), None)

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def via(self) -> str:
        """Return a Via with a new branch."""
        return f"SIP/2.0/UDP {self.config.local};branch={MAGIC_COOKIE}{self.token(24)};rport"

    def send(self, leg: Leg, request: Request, purpose: Purpose, destination: Address, now: int) -> bool:
        """Begin a transaction of ours; return whether there was room for it."""
        try:
            key = self.layer.send_request(request, destination, now)
        except LocalProtocolError:
            return False
        self.purposes[key] = (leg.leg_id, purpose)
        return True

    def dialog_request(self, dialog: Dialog, method: str, number: int | None = None) -> Request:
        """Return a request in the dialog, complete but for a body."""
        request = dialog.request(method, self.via(), number)
        request.headers.add("User-Agent", self.config.product)
        return request

    def _send_bye(self, leg: Leg, now: int) -> None:
        self.stop_repeating(leg)
        assert leg.dialog is not None
        bye = self.dialog_request(leg.dialog, "BYE")
        if leg.reason:
            bye.headers.add("Reason", f"Q.850;cause=16;text={quoted(leg.reason)}")
        if not self.send(leg, bye, Purpose.BYE, leg.dialog.next_hop(), now):
            # No room even for that: the peer will find out by its own timers.
            leg.state = LegState.ENDED

    def _send_cancel(self, leg: Leg, now: int) -> None:
        """Cancel our INVITE: same Via, To, Call-ID and number as it (§9.1)."""
        self.timers.set((leg.leg_id, LegTimer.RING), now + LIFETIME_NS)
        cancel = Request("CANCEL", leg.invite.uri, Headers())
        for name, value in leg.invite.headers:
            if name in ("Via", "From", "To", "Call-ID", "Route", "Max-Forwards"):
                cancel.headers.add(name, value)
        cancel.headers.add("CSeq", f"{leg.invite.cseq.number} CANCEL")
        self.send(leg, cancel, Purpose.CANCEL, leg.peer, now)

    def send_ack(self, dialog: Dialog, number: int) -> SendDatagram:
        """Acknowledge a 2xx (§13.2.2.4); return the ACK, for when the 2xx comes again."""
        ack = self.dialog_request(dialog, "ACK", number)
        datagram = SendDatagram(bytes(ack), dialog.next_hop())
        self.outputs.append(datagram)
        return datagram

    def respond_stateless(self, response: Response, destination: Address) -> None:
        """Answer without a transaction: a request that is malformed, or for which there is no room."""
        response.headers.add("Server", self.config.product)
        self.outputs.append(SendDatagram(bytes(response), destination))
