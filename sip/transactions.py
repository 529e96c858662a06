"""SIP transactions: matching, retransmission and time-outs below the user agent (RFC 3261 §17, RFC 6026). Sans-I/O.

The machines themselves stand in ``sip.transaction_tables``. Here one :class:`Transaction` runs one of them, and
:class:`TransactionLayer` finds the one that a message belongs to.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from sip.address import Address
from sip.deadlines import Deadlines
from sip.errors import LocalProtocolError
from sip.header_fields import MAGIC_COOKIE, NameAddress
from sip.message import Headers, Request, Response
from sip.transaction_tables import (
    INITIAL_NS,
    INVITE_CLIENT,
    INVITE_SERVER,
    LONGEST_NS,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    T2_NS,
    Action,
    Input,
    Machine,
    State,
    Timer,
)
from sip.user_agent_events import SendDatagram

MAX_CLIENT_TRANSACTIONS: Final = 4096

TransactionKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request that began a server transaction, or an ACK for a 2xx (``key`` is then None)."""

    request: Request
    source: Address
    key: TransactionKey | None


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response to a request of ours."""

    response: Response
    key: TransactionKey


@dataclass(frozen=True, slots=True)
class StrayResponse:
    """A 2xx to an INVITE whose transaction is over; it must be acknowledged all the same."""

    response: Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No final response came (client), or no ACK for our refusal (server)."""

    key: TransactionKey


@dataclass(frozen=True, slots=True)
class Overload:
    """A request for which there is no room."""

    request: Request
    source: Address


Upward = RequestReceived | ResponseReceived | StrayResponse | TimedOut | Overload


class Side(enum.Enum):
    """Which end of a transaction we are."""

    CLIENT = enum.auto()
    SERVER = enum.auto()


class Transaction:
    """One transaction: a machine, its running timers, what it sent last and where to."""

    def __init__(self, machine: Machine, key: TransactionKey, request: Request, peer: Address) -> None:
        self.machine = machine
        self.key = key
        self.request = request
        self.peer = peer
        self.state = machine.initial
        self.timers: dict[Timer, int] = {}
        self.final_status = 0
        self._intervals_ns: dict[Timer, int] = {}
        self._sent = b""
        self._outputs: list[SendDatagram | Upward] = []

    @property
    def side(self) -> Side:
        """Return which end we are."""
        return Side.CLIENT if self.machine in (INVITE_CLIENT, NON_INVITE_CLIENT) else Side.SERVER

    def start(self, data: bytes, now: int) -> None:
        """Client: send the request, given as it goes over the wire."""
        self._transmit(data)
        self._arm(now)

    def outputs(self) -> list[SendDatagram | Upward]:
        """Return and forget what is to be done."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def deadline(self) -> int | None:
        """Return the earliest timer."""
        return min(self.timers.values(), default=None)

    def handle_timeout(self, now: int) -> None:
        """Fire what is due, earliest first."""
        while self.timers and min(self.timers.values()) <= now:
            timer = min(self.timers, key=lambda each: self.timers[each])
            del self.timers[timer]
            self.handle(Input[f"TIMER_{timer.name}"], now, timer=timer)

    def handle(
        self, event: Input, now: int, message: Request | Response | None = None, timer: Timer | None = None
    ) -> bool:
        """Feed one input; return whether the table has a place for it in this state."""
        step = self.machine.table.get((self.state, event))
        if step is None:
            return False
        entered, action = step
        changed = entered is not self.state
        self.state = entered
        if isinstance(message, Response) and message.status >= 200:
            self.final_status = message.status
        self._act(action, message, timer, now)
        if changed:
            self._arm(now)
        return True

    def _arm(self, now: int) -> None:
        """Start the timers of the state just entered, stop those that do not belong to it."""
        wanted = self.machine.timers.get(self.state, ())
        self.timers = {
            timer: self.timers.get(timer, now + self._intervals_ns.setdefault(timer, INITIAL_NS[timer]))
            for timer in wanted
        }

    def _act(self, action: Action, message: Request | Response | None, timer: Timer | None, now: int) -> None:
        match action:
            case Action.NOTHING:
                pass
            case Action.SEND:
                assert isinstance(message, Response)
                self._transmit(bytes(message))
            case Action.RESEND:
                self._transmit(self._sent)
            case Action.RESEND_AND_BACK_OFF | Action.RESEND_AT_T2:
                assert timer is not None
                longer = T2_NS if action is Action.RESEND_AT_T2 else 2 * self._intervals_ns[timer]
                self._intervals_ns[timer] = min(longer, LONGEST_NS[timer])
                self.timers[timer] = now + self._intervals_ns[timer]
                self._transmit(self._sent)
            case Action.PASS:
                self._pass(message)
            case Action.SEND_ACK:
                self._send_ack(message)
            case Action.PASS_AND_SEND_ACK:
                self._send_ack(message)
                self._pass(message)
            case Action.REPORT_TIMEOUT:
                self._outputs.append(TimedOut(self.key))
            case _:
                assert_never(action)

    def _pass(self, message: Request | Response | None) -> None:
        if isinstance(message, Response):
            self._outputs.append(ResponseReceived(message, self.key))
        elif message is not None:
            self._outputs.append(RequestReceived(message, self.peer, None))

    def _send_ack(self, message: Request | Response | None) -> None:
        """Acknowledge a refusal within the transaction (RFC 3261 §17.1.1.3)."""
        assert isinstance(message, Response)
        headers = Headers([("Via", self.request.headers.all("Via")[0])])
        for name, value in self.request.headers:
            if name in ("From", "Call-ID", "Route"):
                headers.add(name, value)
        headers.add("To", message.headers.get("To") or "")
        headers.add("CSeq", f"{self.request.cseq.number} ACK")
        headers.add("Max-Forwards", "70")
        # Not kept as what was last sent: only a further refusal asks for it again.
        self._outputs.append(SendDatagram(bytes(Request("ACK", self.request.uri, headers)), self.peer))

    def _transmit(self, data: bytes) -> None:
        # A retransmitted INVITE may come before we have said anything to it.
        self._sent = data
        if data:
            self._outputs.append(SendDatagram(data, self.peer))


class TransactionLayer:
    """All transactions of one socket. Both sides are bounded."""

    def __init__(self, max_server_transactions: int) -> None:
        self._transactions: dict[TransactionKey, Transaction] = {}
        self._merged: dict[TransactionKey, TransactionKey] = {}
        self._deadlines: Deadlines[TransactionKey] = Deadlines()
        self._limits = {Side.SERVER: max_server_transactions, Side.CLIENT: MAX_CLIENT_TRANSACTIONS}
        self._counts = {Side.SERVER: 0, Side.CLIENT: 0}
        self._outputs: list[SendDatagram | Upward] = []

    def outputs(self) -> list[SendDatagram | Upward]:
        """Return and forget what is to be done."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def deadline(self) -> int | None:
        """Return when to call :meth:`handle_timeout`."""
        return self._deadlines.next()

    def handle_timeout(self, now: int) -> None:
        """Fire every timer that is due."""
        while (key := self._deadlines.pop_due(now)) is not None:
            self._step(self._transactions[key], lambda transaction: transaction.handle_timeout(now))

    def receive_request(self, request: Request, source: Address, now: int) -> None:
        """Take in a request without defect."""
        key = server_key(request)
        transaction = self._transactions.get(key)
        if transaction is not None:
            event = Input.R_ACK if request.method == "ACK" else Input.R_REQUEST
            self._step(transaction, lambda each: each.handle(event, now, request))
        elif request.method == "ACK":
            self._outputs.append(RequestReceived(request, source, None))
        elif self._counts[Side.SERVER] >= self._limits[Side.SERVER]:
            self._outputs.append(Overload(request, source))
        else:
            machine = INVITE_SERVER if request.method == "INVITE" else NON_INVITE_SERVER
            # The transaction outlives its request by half a minute; a flood must not make us keep the bodies.
            slim = Request(request.method, request.uri, _merge_headers(request))
            self._add(Transaction(machine, key, slim, request.via.response_destination(source)))
            self._merged.setdefault(merge_key(request), key)
            self._outputs.append(RequestReceived(request, source, key))

    def receive_response(self, response: Response, now: int) -> None:
        """Take in a response; one that answers nothing of ours is dropped."""
        key = client_key(response.via.branch, response.cseq.method)
        transaction = self._transactions.get(key)
        if transaction is not None:
            match response.status // 100:
                case 1:
                    event = Input.R_1XX
                case 2:
                    event = Input.R_2XX
                case _:
                    event = Input.R_3XX_TO_6XX
            self._step(transaction, lambda each: each.handle(event, now, response))
        elif response.cseq.method == "INVITE" and response.status // 100 == 2:
            self._outputs.append(StrayResponse(response))

    def send_request(self, request: Request, destination: Address, now: int) -> TransactionKey:
        """Begin a client transaction. Raises :class:`LocalProtocolError` where it has no room or no wire form."""
        if self._counts[Side.CLIENT] >= self._limits[Side.CLIENT]:
            raise LocalProtocolError(f"more than {MAX_CLIENT_TRANSACTIONS} client transactions")
        # First of all, because what cannot be written must leave no transaction behind.
        data = bytes(request)
        machine = INVITE_CLIENT if request.method == "INVITE" else NON_INVITE_CLIENT
        key = client_key(request.via.branch, request.method)
        transaction = Transaction(machine, key, request, destination)
        self._add(transaction)
        self._step(transaction, lambda each: each.start(data, now))
        return key

    def respond(self, key: TransactionKey, response: Response, now: int) -> bool:
        """Send a response in a server transaction; return whether its state still allows that."""
        transaction = self._transactions.get(key)
        if transaction is None:
            return False
        match response.status // 100:
            case 1:
                event = Input.S_1XX
            case 2:
                event = Input.S_2XX
            case _:
                event = Input.S_3XX_TO_6XX
        taken = False

        def feed(each: Transaction) -> None:
            nonlocal taken
            taken = each.handle(event, now, response)

        self._step(transaction, feed)
        return taken

    def find(self, key: TransactionKey) -> Transaction | None:
        """Return a live transaction."""
        return self._transactions.get(key)

    def abandon(self, key: TransactionKey) -> None:
        """Destroy a client transaction that no timer would end: INVITE after a provisional response (§9.1)."""
        transaction = self._transactions.get(key)
        if transaction is not None and (transaction.machine, transaction.state) == (
            INVITE_CLIENT,
            State.PROCEEDING,
        ):
            transaction.state = State.TERMINATED
            self._settle(transaction)

    def merged_with(self, request: Request) -> TransactionKey | None:
        """Return the live server transaction that this request was forked from (RFC 3261 §8.2.2.2)."""
        return self._merged.get(merge_key(request))

    def __len__(self) -> int:
        return len(self._transactions)

    def _add(self, transaction: Transaction) -> None:
        self._transactions[transaction.key] = transaction
        self._counts[transaction.side] += 1

    def _step(self, transaction: Transaction, feed: Callable[[Transaction], object]) -> None:
        feed(transaction)
        self._settle(transaction)

    def _settle(self, transaction: Transaction) -> None:
        self._outputs += transaction.outputs()
        if transaction.state is not State.TERMINATED:
            self._deadlines.set(transaction.key, transaction.deadline())
            return
        self._deadlines.set(transaction.key, None)
        del self._transactions[transaction.key]
        self._counts[transaction.side] -= 1
        if transaction.side is Side.SERVER:
            merge = merge_key(transaction.request)
            if self._merged.get(merge) == transaction.key:
                del self._merged[merge]


def client_key(branch: str, method: str) -> TransactionKey:
    """Return what matches a response to its request (RFC 3261 §17.1.3)."""
    return ("client", branch, method)


def server_key(request: Request, method: str | None = None) -> TransactionKey:
    """Return what matches a request to its server transaction (RFC 3261 §17.2.3).

    An ACK matches its INVITE. A CANCEL asks with ``method="INVITE"`` for what it cancels (§9.2).
    """
    via = request.via
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    if via.branch.lower().startswith(MAGIC_COOKIE.lower()) and len(via.branch) > len(MAGIC_COOKIE):
        return ("server", via.branch, via.sent_by, method)
    # RFC 2543. The To tag is left out, as the INVITE has none where its ACK has ours.
    headers = request.headers
    sender = NameAddress.parse(headers.get("From") or "").tag
    return (
        "server-2543", request.uri, sender, headers.get("Call-ID") or "", str(request.cseq.number), method,
        via.branch, via.sent_by,
    )  # fmt: skip


def _merge_headers(request: Request) -> Headers:
    return Headers((name, request.headers.get(name) or "") for name in ("From", "Call-ID", "CSeq"))


def merge_key(request: Request) -> TransactionKey:
    """Return what two branches of one forked request have in common."""
    headers = request.headers
    sender = NameAddress.parse(headers.get("From") or "").tag
    return (sender, headers.get("Call-ID") or "", str(request.cseq))
