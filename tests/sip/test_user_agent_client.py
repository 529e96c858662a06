"""Calls of ours: what the softphone's side notices (RFC 3261 §9.1, §13.2)."""

from __future__ import annotations

import pytest

from sip.errors import LocalProtocolError
from sip.leg_protocol import LegEndCause
from sip.message import Request, Response
from sip.user_agent import Answered, CallEnded, Failed, Reoffer, Ringing
from tests.fakes.scripted_peer import ANSWER, HERE, OFFER, THERE, ScriptedPeer, methods, statuses, user_agent


def calling() -> tuple[ScriptedPeer, int, Request]:
    peer = ScriptedPeer()
    leg_id = peer.agent.invite("sip:bob@192.0.2.20:5070", THERE, OFFER, peer.now, '"Ann" <sip:ann@a.example>')
    [invite] = peer.collect()
    assert isinstance(invite, Request)
    return peer, leg_id, invite


def in_dialog(invite: Request, method: str, number: int, body: str = "") -> bytes:
    """Return a request of the called side."""
    lines = [
        f"{method} sip:landline@{HERE} SIP/2.0",
        f"Via: SIP/2.0/UDP {THERE};branch=z9hG4bK-{method}-{number}",
        "From: <sip:bob@192.0.2.20:5070>;tag=peer",
        f"To: {invite.headers.get('From')}",
        f"Call-ID: {invite.headers.get('Call-ID')}",
        f"CSeq: {number} {method}",
        f"Contact: <sip:bob@{THERE}>",
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def test_a_call_rings_with_early_media_and_is_answered_and_acknowledged() -> None:
    peer, leg_id, invite = calling()
    assert invite.headers.get(
        "From",
    ).startswith('"Ann" <sip:ann@a.example>;tag=')  # type: ignore[union-attr]
    assert invite.body == OFFER.encode()
    peer.say(peer.response(invite, 100))
    peer.say(peer.response(invite, 183, body="early"))
    peer.say(peer.response(invite, 180))
    [ack] = peer.say(peer.response(invite, 200, body=ANSWER))
    assert peer.events == [
        Ringing(leg_id, 183, "early"),
        Ringing(leg_id, 180, None),
        Answered(leg_id, ANSWER),
    ]
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, str(ack.cseq)) == ("ACK", f"sip:caller@{THERE}", "1 ACK")
    assert ack.via.branch != invite.via.branch
    assert ack.headers.get("To") == "<sip:bob@192.0.2.20:5070>;tag=peer"


def test_a_repeated_200_gets_the_same_ack_and_no_second_event_even_after_the_transaction() -> None:
    peer, _, invite = calling()
    ok = peer.response(invite, 200, body=ANSWER)
    peer.say(ok)
    peer.say(ok)
    peer.wait(33_000)
    peer.say(ok)
    assert methods(peer.received) == ["INVITE", "ACK", "ACK", "ACK"]
    assert len(set(peer.raw[1:])) == 1
    assert len(peer.events) == 1


def test_a_second_branch_that_answers_is_acknowledged_and_hung_up() -> None:
    peer, _, invite = calling()
    peer.say(peer.response(invite, 200, tag="one", body=ANSWER))
    ack, bye = peer.say(peer.response(invite, 200, tag="two", body=ANSWER))
    assert methods([ack, bye]) == ["ACK", "BYE"]
    assert (bye.headers.get("To") or "").endswith(";tag=two")
    assert [type(event) for event in peer.events] == [Answered]


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_a_refusal_is_acknowledged_and_reported(status: int) -> None:
    peer, leg_id, invite = calling()
    assert methods(peer.say(peer.response(invite, status))) == ["ACK"]
    assert peer.events == [Failed(leg_id, status)]
    peer.wait(60_000)
    assert peer.agent.deadline() is None


def test_a_call_nobody_answers_fails_with_408() -> None:
    peer, leg_id, _ = calling()
    sent = peer.wait(32_000)
    assert [at for at, _ in sent] == [500, 1500, 3500, 7500, 15500, 31500]
    assert peer.events == [Failed(leg_id, 408)]


def test_hanging_up_waits_with_cancel_for_a_provisional_response() -> None:
    peer, leg_id, invite = calling()
    peer.agent.hang_up(leg_id, peer.now)
    assert peer.collect() == []
    [cancel] = peer.say(peer.response(invite, 180))
    assert isinstance(cancel, Request)
    assert cancel.headers.all("Via") == invite.headers.all("Via")
    assert (cancel.uri, str(cancel.cseq)) == (invite.uri, "1 CANCEL")
    assert cancel.headers.get("To") == invite.headers.get("To")
    peer.say(peer.response(cancel, 200))
    assert methods(peer.say(peer.response(invite, 487))) == ["ACK"]
    assert peer.events == [CallEnded(leg_id, LegEndCause.LOCAL_HANGUP, 487)]


def test_an_answer_that_crosses_cancel_is_acknowledged_and_hung_up() -> None:
    peer, leg_id, invite = calling()
    peer.say(peer.response(invite, 180))
    peer.agent.hang_up(leg_id, peer.now)
    assert methods(peer.collect()) == ["CANCEL"]
    assert methods(peer.say(peer.response(invite, 200, body=ANSWER))) == ["ACK", "BYE"]
    assert [type(event) for event in peer.events] == [Ringing, CallEnded]


def test_cancel_without_an_end_is_given_up_after_32_s() -> None:
    peer, leg_id, invite = calling()
    peer.say(peer.response(invite, 180))
    peer.agent.hang_up(leg_id, peer.now)
    peer.collect()
    peer.wait(32_000)
    assert isinstance(peer.events[-1], CallEnded)
    peer.wait(32_000)
    assert (peer.agent.legs, peer.agent.transactions) == (0, 0)


def test_a_phone_that_rings_for_ever_is_cancelled_after_three_minutes() -> None:
    peer, _, invite = calling()
    peer.say(peer.response(invite, 180))
    sent = peer.wait(180_000)
    assert methods([message for _, message in sent]) == ["CANCEL"]


def test_an_answer_without_a_contact_cannot_become_a_call() -> None:
    peer, leg_id, invite = calling()
    broken = peer.response(invite, 200, body=ANSWER).replace(b"Contact:", b"X-Contact:")
    peer.say(broken)
    assert peer.events == [Failed(leg_id, 502)]


def test_the_called_side_reoffers_and_hangs_up() -> None:
    peer, leg_id, invite = calling()
    peer.say(peer.response(invite, 200, body=ANSWER))
    peer.say(in_dialog(invite, "INVITE", 1, OFFER))
    assert peer.event(Reoffer) == Reoffer(leg_id, OFFER)
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert statuses(peer.collect()) == [200]
    peer.say(in_dialog(invite, "ACK", 1))
    assert statuses(peer.say(in_dialog(invite, "BYE", 2))) == [200]
    assert peer.events[-1] == CallEnded(leg_id, LegEndCause.REMOTE_HANGUP)
    assert peer.wait(60_000) == []


def test_routes_of_an_answer_are_followed_in_reverse() -> None:
    peer, _, invite = calling()
    record = "Record-Route: <sip:192.0.2.32;lr>\nRecord-Route: <sip:192.0.2.31;lr>"
    [ack] = peer.say(peer.response(invite, 200, headers=record, body=ANSWER))
    assert ack.headers.all("Route") == ["<sip:192.0.2.31;lr>", "<sip:192.0.2.32;lr>"]
    assert peer.destinations[-1].host == "192.0.2.31"


def test_a_response_for_another_host_is_not_ours() -> None:
    peer, _, invite = calling()
    forged = peer.response(invite, 200, body=ANSWER).replace(str(HERE).encode(), b"192.0.2.99:5060", 1)
    assert peer.say(forged) == []
    assert peer.events == []


@pytest.mark.parametrize("target", ["bob", "sip:bob@h\r\nEvil: 1", "mailto:bob@example.com"])
def test_a_target_that_is_no_sip_uri_is_refused(target: str) -> None:
    with pytest.raises(LocalProtocolError):
        ScriptedPeer().agent.invite(target, THERE, OFFER, 0)


def test_a_caller_cannot_carry_a_header_in() -> None:
    peer = ScriptedPeer()
    with pytest.raises(LocalProtocolError):
        peer.agent.invite("sip:bob@192.0.2.20", THERE, OFFER, peer.now, '"x\r\nEvil: 1" <sip:a@b.example>')
    assert peer.collect() == []
    assert peer.agent.deadline() is None


def test_legs_of_ours_are_bounded() -> None:
    peer = ScriptedPeer(user_agent(max_legs=1))
    peer.agent.invite("sip:bob@192.0.2.20", THERE, OFFER, peer.now)
    with pytest.raises(LocalProtocolError, match="more than 1"):
        peer.agent.invite("sip:bob@192.0.2.20", THERE, OFFER, peer.now)


def test_a_refused_bye_is_the_end_all_the_same() -> None:
    peer, leg_id, invite = calling()
    peer.say(peer.response(invite, 200, body=ANSWER))
    peer.agent.hang_up(leg_id, peer.now)
    [bye] = peer.collect()
    assert isinstance(bye, Request)
    peer.say(peer.response(bye, 481))
    peer.wait(60_000)
    assert peer.agent.deadline() is None
    assert not any(isinstance(message, Response) for message in peer.received)
