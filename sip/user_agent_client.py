"""The user agent as a client: calls of ours, and responses to requests of ours (RFC 3261 §8.1.3, §13.2). Sans-I/O."""

from __future__ import annotations

from sip.address import Address
from sip.dialog import Dialog, without_tag
from sip.errors import LocalProtocolError, RemoteProtocolError
from sip.header_fields import NameAddress, parse_uri
from sip.leg import Leg, LegInput, LegState, LegTimer
from sip.leg_protocol import LegEndCause
from sip.message import Headers, Request, Response
from sip.session_description import CONTENT_TYPE
from sip.transactions import TransactionKey
from sip.transfer import receive_refer_response
from sip.user_agent_core import ALLOW, Core, Purpose
from sip.user_agent_events import Answered, Ringing


class Client:
    """What is done with each response."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def invite(self, target: str, destination: Address, sdp: str, now: int, caller: str) -> int:
        """Send an INVITE; return the new leg's id. Raises :class:`LocalProtocolError` on a bad URI, or no room."""
        core = self._core
        try:
            parse_uri(target)
            sender = without_tag(caller)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"caller and target must be SIP URIs: {error}") from None
        if len(core.legs) >= core.config.max_legs:
            raise LocalProtocolError(f"more than {core.config.max_legs} legs")
        tag = core.token(16)
        headers = Headers([("Via", core.via()), ("Max-Forwards", "70")])
        headers.add("From", f"{sender};tag={tag}")
        headers.add("To", f"<{target}>")
        headers.add("Call-ID", core.token(32))
        headers.add("CSeq", "1 INVITE")
        headers.add("Contact", core.contact())
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", core.config.product)
        headers.add("Content-Type", CONTENT_TYPE)
        request = Request("INVITE", target, headers, sdp.encode())
        key = core.layer.send_request(request, destination, now)
        leg = Leg(core.next_leg_id(), LegState.CALLING, request, key, tag, destination)
        core.purposes[key] = (leg.leg_id, Purpose.INVITE)
        core.add(leg, now)
        return leg.leg_id

    def receive(self, response: Response, key: TransactionKey, now: int) -> None:
        """Take in a response within its transaction."""
        leg_id, purpose = self._core.purposes.get(key, (0, None))
        leg = self._core.legs.get(leg_id)
        if leg is None:
            if response.status >= 200:
                self._core.purposes.pop(key, None)
            return
        if purpose is Purpose.INVITE:
            self._invite_response(leg, response, now)
        elif response.status >= 200:
            del self._core.purposes[key]
            self._final(leg, purpose, response.status, now)

    def timed_out(self, key: TransactionKey, now: int) -> None:
        """Take in that no final response came (408, RFC 3261 §8.1.3.1)."""
        leg_id, purpose = self._core.purposes.pop(key, (0, None))
        leg = self._core.legs.get(leg_id)
        if leg is None:
            return
        if purpose is Purpose.INVITE:
            self._core.step(leg, LegInput.NO_RESPONSE, now, status=408)
        else:
            self._final(leg, purpose, 408, now)

    def receive_stray(self, response: Response, now: int) -> None:
        """Acknowledge a 2xx that comes after its transaction is over."""
        leg = self._core.by_tag(NameAddress.parse(response.headers.get("From") or "").tag)
        if leg is not None:
            self._invite_response(leg, response, now)

    def _final(self, leg: Leg, purpose: Purpose | None, status: int, now: int) -> None:
        if purpose is Purpose.BYE:
            self._core.step(leg, LegInput.BYE_DONE, now)
        elif purpose is Purpose.REFER:
            receive_refer_response(self._core, leg, status, now)

    def _invite_response(self, leg: Leg, response: Response, now: int) -> None:
        try:
            match response.status // 100:
                case 1:
                    self._provisional(leg, response, now)
                case 2:
                    self._accepted(leg, response, now)
                case _:
                    self._core.step(leg, LegInput.R_REFUSAL, now, status=response.status)
        except RemoteProtocolError:
            # A 2xx without a usable To or Contact makes no dialog: nothing could be sent in it, not even the ACK.
            if response.status // 100 == 2 and leg.dialog is None:
                self._core.step(leg, LegInput.R_REFUSAL, now, status=502)

    def _provisional(self, leg: Leg, response: Response, now: int) -> None:
        sdp = _body_sdp(response)
        ringing = leg.state in (LegState.CALLING, LegState.EARLY)
        if sdp is not None:
            leg.early_sdp = sdp
        self._core.step(leg, LegInput.R_1XX, now)
        if ringing and response.status > 100:
            self._core.outputs.append(Ringing(leg.leg_id, response.status, sdp))

    def _accepted(self, leg: Leg, response: Response, now: int) -> None:
        core = self._core
        tag = NameAddress.parse(response.headers.get("To") or "").tag
        number = response.cseq.number
        if number != leg.invite.cseq.number:
            return
        if leg.dialog is not None:
            if tag == leg.dialog.remote_tag:
                if leg.ack is not None:
                    core.outputs.append(leg.ack)
            else:
                self._end_fork(Dialog.as_client(leg.invite, response, leg.peer), number, now)
            return
        leg.dialog = Dialog.as_client(leg.invite, response, leg.peer)
        leg.ack = core.send_ack(leg.dialog, number)
        core.timers.set((leg.leg_id, LegTimer.RING), None)
        core.step(leg, LegInput.R_2XX, now, cause=LegEndCause.LOCAL_HANGUP)
        if leg.state is LegState.CONFIRMED:
            core.outputs.append(Answered(leg.leg_id, _body_sdp(response) or leg.early_sdp))

    def _end_fork(self, dialog: Dialog, number: int, now: int) -> None:
        """A second branch answered too: acknowledge and hang up (§13.2.2.4)."""
        core = self._core
        core.send_ack(dialog, number)
        try:
            core.layer.send_request(core.dialog_request(dialog, "BYE"), dialog.next_hop(), now)
        except LocalProtocolError:
            return


def _body_sdp(response: Response) -> str | None:
    kind = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return response.body.decode("utf-8", "replace") if response.body and kind == CONTENT_TYPE else None
