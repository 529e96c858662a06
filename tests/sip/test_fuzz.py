"""Whatever comes, in whatever state: the user agent does not raise, and what it sends can be read."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sip.address import Address
from sip.message import Request, parse
from sip.user_agent import SendDatagram
from tests.fakes.scripted_peer import OFFER, THERE, ScriptedPeer
from tests.sip.rfc4475 import MESSAGES

SOURCES = [THERE, Address("2001:db8::5", 5060), Address("203.0.113.9", 1)]

_dialogue = ScriptedPeer()
SEEDS = [
    *MESSAGES.values(),
    _dialogue.request("INVITE", body=OFFER),
    _dialogue.request("INVITE", 2, to_tag="TAG", body=OFFER),
    _dialogue.request("ACK", to_tag="TAG"),
    _dialogue.request("BYE", 3, to_tag="TAG"),
    _dialogue.request("CANCEL"),
    _dialogue.request("UPDATE", 4, to_tag="TAG", body=OFFER),
    _dialogue.request("INFO", 5, to_tag="TAG", body="Signal=1", content_type="application/dtmf-relay"),
    _dialogue.request("NOTIFY", 6, to_tag="TAG", headers="Event: refer", body="SIP/2.0 200 OK"),
    _dialogue.request("REFER", 7, to_tag="TAG", headers="Refer-To: <sip:x@192.0.2.4>"),
    _dialogue.request("OPTIONS", 8, headers="Require: x\nRecord-Route: <sip:p;lr>"),
]
SPICE = [
    b"\r\n", b"\r\n ", b"\x00", b"\xff\xfe", b";", b",", b"<", b">", b'"', b"\\", b"%", b"%0d%0a", b"SIP/2.0",
    b"z9hG4bK", b"tag=", b"rport", b"99999999999999999999", b"-1", b"[::1]", b"Content-Length: 5\r\n", b"a" * 900,
    b"Via: SIP/2.0/UDP x\r\n", b"Contact: *\r\n", b"multipart/mixed;boundary=b", b" ", b":",
]  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Return a message with a few cuts, repetitions and insertions."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["cut", "insert", "repeat", "flip"])):
            case "cut":
                data = data[:at] + data[end:]
            case "insert":
                data = data[:at] + draw(st.sampled_from(SPICE)) + data[at:]
            case "repeat":
                data = data[:end] + data[at:end] + data[end:]
            case _:
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    return data


def in_every_state() -> list[ScriptedPeer]:
    """Return peers whose agent is idle, rung, answered, confirmed, transferring, calling, early."""
    idle, rung, confirmed, transferring, early = (ScriptedPeer() for _ in range(5))
    rung.ring_in()
    confirmed.call()
    transferring.agent.transfer(transferring.call(), "sip:x@192.0.2.4", transferring.now)
    early.agent.invite("sip:bob@192.0.2.20", THERE, OFFER, early.now)
    [invite] = early.collect()
    assert isinstance(invite, Request)
    early.say(early.response(invite, 180))
    return [idle, rung, confirmed, transferring, early]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(mutants(), st.sampled_from(SOURCES)), min_size=1, max_size=4))
@example([(b"", THERE)])
@example([(b"\x00" * 65_000, THERE)])
@example([(b"INVITE sip:a SIP/2.0\r\nVia: " + b"SIP/2.0/UDP h;" * 4_000 + b"\r\n\r\n", THERE)])
@example([(b"OPTIONS tel:+" + b"1" * 60_000 + b"! SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n", THERE)])
def test_nothing_a_stranger_sends_raises(datagrams: list[tuple[bytes, Address]]) -> None:
    for peer in in_every_state():
        tag = peer.remote_tag.encode()
        for data, source in datagrams:
            peer.agent.receive_datagram(data.replace(b"TAG", tag), source, peer.now)
            for output in peer.agent.outputs():
                if isinstance(output, SendDatagram):
                    head, _, _ = output.data.partition(b"\r\n\r\n")
                    assert b"\n" not in head.replace(b"\r\n", b"")
                    assert output.destination.port > 0
        peer.now += 400_000_000_000
        for _ in range(200):
            deadline = peer.agent.deadline()
            if deadline is None:
                break
            peer.now = max(peer.now, deadline)
            peer.agent.handle_timeout(peer.now)
        assert peer.agent.deadline() is None, "something waits for ever"
        assert peer.agent.legs <= 1, "only a call that is up may stay"
        assert peer.agent.transactions == 0


@settings(max_examples=100, deadline=None)
@given(mutants())
def test_what_can_be_read_can_be_written_and_read_again(data: bytes) -> None:
    message = parse(data)
    if message is None or (isinstance(message, Request) and message.defect is not None):
        return
    again = parse(bytes(message))
    assert again is not None
    assert again.body == message.body
    assert bytes(again) == bytes(message)
