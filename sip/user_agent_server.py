"""The user agent as a server: requests of peers, in the order of checks of RFC 3261 §8.2 and §12.2.2. Sans-I/O."""

from __future__ import annotations

from typing import Final

from sip import multipart
from sip.address import Address
from sip.dialog import Dialog, contact_uri
from sip.errors import RemoteProtocolError
from sip.header_fields import NameAddress, has_headers, parse_uri, printable, tokens
from sip.leg import (
    OVER,
    REOFFER_LIMIT_NS,
    Leg,
    LegInput,
    LegState,
    LegTimer,
    PendingReoffer,
    TransferState,
)
from sip.leg_protocol import LegEndCause
from sip.message import Request
from sip.responses import REASONS, respond_to
from sip.session_description import CONTENT_TYPE
from sip.transactions import TransactionKey, server_key
from sip.transfer import receive_notify
from sip.user_agent_core import ALLOW, Core
from sip.user_agent_events import Confirmed, IncomingCall, InfoReceived, Reoffer

KNOWN: Final = frozenset({*ALLOW.split(", "), "REFER"})
DTMF_TYPES: Final = ("application/dtmf-relay", "application/dtmf")
MAX_FACT_CHARACTERS: Final = 256
RETRY_AFTER_S: Final = 5

_FACTS: Final = {
    "user_agent": "User-Agent",
    "diversion": "Diversion",
    "history_info": "History-Info",
    "asserted_identity": "P-Asserted-Identity",
    "referred_by": "Referred-By",
}


class Refusal(RemoteProtocolError):
    """A refusal that says more than its status."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status, REASONS[status])
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Server:
    """What is done with each request."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def receive(self, request: Request, source: Address, key: TransactionKey, now: int) -> None:
        """Serve a request that began a transaction; whatever is wrong with it becomes its answer."""
        try:
            self._dispatch(request, source, key, now)
        except RemoteProtocolError as error:
            headers = error.headers if isinstance(error, Refusal) else {}
            tag = NameAddress.parse(request.headers.get("To") or "").tag or self._core.token(16)
            reason = (
                "" if isinstance(error, Refusal) else f"{REASONS.get(error.status, 'Error')} - {error.reason}"
            )
            self._core.refuse(key, request, error.status, tag, now, headers, reason)

    def overload(self, request: Request, source: Address) -> None:
        """Answer a request for which there is no transaction left."""
        response = respond_to(request, 503, self._core.token(16))
        response.headers.add("Retry-After", str(RETRY_AFTER_S))
        self._core.respond_stateless(response, request.via.response_destination(source))

    def _dispatch(self, request: Request, source: Address, key: TransactionKey, now: int) -> None:
        if request.method not in KNOWN:
            raise Refusal(405, Allow=ALLOW)
        if request.method == "CANCEL":
            self._cancel(request, key, now)
            return
        tag = NameAddress.parse(request.headers.get("To") or "").tag
        leg = self._core.by_tag(tag) if tag else None
        if tag and (leg is None or leg.dialog is None or not leg.dialog.belongs(request)):
            raise Refusal(481)
        self._check_extensions(request)
        if leg is not None and leg.dialog is not None:
            self._in_dialog(leg, leg.dialog, request, key, now)
        else:
            self._outside(request, source, key, now)

    def _check_extensions(self, request: Request) -> None:
        required = tokens(request.headers.all("Require"))
        if required:
            raise Refusal(420, Unsupported=", ".join(required))

    # ── outside of dialogs ───────────────────────────────────────────────────────────────────────

    def _outside(self, request: Request, source: Address, key: TransactionKey, now: int) -> None:
        if request.uri.partition(":")[0].lower() not in ("sip", "sips", "tel"):
            raise Refusal(416)
        parse_uri(request.uri)
        if has_headers(request.uri):
            raise RemoteProtocolError(400, "Request-URI with headers")
        if self._core.layer.merged_with(request) not in (None, key):
            raise Refusal(482)
        match request.method:
            case "INVITE":
                self._new_call(request, source, key, now)
            case "OPTIONS":
                self._options(request, key, now)
            case "REFER":
                raise Refusal(603)
            case _:
                raise Refusal(481)

    def _options(self, request: Request, key: TransactionKey, now: int) -> None:
        headers = {"Allow": ALLOW, "Accept": CONTENT_TYPE, "Accept-Language": "en", "Supported": ""}
        headers["Contact"] = self._core.contact()
        tag = NameAddress.parse(request.headers.get("To") or "").tag or self._core.token(16)
        self._core.refuse(key, request, 200, tag, now, headers)

    def _new_call(self, request: Request, source: Address, key: TransactionKey, now: int) -> None:
        core = self._core
        sdp = _description(request)
        accepted = tokens(request.headers.all("Accept"))
        if accepted and not any(
            _media_type(value) in (CONTENT_TYPE, "application/*", "*/*") for value in accepted
        ):
            raise Refusal(406)
        tag = core.token(16)
        dialog = Dialog.as_server(request, tag, source)
        if len(core.legs) >= core.config.max_legs:
            raise Refusal(503, Retry_After=str(RETRY_AFTER_S))
        leg = Leg(core.next_leg_id(), LegState.INCOMING, request, key, tag, source, dialog)
        core.add(leg, now)
        core.layer.respond(key, respond_to(request, 100, ""), now)
        sender = NameAddress.parse(request.headers.get("From") or "")
        core.outputs.append(
            IncomingCall(
                leg_id=leg.leg_id,
                call_id=printable(dialog.call_id),
                caller=sender.user[:MAX_FACT_CHARACTERS],
                callee=printable(parse_uri(request.uri).user or "")[:MAX_FACT_CHARACTERS],
                facts=_facts(request, sender),
                sdp=sdp,
                source=source,
            )
        )

    # ── CANCEL and ACK ───────────────────────────────────────────────────────────────────────────

    def _cancel(self, request: Request, key: TransactionKey, now: int) -> None:
        """RFC 3261 §9.2. Once a final response is sent a CANCEL changes nothing, and is answered 200 all the same."""
        core = self._core
        invite_key = server_key(request, "INVITE")
        transaction = core.layer.find(invite_key)
        if transaction is None or not _same_call(transaction.request, request):
            raise Refusal(481)
        leg = next(
            (
                leg
                for leg in core.legs.values()
                if leg.invite_key == invite_key or _reoffered(leg, invite_key)
            ),
            None,
        )
        tag = leg.local_tag if leg else core.token(16)
        core.refuse(key, request, 200, tag, now)
        if leg is None:
            return
        if _reoffered(leg, invite_key):
            core.refuse_reoffer(leg, 487, now)
        else:
            core.step(leg, LegInput.R_CANCEL, now, status=487, cause=LegEndCause.CANCELLED)

    def acknowledge(self, request: Request, now: int) -> None:
        """Take in an ACK for a 2xx; one that fits nothing is dropped, as an ACK is never answered."""
        core = self._core
        leg = core.by_tag(NameAddress.parse(request.headers.get("To") or "").tag)
        if leg is None or leg.ok is None or leg.dialog is None or not leg.dialog.belongs(request):
            return
        if request.cseq.number != leg.ok.number:
            return
        try:
            sdp = _description(request) if leg.ok.late_offer else None
        except RemoteProtocolError:
            # An ACK cannot be refused; the shell sees a late offer left without an answer.
            sdp = None
        late = leg.ok.late_offer
        core.stop_repeating(leg)
        if not core.step(leg, LegInput.R_ACK, now, sdp=sdp) and late and leg.state is LegState.CONFIRMED:
            core.outputs.append(Confirmed(leg.leg_id, sdp))

    # ── in a dialog ──────────────────────────────────────────────────────────────────────────────

    def _in_dialog(self, leg: Leg, dialog: Dialog, request: Request, key: TransactionKey, now: int) -> None:
        core = self._core
        dialog.note_request(request)
        match request.method:
            case "BYE":
                self._bye(leg, request, key, now)
            case "INVITE":
                self._reinvite(leg, request, key, now)
            case "UPDATE":
                self._update(leg, dialog, request, key, now)
            case "INFO":
                self._info(leg, request, key, now)
            case "NOTIFY":
                receive_notify(core, leg, request, key, now)
            case "OPTIONS":
                self._options(request, key, now)
            case "REFER":
                raise Refusal(603)
            case _:
                raise Refusal(481)

    def _bye(self, leg: Leg, request: Request, key: TransactionKey, now: int) -> None:
        core = self._core
        core.refuse(key, request, 200, leg.local_tag, now)
        core.stop_repeating(leg)
        # Whoever accepted a REFER leaves our dialog by BYE, many without a NOTIFY before it.
        accepted = leg.transfer is TransferState.ACCEPTED
        cause = LegEndCause.TRANSFERRED if accepted else LegEndCause.REMOTE_HANGUP
        core.step(leg, LegInput.R_BYE, now, status=487 if leg.state is LegState.INCOMING else 0, cause=cause)

    def _reinvite(self, leg: Leg, request: Request, key: TransactionKey, now: int) -> None:
        if leg.state in OVER:
            raise Refusal(481)
        if leg.reoffer is not None:
            raise Refusal(500, Retry_After=str(RETRY_AFTER_S))
        if leg.ok is not None or leg.state is not LegState.CONFIRMED:
            raise Refusal(491)
        sdp = _description(request)
        contact_uri(request.headers)
        self._offer_to_shell(leg, request, key, sdp, now)

    def _update(self, leg: Leg, dialog: Dialog, request: Request, key: TransactionKey, now: int) -> None:
        """RFC 3311 §5.2."""
        if leg.state in OVER:
            raise Refusal(481)
        sdp = _description(request)
        if sdp is None:
            dialog.refresh_target(request.headers)
            self._core.accept(leg, key, request, None, late_offer=False, now=now)
        elif leg.reoffer is not None or leg.state is LegState.INCOMING:
            raise Refusal(500, Retry_After=str(RETRY_AFTER_S))
        elif leg.ok is not None or leg.state is not LegState.CONFIRMED:
            raise Refusal(491)
        else:
            contact_uri(request.headers)
            self._offer_to_shell(leg, request, key, sdp, now)

    def _offer_to_shell(
        self, leg: Leg, request: Request, key: TransactionKey, sdp: str | None, now: int
    ) -> None:
        core = self._core
        leg.reoffer = PendingReoffer(key, request, late_offer=sdp is None)
        core.timers.set((leg.leg_id, LegTimer.REOFFER), now + REOFFER_LIMIT_NS)
        if request.method == "INVITE":
            core.layer.respond(key, respond_to(request, 100, ""), now)
        core.outputs.append(Reoffer(leg.leg_id, sdp))

    def _info(self, leg: Leg, request: Request, key: TransactionKey, now: int) -> None:
        """RFC 6086, and the older use without a package, which is how key presses come."""
        if leg.state in OVER:
            raise Refusal(481)
        if request.headers.get("Info-Package"):
            raise Refusal(469, Recv_Info="")
        kind = _content_type(request)
        if request.body and kind not in DTMF_TYPES:
            raise Refusal(415, Accept=", ".join(DTMF_TYPES))
        self._core.refuse(key, request, 200, leg.local_tag, now)
        if request.body:
            self._core.outputs.append(InfoReceived(leg.leg_id, kind, request.body))


def _reoffered(leg: Leg, key: TransactionKey) -> bool:
    return leg.reoffer is not None and leg.reoffer.key == key


def _same_call(invite: Request, cancel: Request) -> bool:
    """Return whether a CANCEL names the call and the caller of the INVITE that its branch points to."""
    tags = [NameAddress.parse(request.headers.get("From") or "").tag for request in (invite, cancel)]
    return tags[0] == tags[1] and invite.headers.get("Call-ID") == cancel.headers.get("Call-ID")


def _content_type(request: Request) -> str:
    return _media_type(request.headers.get("Content-Type") or "")


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _description(request: Request) -> str | None:
    """Return the SDP in a request, None where there is none; raises 415 on a body that we cannot take."""
    if not request.body.strip():
        return None
    accepted = Refusal(415, Accept=CONTENT_TYPE, Accept_Encoding="identity")
    if (request.headers.get("Content-Encoding") or "identity").strip().lower() != "identity":
        raise accepted
    kind = _content_type(request)
    body: bytes | None = request.body
    if kind.startswith("multipart/"):
        body = multipart.find_part(request.headers.get("Content-Type") or "", request.body, CONTENT_TYPE)
        if body is None:
            raise accepted
    elif kind != CONTENT_TYPE:
        if "handling=optional" in (request.headers.get("Content-Disposition") or "").replace(" ", "").lower():
            return None
        raise accepted
    return (body or b"").decode("utf-8", "replace")


def _facts(request: Request, sender: NameAddress) -> dict[str, str]:
    facts = {"caller_uri": printable(sender.uri), "caller_name": printable(sender.name)}
    facts |= {fact: printable(request.headers.get(name) or "") for fact, name in _FACTS.items()}
    return {fact: value[:MAX_FACT_CHARACTERS] for fact, value in facts.items() if value}
