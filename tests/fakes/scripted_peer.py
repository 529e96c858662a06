"""A peer that says exactly what a test has it say to one user agent, in virtual time."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TypeVar

from sip.address import Address
from sip.header_fields import NameAddress
from sip.message import Request, Response, parse
from sip.transaction_tables import MS
from sip.user_agent import Event, IncomingCall, SendDatagram, UserAgent, UserAgentConfig

HERE = Address("192.0.2.10", 5060)
"""The user agent under test."""
THERE = Address("192.0.2.20", 5070)
"""The peer."""

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = (
    "v=0\r\no=- 2 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
)

EventType = TypeVar("EventType")


def user_agent(*, max_legs: int = 1000, max_server_transactions: int = 4096) -> UserAgent:
    """Return a user agent with predictable tokens."""
    numbers = itertools.count(1)

    def token(length: int) -> str:
        return hashlib.sha256(str(next(numbers)).encode()).hexdigest()[:length]

    config = UserAgentConfig(HERE, max_legs=max_legs, max_server_transactions=max_server_transactions)
    return UserAgent(config, token)


@dataclass
class ScriptedPeer:
    """One user agent under test, and the last thing it said."""

    agent: UserAgent = field(default_factory=user_agent)
    now: int = 1_000_000 * MS
    events: list[Event] = field(default_factory=list)
    received: list[Request | Response] = field(default_factory=list)
    """Everything the agent has sent, in order."""
    raw: list[bytes] = field(default_factory=list)
    destinations: list[Address] = field(default_factory=list)
    call_id: str = "call-1"
    tag: str = "peer"
    remote_tag: str = ""
    """The agent's tag, once known."""
    branch: int = 0
    invite: bytes = b""

    def say(self, data: bytes, source: Address = THERE) -> list[Request | Response]:
        """Hand the agent a datagram; return what it sent at once."""
        self.agent.receive_datagram(data, source, self.now)
        return self.collect()

    def collect(self) -> list[Request | Response]:
        """Return what the agent has sent since the last time."""
        messages = []
        for output in self.agent.outputs():
            if isinstance(output, SendDatagram):
                message = parse(output.data) or _unreadable(output.data)
                assert not isinstance(message, Request) or message.defect is None, message
                messages.append(message)
                self.raw.append(output.data)
                self.destinations.append(output.destination)
            else:
                self.events.append(output)
        self.received += messages
        return messages

    def wait(self, for_ms: int) -> list[tuple[int, Request | Response]]:
        """Let time pass, to the deadline; return what was sent, each with its time in ms from now."""
        begin, end = self.now, self.now + for_ms * MS
        sent: list[tuple[int, Request | Response]] = []
        while (deadline := self.agent.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.agent.handle_timeout(self.now)
            after = self.agent.deadline()
            assert after is None or after > self.now, "a deadline that is due stays due"
            sent += [((self.now - begin) // MS, message) for message in self.collect()]
        self.now = end
        return sent

    def event(self, kind: type[EventType]) -> EventType:
        """Return the one event of a kind."""
        found = [event for event in self.events if isinstance(event, kind)]
        assert len(found) == 1, self.events
        return found[0]

    def request(
        self,
        method: str,
        number: int = 1,
        *,
        to_tag: str | None = None,
        headers: str = "",
        body: str = "",
        content_type: str = "application/sdp",
        uri: str = "sip:landline@192.0.2.10",
        branch: str = "",
        from_tag: str | None = None,
        cseq_method: str = "",
    ) -> bytes:
        """Return a request of the peer, in the dialog once one is there. ``headers`` are whole lines."""
        self.branch += 1
        branch = branch or f"z9hG4bK-peer-{self.branch}"
        tag = self.remote_tag if to_tag is None else to_tag
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {THERE};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: Caller <sip:caller@192.0.2.20>;tag={self.tag if from_tag is None else from_tag}",
            "To: <sip:landline@192.0.2.10>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {number} {cseq_method or method}",
            f"Contact: <sip:caller@{THERE}>",
            *headers.splitlines(),
        ]
        if body:
            lines.append(f"Content-Type: {content_type}")
        lines.append(f"Content-Length: {len(body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def response(
        self, request: Request, status: int, *, tag: str = "peer", headers: str = "", body: str = ""
    ) -> bytes:
        """Return a response of the peer to a request of the agent."""
        lines = [f"SIP/2.0 {status} Whatever"]
        for name, value in request.headers:
            if name in ("Via", "From", "Call-ID", "CSeq"):
                lines.append(f"{name}: {value}")
            elif name == "To":
                known = NameAddress.parse(value).tag
                lines.append(f"To: {value}" + (f";tag={tag}" if tag and not known else ""))
        lines += headers.splitlines()
        if status // 100 == 2 and "Contact:" not in headers:
            lines.append(f"Contact: <sip:caller@{THERE}>")
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def ring_in(self, *, body: str = OFFER, headers: str = "") -> int:
        """Send an INVITE; return the leg."""
        self.invite = self.request("INVITE", body=body, headers=headers)
        self.say(self.invite)
        return self.event(IncomingCall).leg_id

    def call(self, *, body: str = OFFER, headers: str = "") -> int:
        """Call the agent, have it answer, acknowledge; return the leg."""
        leg_id = self.ring_in(body=body, headers=headers)
        self.agent.answer(leg_id, ANSWER, self.now)
        ok = self.collect()[-1]
        self.learn_tag(ok)
        self.say(self.request("ACK", body="" if body else OFFER))
        return leg_id

    def learn_tag(self, response: Request | Response) -> None:
        """Take the agent's tag from a response."""
        self.remote_tag = NameAddress.parse(response.headers.get("To") or "").tag


def _unreadable(data: bytes) -> Response:
    """Return a 4xx or 5xx that has to hold what was unreadable in its request."""
    version, status, reason = data.decode("utf-8", "surrogateescape").partition("\r\n")[0].split(" ", 2)
    assert version == "SIP/2.0"
    assert status[0] in "45", data
    return Response(int(status), reason)


def statuses(messages: list[Request | Response]) -> list[int]:
    """Return the statuses of responses."""
    return [message.status for message in messages if isinstance(message, Response)]


def methods(messages: list[Request | Response]) -> list[str]:
    """Return the methods of requests."""
    return [message.method for message in messages if isinstance(message, Request)]
