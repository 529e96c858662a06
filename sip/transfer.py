"""Blind transfer: REFER in the dialog, and the NOTIFYs of its implicit subscription (RFC 3515, RFC 6665). Sans-I/O."""

from __future__ import annotations

from sip.errors import LocalProtocolError, RemoteProtocolError
from sip.header_fields import parse_uri, split_parameters
from sip.leg import NOTIFY_LIMIT_NS, TRANSFER_LIMIT_NS, Leg, LegInput, LegState, LegTimer, TransferState
from sip.leg_protocol import LegEndCause
from sip.message import Request
from sip.transactions import TransactionKey
from sip.user_agent_core import Core, Purpose
from sip.user_agent_events import TransferProgress

# What a subscription that ends without a final status tells, by its reason (RFC 6665 §4.1.3).
_ENDED_WITHOUT_STATUS = {"timeout": 408, "rejected": 603}


def refer(core: Core, leg: Leg, target: str, now: int) -> None:
    """Ask the peer to call ``target``. One transfer at a time: a second one while the first runs does nothing."""
    if leg.state is not LegState.CONFIRMED or leg.dialog is None:
        raise LocalProtocolError("a transfer needs a confirmed call")
    if leg.transfer is not TransferState.NONE:
        return
    try:
        parse_uri(target)
    except RemoteProtocolError:
        core.end_transfer(leg, 400, now)
        return
    request = core.dialog_request(leg.dialog, "REFER")
    request.headers.add("Contact", core.contact())
    request.headers.add("Refer-To", f"<{target}>")
    request.headers.add("Referred-By", core.contact())
    leg.transfer = TransferState.REFERRED
    if not core.send(leg, request, Purpose.REFER, leg.dialog.next_hop(), now):
        core.end_transfer(leg, 503, now)


def receive_refer_response(core: Core, leg: Leg, status: int, now: int) -> None:
    """Take in the final response to our REFER, or 408 where none came."""
    if leg.transfer is TransferState.NONE:
        return
    if status // 100 == 2:
        if leg.transfer is TransferState.REFERRED:
            leg.transfer = TransferState.ACCEPTED
            core.timers.set((leg.leg_id, LegTimer.NOTIFY), now + NOTIFY_LIMIT_NS)
        return
    core.end_transfer(leg, status, now)
    if status == 481:
        # RFC 5057 §5.1: the peer no longer knows the dialog.
        core.step(leg, LegInput.HANG_UP, now, status=481, cause=LegEndCause.PROTOCOL_ERROR)


def receive_notify(core: Core, leg: Leg, request: Request, key: TransactionKey, now: int) -> None:
    """Answer a NOTIFY and report what it says; without a subscription it is met with 481 (RFC 6665 §4.1.3)."""
    event = (request.headers.get("Event") or "").partition(";")[0].strip().lower()
    if leg.transfer is TransferState.NONE:
        raise RemoteProtocolError(481, "no subscription")
    if event != "refer":
        raise RemoteProtocolError(489, "only the refer event was subscribed to")
    state = request.headers.get("Subscription-State") or ""
    core.refuse(key, request, 200, leg.local_tag, now)
    leg.transfer = TransferState.ACCEPTED
    status = _fragment_status(request.body)
    terminated = state.partition(";")[0].strip().lower() == "terminated"
    if status is not None and status >= 200:
        core.end_transfer(leg, status, now)
    elif terminated:
        reason = (split_parameters(state).get("reason") or "").lower()
        core.end_transfer(leg, _ENDED_WITHOUT_STATUS.get(reason, 480), now)
    else:
        core.timers.set((leg.leg_id, LegTimer.NOTIFY), now + TRANSFER_LIMIT_NS)
        core.outputs.append(TransferProgress(leg.leg_id, status or 100, final=False))


def _fragment_status(body: bytes) -> int | None:
    """Return the status of a sipfrag (RFC 3420), None where there is none."""
    words = body.lstrip()[:64].split()
    if len(words) < 2 or words[0].upper() != b"SIP/2.0" or len(words[1]) != 3 or not words[1].isdigit():
        return None
    status = int(words[1])
    return status if 100 <= status <= 699 else None
