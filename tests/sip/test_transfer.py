"""Blind transfer as the agent's side sees it (RFC 3515, RFC 6665)."""

from __future__ import annotations

import pytest

from sip.errors import LocalProtocolError
from sip.leg_protocol import LegEndCause
from sip.message import Request, Response
from sip.user_agent import CallEnded, TransferProgress
from tests.fakes.scripted_peer import HERE, ScriptedPeer, methods, statuses

TARGET = "sip:reception@192.0.2.50"


def transferring() -> tuple[ScriptedPeer, int, Request]:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.agent.transfer(leg_id, TARGET, peer.now)
    [refer] = peer.collect()
    assert isinstance(refer, Request)
    return peer, leg_id, refer


def notify(peer: ScriptedPeer, number: int, fragment: str, state: str = "active;expires=60") -> list[int]:
    headers = f"Event: refer\nSubscription-State: {state}"
    answers = peer.say(
        peer.request("NOTIFY", number, headers=headers, body=fragment, content_type="message/sipfrag")
    )
    return statuses([answer for answer in answers if isinstance(answer, Response)])


def progress(peer: ScriptedPeer) -> list[tuple[int, bool]]:
    return [(event.status, event.final) for event in peer.events if isinstance(event, TransferProgress)]


def test_refer_names_the_target_and_who_asks() -> None:
    _, _, refer = transferring()
    assert refer.method == "REFER"
    assert refer.headers.get("Refer-To") == f"<{TARGET}>"
    assert refer.headers.get("Referred-By") == f"<sip:landline@{HERE}>"
    assert refer.headers.get("Contact") == f"<sip:landline@{HERE}>"


def test_a_transfer_that_succeeds_ends_the_leg_as_transferred() -> None:
    peer, leg_id, refer = transferring()
    peer.say(peer.response(refer, 202))
    assert notify(peer, 2, "SIP/2.0 100 Trying\r\n") == [200]
    assert notify(peer, 3, "SIP/2.0 180 Ringing") == [200]
    assert notify(peer, 4, "SIP/2.0 200 OK\r\n", "terminated;reason=noresource") == [200]
    assert progress(peer) == [(100, False), (180, False), (200, True)]
    assert peer.events[-1] == CallEnded(leg_id, LegEndCause.TRANSFERRED)
    assert methods(peer.received)[-1] == "BYE"


def test_a_notify_may_overtake_the_202() -> None:
    peer, _, refer = transferring()
    notify(peer, 2, "SIP/2.0 180 Ringing")
    peer.say(peer.response(refer, 202))
    notify(peer, 3, "SIP/2.0 200 OK", "terminated")
    assert progress(peer) == [(180, False), (200, True)]


def test_a_target_that_is_busy_leaves_the_call_up_for_another_try() -> None:
    peer, leg_id, refer = transferring()
    peer.say(peer.response(refer, 202))
    notify(peer, 2, "SIP/2.0 486 Busy Here", "terminated;reason=noresource")
    assert progress(peer) == [(486, True)]
    assert not any(isinstance(event, CallEnded) for event in peer.events)
    assert notify(peer, 3, "SIP/2.0 486 Busy Here", "terminated") == [481]
    peer.agent.transfer(leg_id, TARGET, peer.now)
    assert methods(peer.collect()) == ["REFER"]


@pytest.mark.parametrize("status", [403, 405, 501, 603])
def test_a_peer_that_refuses_refer_leaves_the_call_up(status: int) -> None:
    peer, _, refer = transferring()
    peer.say(peer.response(refer, status))
    assert progress(peer) == [(status, True)]
    assert not any(isinstance(event, CallEnded) for event in peer.events)
    peer.wait(60_000)
    assert progress(peer) == [(status, True)]


def test_a_refer_that_nobody_answers_is_408_after_32_s() -> None:
    peer, _, _ = transferring()
    sent = peer.wait(31_999)
    assert set(methods([message for _, message in sent])) == {"REFER"}
    assert progress(peer) == []
    peer.wait(1)
    assert progress(peer) == [(408, True)]


def test_an_accepted_refer_without_a_notify_is_408_after_32_s() -> None:
    peer, _, refer = transferring()
    peer.say(peer.response(refer, 202))
    peer.wait(31_999)
    assert progress(peer) == []
    peer.wait(1)
    assert progress(peer) == [(408, True)]
    assert statuses(peer.say(peer.request("BYE", 9))) == [200]


def test_a_target_that_rings_for_ever_is_408_after_three_minutes() -> None:
    peer, _, refer = transferring()
    peer.say(peer.response(refer, 202))
    notify(peer, 2, "SIP/2.0 180 Ringing")
    peer.wait(179_999)
    assert progress(peer) == [(180, False)]
    peer.wait(1)
    assert progress(peer)[-1] == (408, True)


@pytest.mark.parametrize(
    ("reason", "status"), [("timeout", 408), ("rejected", 603), ("noresource", 480), ("", 480)]
)
def test_a_subscription_that_ends_without_a_result(reason: str, status: int) -> None:
    peer, _, refer = transferring()
    peer.say(peer.response(refer, 202))
    notify(peer, 2, "SIP/2.0 100 Trying", f"terminated;reason={reason}")
    assert progress(peer) == [(status, True)]


def test_a_peer_that_leaves_after_accepting_was_transferred() -> None:
    peer, leg_id, refer = transferring()
    peer.say(peer.response(refer, 202))
    assert statuses(peer.say(peer.request("BYE", 2))) == [200]
    assert peer.events[-1] == CallEnded(leg_id, LegEndCause.TRANSFERRED)


def test_a_peer_that_leaves_before_accepting_has_hung_up() -> None:
    peer, leg_id, _ = transferring()
    peer.say(peer.request("BYE", 2))
    assert peer.events[-1] == CallEnded(leg_id, LegEndCause.REMOTE_HANGUP)


def test_a_peer_that_no_longer_knows_the_dialog_ends_the_call() -> None:
    peer, leg_id, refer = transferring()
    peer.say(peer.response(refer, 481))
    assert progress(peer) == [(481, True)]
    assert peer.events[-1] == CallEnded(leg_id, LegEndCause.PROTOCOL_ERROR, 481)


def test_a_notify_of_another_event_is_489_and_one_without_fragment_only_keeps_waiting() -> None:
    peer, _, refer = transferring()
    peer.say(peer.response(refer, 202))
    assert statuses(peer.say(peer.request("NOTIFY", 2, headers="Event: presence"))) == [489]
    assert notify(peer, 3, "") == [200]
    assert notify(peer, 4, "SIP/2.0 2xx\r\n") == [200]
    assert progress(peer) == [(100, False), (100, False)]


def test_a_second_transfer_while_one_runs_does_nothing() -> None:
    peer, leg_id, _ = transferring()
    peer.agent.transfer(leg_id, TARGET, peer.now)
    assert peer.collect() == []


@pytest.mark.parametrize(
    "target", ["reception", "sip:", "sip:a@b\r\nEvil: 1", "http://a.example/", "sip:a@b>;x=<"]
)
def test_a_target_that_is_no_sip_uri_is_refused_before_the_wire(target: str) -> None:
    peer = ScriptedPeer()
    leg_id = peer.call()
    peer.agent.transfer(leg_id, target, peer.now)
    assert peer.collect() == []
    assert progress(peer) == [(400, True)]


def test_a_call_that_is_not_confirmed_cannot_be_transferred() -> None:
    peer = ScriptedPeer()
    leg_id = peer.ring_in()
    with pytest.raises(LocalProtocolError):
        peer.agent.transfer(leg_id, TARGET, peer.now)
