"""What a caller and a proxy notice of the user agent as a server (RFC 3261 §8.2, §9.2, §13.3, §15)."""

from __future__ import annotations

import pytest

from sip.address import Address
from sip.errors import LocalProtocolError
from sip.leg_protocol import LegEndCause
from sip.message import Request, Response
from sip.user_agent import CallEnded, Confirmed, IncomingCall, InfoReceived, Reoffer
from tests.fakes.scripted_peer import ANSWER, HERE, OFFER, THERE, ScriptedPeer, methods, statuses, user_agent


def test_a_call_rings_is_answered_confirmed_and_hung_up_by_the_caller() -> None:
    peer = ScriptedPeer()
    assert statuses(peer.say(peer.request("INVITE", body=OFFER))) == [100]
    call = peer.event(IncomingCall)
    assert (call.caller, call.callee, call.sdp, call.source) == ("caller", "landline", OFFER, THERE)
    assert call.facts["caller_name"] == "Caller"
    peer.agent.ring(call.leg_id, peer.now)
    [ringing] = peer.collect()
    peer.agent.answer(call.leg_id, ANSWER, peer.now)
    [ok] = peer.collect()
    assert statuses([ringing, ok]) == [180, 200]
    assert ringing.headers.get("To") == ok.headers.get("To")
    assert ok.headers.get("Contact") == f"<sip:landline@{HERE}>"
    assert ok.body == ANSWER.encode()
    peer.learn_tag(ok)
    peer.say(peer.request("ACK"))
    assert peer.event(Confirmed) == Confirmed(call.leg_id)
    assert statuses(peer.say(peer.request("BYE", 2))) == [200]
    assert peer.event(CallEnded) == CallEnded(call.leg_id, LegEndCause.REMOTE_HANGUP)
    assert set(peer.destinations) == {THERE}


def test_a_repeated_invite_is_never_a_second_call() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.ring(leg_id, peer.now)
    peer.collect()
    assert statuses(peer.say(peer.invite)) == [180]
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.collect()
    assert peer.say(peer.invite) == []
    assert len([event for event in peer.events if isinstance(event, IncomingCall)]) == 1


def test_an_answer_is_repeated_until_its_ack_and_then_no_more() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    [ok] = peer.collect()
    again = peer.wait(9_000)
    assert [at for at, _ in again] == [500, 1500, 3500, 7500]
    assert {bytes(message) for _, message in again} == {bytes(ok)}
    peer.learn_tag(ok)
    peer.say(peer.request("ACK"))
    assert peer.event(Confirmed)
    assert peer.wait(40_000) == []


def test_an_answer_nobody_acknowledges_ends_in_bye() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.collect()
    sent = peer.wait(32_000)
    assert methods([message for _, message in sent]) == ["BYE"]
    assert sent[-1][0] == 32_000
    assert peer.event(CallEnded) == CallEnded(leg_id, LegEndCause.PROTOCOL_ERROR, 408)


def test_an_ack_with_a_foreign_tag_or_number_confirms_nothing() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.learn_tag(peer.collect()[-1])
    peer.say(peer.request("ACK", from_tag="somebody"))
    peer.say(peer.request("ACK", 2))
    peer.say(peer.request("ACK", to_tag="other"))
    assert not any(isinstance(event, Confirmed) for event in peer.events)


def test_late_offer_is_made_in_the_200_and_answered_in_the_ack() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in(body="")
    assert peer.event(IncomingCall).sdp is None
    peer.agent.answer(leg_id, "our offer", peer.now)
    ok = peer.collect()[-1]
    assert ok.body == b"our offer"
    peer.learn_tag(ok)
    peer.say(peer.request("ACK", body="their answer"))
    assert peer.event(Confirmed).sdp == "their answer"


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.learn_tag(peer.collect()[-1])
    peer.agent.hang_up(leg_id, peer.now)
    assert peer.collect() == []
    assert peer.event(CallEnded).cause is LegEndCause.LOCAL_HANGUP
    assert methods(peer.say(peer.request("ACK"))) == ["BYE"]
    assert not any(isinstance(event, Confirmed) for event in peer.events)


def test_hanging_up_before_an_ack_that_never_comes_still_ends_in_bye() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.agent.hang_up(leg_id, peer.now)
    peer.collect()
    sent = peer.wait(32_000)
    assert methods([message for _, message in sent]) == ["BYE"]
    assert len([event for event in peer.events if isinstance(event, CallEnded)]) == 1


def test_hanging_up_a_confirmed_call_sends_bye_with_its_reason_until_it_is_answered() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.agent.hang_up(leg_id, peer.now, reason='done, "really"\r\nEvil: header')
    [bye] = peer.collect()
    assert isinstance(bye, Request)
    assert (bye.method, bye.uri) == ("BYE", f"sip:caller@{THERE}")
    assert bye.headers.get("Reason") == 'Q.850;cause=16;text="done, \\"really\\"Evil: header"'
    assert bye.headers.get("Evil") is None
    assert peer.event(CallEnded).cause is LegEndCause.LOCAL_HANGUP
    assert [at for at, _ in peer.wait(4_000)] == [500, 1500, 3500]
    peer.say(peer.response(bye, 200))
    assert peer.wait(60_000) == []


def test_hanging_up_a_ringing_call_refuses_it() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.hang_up(leg_id, peer.now)
    assert statuses(peer.collect()) == [480]
    assert peer.event(CallEnded) == CallEnded(leg_id, LegEndCause.LOCAL_HANGUP, 480)


def test_rejecting_names_when_to_try_again_and_reports_nothing() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.reject(leg_id, 503, peer.now, retry_after_s=7)
    [refusal] = peer.collect()
    assert statuses([refusal]) == [503]
    assert refusal.headers.get("Retry-After") == "7"
    assert not any(isinstance(event, CallEnded) for event in peer.events)
    peer.learn_tag(refusal)
    peer.say(peer.request("ACK", branch="z9hG4bK-peer-1"))
    assert peer.wait(60_000) == []


def test_a_call_the_shell_forgets_is_refused_after_three_minutes() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    sent = peer.wait(180_000)
    assert statuses([message for _, message in sent])[:1] == [480]
    assert sent[0][0] == 180_000
    assert peer.event(CallEnded) == CallEnded(leg_id, LegEndCause.PROTOCOL_ERROR, 480)


def test_cancel_gets_200_and_the_invite_487() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    answers = peer.say(peer.request("CANCEL", branch="z9hG4bK-peer-1"))
    assert [(answer.cseq.method, answer.status) for answer in answers if isinstance(answer, Response)] == [
        ("CANCEL", 200),
        ("INVITE", 487),
    ]
    assert peer.event(CallEnded) == CallEnded(leg_id, LegEndCause.CANCELLED, 487)
    peer.agent.answer(leg_id, ANSWER, peer.now)
    assert peer.collect() == []


def test_cancel_that_crosses_our_200_changes_nothing() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.learn_tag(peer.collect()[-1])
    assert statuses(peer.say(peer.request("CANCEL", branch="z9hG4bK-peer-1", to_tag=""))) == [200]
    assert not any(isinstance(event, CallEnded) for event in peer.events)
    peer.say(peer.request("ACK"))
    assert peer.event(Confirmed)


@pytest.mark.parametrize(
    "change", [{"branch": "z9hG4bK-other"}, {"branch": "z9hG4bK-peer-1", "from_tag": "somebody"}]
)
def test_cancel_of_somebody_else_gets_481(change: dict[str, str]) -> None:
    peer = ScriptedPeer()
    peer.ring_in()
    assert statuses(peer.say(peer.request("CANCEL", **change))) == [481]  # type: ignore[arg-type]
    assert not any(isinstance(event, CallEnded) for event in peer.events)


@pytest.mark.parametrize("change", [{"from_tag": "somebody"}, {"to_tag": "guessed"}])
def test_bye_with_a_foreign_tag_gets_481_and_the_call_goes_on(change: dict[str, str]) -> None:
    peer = ScriptedPeer()
    peer.call()
    assert statuses(peer.say(peer.request("BYE", 2, **change))) == [481]
    assert not any(isinstance(event, CallEnded) for event in peer.events)


def test_bye_on_a_ringing_call_ends_it_as_487() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.ring(leg_id, peer.now)
    peer.learn_tag(peer.collect()[-1])
    assert sorted(statuses(peer.say(peer.request("BYE", 2)))) == [200, 487]
    assert peer.event(CallEnded).cause is LegEndCause.REMOTE_HANGUP


def test_bye_before_the_ack_ends_the_call_and_stops_the_200() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.learn_tag(peer.collect()[-1])
    assert statuses(peer.say(peer.request("BYE", 2))) == [200]
    assert peer.event(CallEnded).cause is LegEndCause.REMOTE_HANGUP
    assert peer.wait(60_000) == []


def test_requests_out_of_order_in_a_dialog_get_500() -> None:
    peer = ScriptedPeer()
    peer.call()
    assert statuses(peer.say(peer.request("INFO", 5))) == [200]
    assert statuses(peer.say(peer.request("INFO", 4))) == [500]
    assert statuses(peer.say(peer.request("BYE", 6))) == [200]


def test_options_says_what_we_take_in_and_out_of_a_dialog() -> None:
    peer = ScriptedPeer()
    [outside] = peer.say(peer.request("OPTIONS"))
    peer.call()
    [inside] = peer.say(peer.request("OPTIONS", 2))
    for answer in (outside, inside):
        assert statuses([answer]) == [200]
        assert "INVITE" in (answer.headers.get("Allow") or "")
        assert answer.headers.get("Accept") == "application/sdp"
        assert answer.headers.get("Supported") is not None


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("PUBLISH", 405),
        ("MESSAGE", 405),
        ("PRACK", 405),
        ("BREW", 405),
        ("REFER", 603),
        ("NOTIFY", 481),
        ("BYE", 481),
        ("INFO", 481),
        ("UPDATE", 481),
    ],
)
def test_requests_outside_of_dialogs(method: str, status: int) -> None:
    peer = ScriptedPeer()
    [answer] = peer.say(peer.request(method))
    assert statuses([answer]) == [status]
    if status == 405:
        assert "OPTIONS" in (answer.headers.get("Allow") or "")


def test_requests_for_a_dialog_we_do_not_have_get_481() -> None:
    peer = ScriptedPeer()
    for method in ("INVITE", "BYE", "OPTIONS", "REFER", "UPDATE"):
        assert statuses(peer.say(peer.request(method, to_tag="gone"))) == [481], method


@pytest.mark.parametrize(
    ("headers", "status"),
    [("Require: 100rel, timer", 420), ("Accept: text/html", 406), ("Content-Encoding: gzip", 415)],
)
def test_an_invite_that_asks_for_too_much(headers: str, status: int) -> None:
    peer = ScriptedPeer()
    assert statuses(peer.say(peer.request("INVITE", headers=headers, body=OFFER))) == [status]
    assert peer.events == []


def test_a_forked_invite_that_comes_twice_is_answered_482_the_second_time() -> None:
    peer = ScriptedPeer()
    peer.ring_in()
    assert statuses(peer.say(peer.request("INVITE", body=OFFER))) == [482]
    assert len(peer.events) == 1


def test_a_request_with_max_forwards_0_has_arrived_and_is_served() -> None:
    peer = ScriptedPeer()
    invite = peer.request("INVITE", body=OFFER).replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    assert statuses(peer.say(invite)) == [100]
    assert peer.event(IncomingCall)


def test_beyond_the_limit_of_legs_a_call_gets_503_and_a_time() -> None:
    peer = ScriptedPeer(user_agent(max_legs=1))
    peer.ring_in()
    peer.call_id = "call-2"
    [refusal] = peer.say(peer.request("INVITE", body=OFFER))
    assert statuses([refusal]) == [503]
    assert refusal.headers.get("Retry-After") == "5"


def test_beyond_the_limit_of_transactions_requests_get_503_and_nothing_is_kept() -> None:
    peer = ScriptedPeer(user_agent(max_server_transactions=2))
    answers = [message for index in range(4) for message in peer.say(peer.request("OPTIONS", index + 1))]
    assert statuses(answers) == [200, 200, 503, 503]
    peer.wait(33_000)
    assert statuses(peer.say(peer.request("OPTIONS", 9))) == [200]


def test_answers_go_to_the_source_with_rport_and_to_the_port_of_the_via_without() -> None:
    peer = ScriptedPeer()
    nat = Address("198.51.100.7", 31_000)
    peer.say(peer.request("OPTIONS"), nat)
    peer.say(peer.request("OPTIONS", 2).replace(b";rport", b""), nat)
    assert peer.destinations == [nat, Address("198.51.100.7", THERE.port)]
    first, second = peer.received
    assert ";rport=31000" in first.headers.all("Via")[0]
    assert first.headers.all("Via")[0].endswith(";received=198.51.100.7")
    assert "rport" not in second.headers.all("Via")[0]
    assert second.headers.all("Via")[0].endswith(";received=198.51.100.7")


def test_a_received_parameter_of_the_peer_is_not_believed() -> None:
    peer = ScriptedPeer()
    lie = peer.request("OPTIONS").replace(b";rport", b";rport=1;received=203.0.113.1")
    peer.say(lie)
    assert peer.destinations == [THERE]
    assert "203.0.113.1" not in peer.received[0].headers.all("Via")[0]


def test_ipv6_peers_are_answered() -> None:
    peer = ScriptedPeer()
    source = Address("2001:db8::7", 5062)
    data = peer.request("OPTIONS").replace(b"192.0.2.20:5070;", b"[2001:db8::9]:5070;")
    [answer] = peer.say(data, source)
    assert statuses([answer]) == [200]
    assert peer.destinations == [source]
    assert answer.headers.all("Via")[0].endswith(";received=2001:db8::7")


def test_record_routes_are_copied_and_followed_loosely_and_strictly() -> None:
    for parameter, uri, routes in (
        (";lr", f"sip:caller@{THERE}", ["<sip:192.0.2.31;lr>", "<sip:192.0.2.32;lr>"]),
        ("", "sip:192.0.2.31", ["<sip:192.0.2.32>", f"<sip:caller@{THERE}>"]),
    ):
        peer = ScriptedPeer()
        record = f"Record-Route: <sip:192.0.2.31{parameter}>, <sip:192.0.2.32{parameter}>"
        leg_id = peer.call(headers=record)
        ok = next(
            message for message in peer.received if isinstance(message, Response) and message.status == 200
        )
        assert ok.headers.all("Record-Route") == [f"<sip:192.0.2.3{n}{parameter}>" for n in (1, 2)]
        peer.agent.hang_up(leg_id, peer.now)
        [bye] = peer.collect()
        assert isinstance(bye, Request)
        assert bye.uri == uri
        assert bye.headers.all("Route") == routes
        assert peer.destinations[-1] == Address("192.0.2.31", 5060)


@pytest.mark.parametrize("contact", ["sip:caller@pbx.example", "sip:caller@10.1.2.3:5060"])
def test_a_contact_behind_nat_or_by_name_is_reached_where_it_came_from(contact: str) -> None:
    peer = ScriptedPeer()
    public = Address("8.8.4.4", 40_000)
    invite = peer.request("INVITE", body=OFFER).replace(
        f"<sip:caller@{THERE}>".encode(), f"<{contact}>".encode()
    )
    peer.say(invite, public)
    leg_id = peer.event(IncomingCall).leg_id
    peer.agent.answer(leg_id, ANSWER, peer.now)
    peer.learn_tag(peer.collect()[-1])
    peer.say(peer.request("ACK"), public)
    peer.agent.hang_up(leg_id, peer.now)
    [bye] = peer.collect()
    assert isinstance(bye, Request)
    assert bye.uri == contact
    assert peer.destinations[-1] == public


def test_reinvite_reaches_the_shell_and_its_answer_is_repeated_until_ack() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    held = OFFER + "a=sendonly\r\n"
    assert statuses(peer.say(peer.request("INVITE", 2, body=held))) == [100]
    assert peer.event(Reoffer) == Reoffer(leg_id, held)
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert statuses(peer.collect()) == [200]
    assert len(peer.wait(2_000)) == 2
    peer.say(peer.request("ACK", 2))
    assert peer.wait(60_000) == []
    assert len([event for event in peer.events if isinstance(event, Confirmed)]) == 1


def test_reinvite_moves_the_target_of_the_dialog() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    moved = peer.request("INVITE", 2, body=OFFER).replace(
        f"Contact: <sip:caller@{THERE}>".encode(), b"Contact: <sip:moved@192.0.2.77>"
    )
    peer.say(moved)
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    peer.say(peer.request("ACK", 2))
    peer.agent.hang_up(leg_id, peer.now)
    bye = peer.collect()[-1]
    assert isinstance(bye, Request)
    assert bye.uri == "sip:moved@192.0.2.77"
    assert peer.destinations[-1] == Address("192.0.2.77", 5060)


def test_reinvite_without_an_offer_is_offered_to_and_its_ack_brings_the_answer() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("INVITE", 2))
    assert peer.event(Reoffer).sdp is None
    peer.agent.accept_reoffer(leg_id, "our offer", peer.now)
    peer.say(peer.request("ACK", 2, body="their answer"))
    assert peer.events[-1] == Confirmed(leg_id, "their answer")


def test_reinvite_that_the_shell_does_not_answer_gets_500_and_the_call_goes_on() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("INVITE", 2, body=OFFER))
    sent = peer.wait(4_000)
    assert [(at, message.status) for at, message in sent if isinstance(message, Response)] == [(4_000, 500)]
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert peer.collect() == []
    peer.say(peer.request("ACK", 2, branch=f"z9hG4bK-peer-{peer.branch}"))
    assert statuses(peer.say(peer.request("BYE", 3))) == [200]


def test_a_refused_reinvite_leaves_the_call_as_it_was() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("INVITE", 2, body=OFFER))
    peer.agent.reject_reoffer(leg_id, 488, peer.now)
    assert statuses(peer.collect()) == [488]
    assert not any(isinstance(event, CallEnded) for event in peer.events)


def test_offers_that_cross_get_500_or_491() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("INVITE", 2, body=OFFER))
    [second] = peer.say(peer.request("INVITE", 3, body=OFFER))
    assert statuses([second]) == [500]
    assert second.headers.get("Retry-After")
    assert statuses(peer.say(peer.request("UPDATE", 4, body=OFFER))) == [500]
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    peer.collect()
    assert statuses(peer.say(peer.request("INVITE", 5, body=OFFER))) == [491]


def test_a_cancelled_reinvite_leaves_the_call_up() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("INVITE", 2, body=OFFER, branch="z9hG4bK-re"))
    assert statuses(peer.say(peer.request("CANCEL", 2, branch="z9hG4bK-re"))) == [200, 487]
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert peer.collect() == []
    assert statuses(peer.say(peer.request("BYE", 3))) == [200]


def test_bye_answers_a_reinvite_that_waits() -> None:
    peer = ScriptedPeer()
    peer.call()
    peer.say(peer.request("INVITE", 2, body=OFFER))
    assert sorted(statuses(peer.say(peer.request("BYE", 3)))) == [200, 487]


def test_update_refreshes_at_once_and_its_offer_reaches_the_shell() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    [refreshed] = peer.say(peer.request("UPDATE", 2))
    assert statuses([refreshed]) == [200]
    assert refreshed.headers.get("Contact")
    peer.say(peer.request("UPDATE", 3, body=OFFER))
    assert peer.event(Reoffer).sdp == OFFER
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert statuses(peer.collect()) == [200]
    assert peer.wait(60_000) == []


def test_info_carries_keys_and_nothing_else() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    keys = "Signal=0\r\nDuration=160\r\n"
    assert statuses(peer.say(peer.request("INFO", 2, body=keys, content_type="application/dtmf-relay"))) == [
        200
    ]
    assert peer.event(InfoReceived) == InfoReceived(leg_id, "application/dtmf-relay", keys.encode())
    assert statuses(peer.say(peer.request("INFO", 3))) == [200]
    assert statuses(peer.say(peer.request("INFO", 4, body="<x/>", content_type="text/xml"))) == [415]
    assert statuses(peer.say(peer.request("INFO", 5, headers="Info-Package: nothing"))) == [469]


def test_incoming_refer_is_declined_and_notify_without_subscription_refused() -> None:
    peer = ScriptedPeer()
    peer.call()
    assert statuses(peer.say(peer.request("REFER", 2, headers="Refer-To: <sip:x@192.0.2.9>"))) == [603]
    assert statuses(peer.say(peer.request("NOTIFY", 3, headers="Event: refer"))) == [481]


def test_sdp_inside_of_multipart_is_found() -> None:
    peer = ScriptedPeer()
    body = (
        "--b\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n"
        f"--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b--\r\n"
    )
    peer.say(peer.request("INVITE", body=body, content_type='multipart/mixed; boundary="b"'))
    assert peer.event(IncomingCall).sdp == OFFER


def test_commands_on_a_leg_that_was_never_issued_or_in_the_wrong_state_say_so() -> None:
    peer = ScriptedPeer()
    with pytest.raises(LocalProtocolError, match="never issued"):
        peer.agent.ring(1, peer.now)
    leg_id = peer.call()
    with pytest.raises(LocalProtocolError, match="can ring"):
        peer.agent.ring(leg_id, peer.now)
    with pytest.raises(LocalProtocolError, match="can be answered"):
        peer.agent.answer(leg_id, ANSWER, peer.now)
    with pytest.raises(LocalProtocolError, match="can be refused"):
        peer.agent.reject(leg_id, 486, peer.now)
    with pytest.raises(LocalProtocolError, match="300 to 699"):
        peer.agent.reject(leg_id, 200, peer.now)


def test_commands_after_the_end_do_nothing() -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.say(peer.request("BYE", 2))
    peer.agent.hang_up(leg_id, peer.now)
    peer.agent.transfer(leg_id, "sip:x@192.0.2.9", peer.now)
    peer.agent.accept_reoffer(leg_id, ANSWER, peer.now)
    assert peer.collect() == []
    peer.wait(60_000)
    assert peer.agent.deadline() is None
