"""The door between a telephone and agents: what a caller and an agent notice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sip import codecs, rtp
from sip.leg_protocol import (
    VERSION,
    Accept,
    AudioBatch,
    Capacity,
    Dtmf,
    HangUp,
    Heartbeat,
    Hello,
    Hold,
    LegEndCause,
    LegEnded,
    Mark,
    MarkKind,
    Offer,
    Phrase,
    Play,
    Refuse,
    Resync,
    SendDtmf,
    Stop,
    Transfer,
)
from sip.leg_protocol import TransferProgress as AgentTransferProgress
from sip.offer_answer import Codec
from sip.user_agent import Answered, CallEnded, Failed, Ringing
from tests.fakes.door_rig import PHONE_RTP, DoorRig, Ports

ONE_MOMENT, HANDING_OVER, GOODBYE = 4092, 5116, 6140


def _pcm(value: int, ms: int) -> bytes:
    return np.full(8 * ms, value, "<i2").tobytes()


def _near(heard: np.ndarray[tuple[int], np.dtype[np.int16]], value: int) -> int:
    """Return how many samples are that value, as G.711 lets it through."""
    return int(np.count_nonzero(np.abs(heard.astype(int) - value) <= abs(value) * 0.05))


def _up(**settings: Any) -> tuple[DoorRig, int]:
    """A call that was answered, with all phrases at the door."""
    rig = DoorRig(**settings)
    rig.connect()
    for name, value in (
        ("one_moment", ONE_MOMENT),
        ("handing_over", HANDING_OVER),
        ("shutting_down", GOODBYE),
    ):
        rig.tell(Phrase(name, 8000, _pcm(value, 200)))
    phone_leg = rig.dial()
    rig.tell(Accept(1))
    assert any(isinstance(event, Answered) for event in rig.events)
    return rig, phone_leg


def _ended(rig: DoorRig, connection_id: int = 1) -> list[LegEndCause]:
    return [message.cause for message in rig.heard(LegEnded, connection_id)]


# ── ringing ──────────────────────────────────────────────────────────────────────────────────────


def test_a_call_rings_is_offered_and_answered() -> None:
    rig = DoorRig()
    rig.connect()
    rig.dial()
    assert [event.status for event in rig.events if isinstance(event, Ringing)] == [180]
    offer = rig.heard(Offer)[0]
    assert (offer.rate_hz, offer.caller, offer.callee, offer.facts["codec"]) == (
        8000,
        "ann",
        "clinic",
        "PCMU",
    )
    assert len(offer.call_id) == 32
    rig.tell(Accept(offer.leg_id))
    assert rig.negotiated is not None
    assert rig.negotiated.codec is Codec.PCMU


def test_an_agent_is_greeted_and_told_that_it_has_nothing_to_take_over() -> None:
    rig = DoorRig(call_limit=3)
    rig.connect()
    hello = rig.heard(Hello)[0]
    assert (hello.role, hello.capacity) == ("door", 3)
    assert rig.heard(Resync) == [Resync(())]


@pytest.mark.parametrize("case", ["no agent", "limit", "capacity", "no capacity left", "no port"])
def test_a_call_that_cannot_be_taken_gets_503_with_retry_after(case: str) -> None:
    rig = DoorRig(
        call_limit=1 if case == "limit" else 5,
        retry_after_s=7,
        ports=Ports(free=1 if case == "no port" else 100),
    )
    if case != "no agent":
        rig.connect(capacity=1 if case == "capacity" else 10)
        rig.dial()
        rig.tell(Accept(1))
    if case == "no capacity left":
        rig.tell(Capacity(0))
    rig.dial()
    assert [event.status for event in rig.events if isinstance(event, Failed)] == [503]
    assert b"Retry-After: 7\r\n" in rig.datagrams[-1]
    assert rig.door.counters["refused"] == 1


def test_the_place_of_a_call_that_ended_is_free_again() -> None:
    rig, phone_leg = _up(call_limit=1)
    rig.hang_up(phone_leg)
    rig.dial()
    assert len(rig.heard(Offer)) == 2
    assert rig.ports.open_legs == {2}


def test_no_common_codec_is_488_and_no_agent_hears_of_it() -> None:
    rig = DoorRig()
    rig.connect()
    rig.dial(
        sdp="v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 18\r\n"
    )
    assert [event.status for event in rig.events if isinstance(event, Failed)] == [488]
    assert rig.heard(Offer) == []
    assert rig.ports.open_legs == set()


def test_a_caller_without_an_offer_gets_ours_and_is_let_go_when_it_never_answers_it() -> None:
    rig = DoorRig()
    rig.connect()
    rig.dial(sdp="")
    rig.tell(Accept(1))
    (ok,) = [data for data in rig.datagrams if data.startswith(b"SIP/2.0 200 ") and b"INVITE" in data]
    assert b"RTP/AVP 0 8 101" in ok
    rig.run(40)
    assert _ended(rig) == [LegEndCause.PROTOCOL_ERROR]
    assert rig.ports.open_legs == set()


def test_an_agent_that_says_nothing_to_an_offer_costs_the_caller_two_seconds() -> None:
    rig = DoorRig()
    rig.connect()
    rig.dial()
    rig.run(1980)
    assert not any(isinstance(event, Failed) for event in rig.events)
    rig.run(40)
    assert [event.status for event in rig.events if isinstance(event, Failed)] == [503]
    assert _ended(rig) == [LegEndCause.CANCELLED]
    rig.tell(Accept(1))
    assert not any(isinstance(event, Answered) for event in rig.events)


def test_an_agent_may_refuse() -> None:
    rig = DoorRig()
    rig.connect()
    rig.dial()
    rig.tell(Refuse(1, 486))
    assert [event.status for event in rig.events if isinstance(event, Failed)] == [486]


def test_a_caller_who_gives_up_while_it_rings_is_gone_for_the_agent() -> None:
    rig = DoorRig()
    rig.connect()
    rig.hang_up(rig.dial())
    assert _ended(rig) == [LegEndCause.CANCELLED]
    assert rig.ports.open_legs == set()


def test_an_agent_lost_while_it_rings_gives_the_call_to_the_other() -> None:
    rig = DoorRig()
    rig.connect(1)
    rig.connect(2)
    rig.dial()
    assert len(rig.heard(Offer, 2)) == 1
    rig.kill(2)
    assert len(rig.heard(Offer, 1)) == 1
    rig.tell(Accept(1), 1)
    assert any(isinstance(event, Answered) for event in rig.events)


# ── talking ──────────────────────────────────────────────────────────────────────────────────────


def test_a_greeting_queued_before_the_ack_begins_at_the_first_tick_after_it() -> None:
    rig = DoorRig(loses_ack=True)
    rig.connect()
    rig.dial()
    rig.tell(Accept(1))
    rig.tell(Play(1, 1, _pcm(8000, 100), True))
    rig.run(200)
    assert rig.media == {}
    rig.loses_ack = False
    while 1 not in rig.media:
        rig.run(20)
    first_ns, first, destination = rig.media[1][0]
    assert destination == PHONE_RTP
    assert first.marker
    assert _near(rig.heard_by_caller(), 8000) == 160
    rig.run(200)
    started, finished = rig.heard(Mark)
    assert (started.kind, started.at_ns) == (MarkKind.STARTED, first_ns)
    assert (finished.kind, finished.played, finished.at_ns) == (MarkKind.FINISHED, 800, first_ns + 80_000_000)


def test_the_caller_gets_a_frame_a_tick_whatever_is_queued() -> None:
    rig, _ = _up()
    rig.run(200)
    rig.tell(Play(1, 1, _pcm(8000, 100), True))
    rig.run(300)
    packets = [packet for _, packet, _ in rig.media[1]]
    assert len(packets) == 25
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(packets)} == {1}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)} == {160}
    assert len({packet.ssrc for packet in packets}) == 1


def test_the_agent_hears_the_caller_gaplessly() -> None:
    rig, _ = _up()
    rig.speak([1000] * 10)
    rig.run(1000)
    assert _near(np.frombuffer(rig.audio(), "<i2"), 1000) == 1600
    position = 0
    for batch in rig.heard(AudioBatch):
        for leg in batch.legs:
            assert leg.offset == position
            position += len(leg.pcm) // 2
    assert 8 * 1080 <= position <= 8 * 1200


def test_keys_reach_the_agent_once_and_go_out_again() -> None:
    rig, _ = _up()
    rig.tell(SendDtmf(1, "42"))
    rig.run(600)
    assert rig.negotiated is not None
    events = [p for _, p, _ in rig.media[1] if p.payload_type == rig.negotiated.dtmf_payload_type]
    assert [p.payload[0] for p in events if p.marker] == [4, 2]
    for number, packet in enumerate(events):
        data = rtp.build(packet.payload_type, number, packet.timestamp, 9, packet.payload, packet.marker)
        rig.door.receive_media(1, data, (PHONE_RTP.host, PHONE_RTP.port), rig.now)
        rig.run(20)
    assert [key.digit for key in rig.heard(Dtmf)] == ["4", "2"]


def test_media_of_a_stranger_reaches_nobody() -> None:
    rig, _ = _up()
    rig.speak([1000] * 3)
    for number in range(20):
        payload = codecs.encode(Codec.PCMU, _pcm(30_000, 20))
        data = rtp.build(0, number, number * 160, 7, payload, marker=False)
        rig.door.receive_media(1, data, ("192.0.2.66", 9), rig.now)
        rig.run(20)
    assert _near(np.frombuffer(rig.audio(), "<i2"), 30_000) == 0
    assert rig.media[1][-1][2] == PHONE_RTP


def test_a_caller_who_hangs_up_ends_the_leg_with_its_statistics() -> None:
    rig, phone_leg = _up()
    rig.speak([500] * 10)
    rig.hang_up(phone_leg)
    ended = rig.heard(LegEnded)[0]
    assert ended.cause is LegEndCause.REMOTE_HANGUP
    assert (ended.statistics.packets_received, ended.statistics.packets_sent) == (10, 10)
    assert rig.door.legs == 0
    rig.tell(Play(1, 9, _pcm(1, 20), True))
    assert rig.closed == []


def test_hanging_up_waits_until_everything_was_said() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 400), True))
    rig.tell(HangUp(1))
    rig.run(400)
    assert not any(isinstance(event, CallEnded) for event in rig.events)
    rig.run(300)
    assert any(isinstance(event, CallEnded) for event in rig.events)
    assert _near(rig.heard_by_caller(), 8000) == 8 * 400
    assert _ended(rig) == [LegEndCause.LOCAL_HANGUP]


def test_an_agent_that_goes_on_talking_after_hanging_up_is_not_heard() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 200), True))
    rig.tell(HangUp(1))
    rig.tell(Play(1, 2, _pcm(3000, 30_000), True))
    rig.run(600)
    assert _near(rig.heard_by_caller(), 3000) == 0
    assert _ended(rig) == [LegEndCause.LOCAL_HANGUP]


def test_stopping_what_is_said_lets_a_hang_up_happen_sooner() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 30_000), True))
    rig.tell(HangUp(1))
    rig.tell(Stop(1))
    rig.run(300)
    assert _ended(rig) == [LegEndCause.LOCAL_HANGUP]


def test_a_transfer_that_is_refused_is_told_and_the_call_goes_on() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 100), True))
    rig.tell(Transfer(1, "sip:desk@198.51.100.9"))
    rig.run(1000)
    assert any(data.startswith(b"REFER ") for data in rig.datagrams)
    assert [(m.status, m.final) for m in rig.heard(AgentTransferProgress)] == [(603, True)]
    rig.tell(Play(1, 2, _pcm(3000, 100), True))
    rig.run(200)
    assert _near(rig.heard_by_caller(), 3000) == 800
    assert rig.door.legs == 1


def test_a_line_that_falls_silent_is_given_up() -> None:
    rig, _ = _up(media_timeout_s=5.0)
    rig.speak([1000] * 50)
    rig.run(4900)
    assert _ended(rig) == []
    rig.run(200)
    assert _ended(rig) == [LegEndCause.MEDIA_TIMEOUT]
    assert any(isinstance(event, CallEnded) for event in rig.events)


def test_on_hold_nothing_is_sent_or_counted_as_heard_until_the_caller_is_back() -> None:
    rig, phone_leg = _up(media_timeout_s=5.0)
    rig.speak([500] * 5)
    rig.tell(Play(1, 1, _pcm(8000, 400), True))
    rig.run(100)
    rig.reoffer(phone_leg, "sendonly")
    assert b"a=recvonly" in rig.datagrams[-1]
    sent = len(rig.media[1])
    rig.run(10_000)
    assert len(rig.media[1]) == sent
    assert not any(mark.kind is MarkKind.FINISHED for mark in rig.heard(Mark))
    rig.reoffer(phone_leg, "sendrecv")
    rig.run(600)
    assert [message.held for message in rig.heard(Hold)] == [True, False]
    assert _near(rig.heard_by_caller(), 8000) == 8 * 400
    # Time went on, so what comes after the hold is not late for the peer's jitter buffer.
    before, after = rig.media[1][sent - 1][1], rig.media[1][sent][1]
    assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 501 * 160
    assert after.marker


def test_a_reoffer_that_only_moves_the_address_moves_the_media() -> None:
    rig, phone_leg = _up()
    rig.speak([500] * 5)
    rig.reoffer(phone_leg, "sendrecv", rtp_port=4444)
    rig.run(100)
    assert rig.media[1][-1][2].port == 4444
    assert rig.heard(Hold) == []


# ── an agent is lost ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_caller_whose_agent_is_lost_is_told_and_kept(how: str) -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 300), False))
    if how == "killed":
        rig.kill()
    else:
        rig.hang()
        rig.run(1000)
        assert rig.closed == [1]
    rig.run(580)
    heard = rig.heard_by_caller()
    assert _near(heard, 8000) == 8 * 300
    rig.run(400)
    assert _near(rig.heard_by_caller(), ONE_MOMENT) == 8 * 200
    assert rig.door.legs == 1


def test_the_agent_that_comes_back_gets_the_same_call() -> None:
    rig, _ = _up()
    rig.speak([1000] * 20)
    rig.tell(Play(1, 6, _pcm(8000, 300), True))
    rig.run(100)
    rig.kill()
    rig.speak([1000] * 50, start=20)
    offered = rig.heard(Offer)[0]
    rig.connect(2)
    (leg,) = rig.heard(Resync, 2)[0].legs
    assert leg.offer == offered
    assert leg.offset >= 8 * 1300
    assert leg.utterance_id >= 6
    rig.tell(Play(1, leg.utterance_id + 1, _pcm(3000, 100), True), 2)
    rig.speak([2000] * 50, start=70)
    assert _near(rig.heard_by_caller(), 3000) == 800
    assert _near(np.frombuffer(rig.audio(connection_id=2), "<i2"), 2000) == 50 * 160
    assert rig.heard(AudioBatch, 2)[0].legs[0].offset == leg.offset
    rig.run(12_000)
    assert rig.door.legs == 1


def test_an_agent_that_is_back_at_once_leaves_nothing_to_be_said() -> None:
    rig, _ = _up()
    rig.kill()
    rig.run(400)
    rig.connect(2)
    rig.run(2000)
    assert _near(rig.heard_by_caller(), ONE_MOMENT) == 0


def test_a_second_agent_already_there_takes_over_without_a_word() -> None:
    rig, _ = _up()
    rig.connect(2)
    assert rig.heard(Resync, 2) == [Resync(())]
    rig.kill(1)
    assert [leg.offer.leg_id for leg in rig.heard(Resync, 2)[-1].legs] == [1]


def test_what_a_lost_agent_says_late_is_not_heard() -> None:
    rig, _ = _up()
    rig.hang()
    rig.run(1000)
    rig.connect(2)
    rig.tell(Play(1, 50, _pcm(8000, 100), True), 1)
    rig.run(200)
    assert _near(rig.heard_by_caller(), 8000) == 0


@pytest.mark.parametrize("target", ["", "sip:desk@198.51.100.9"])
def test_without_an_agent_for_ten_seconds_the_caller_is_handed_over(target: str) -> None:
    rig, _ = _up(handoff_target=target)
    rig.kill()
    rig.run(9900)
    assert _near(rig.heard_by_caller(), HANDING_OVER) == 0
    rig.run(1200)
    assert _near(rig.heard_by_caller(), HANDING_OVER) == 8 * 200
    referred = any(f"Refer-To: <{target}>".encode() in data for data in rig.datagrams)
    assert referred == bool(target)
    # This telephone refuses to be transferred, so the call ends either way.
    assert any(isinstance(event, CallEnded) for event in rig.events)
    assert rig.door.counters["ended_agent_lost"] == 1


def test_a_hang_up_the_lost_agent_had_asked_for_still_happens() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 400), True))
    rig.tell(HangUp(1))
    rig.kill()
    rig.run(1000)
    assert _near(rig.heard_by_caller(), ONE_MOMENT) == 0
    assert rig.door.counters["ended_local_hangup"] == 1


def test_a_stall_of_our_own_is_not_blamed_on_the_agent() -> None:
    rig, _ = _up()
    rig.run(200)
    rig.now += 3_000_000_000
    rig.run(20)
    assert rig.closed == []


# ── protocol ─────────────────────────────────────────────────────────────────────────────────────


def test_another_version_is_shown_the_door() -> None:
    rig = DoorRig()
    rig.connect(version=VERSION + 1)
    assert rig.closed == [1]
    assert rig.heard(Hello) == []


def test_a_connection_that_never_says_hello_is_closed() -> None:
    rig = DoorRig()
    rig.door.connect_agent(5, rig.now)
    rig.run(2100)
    assert rig.closed == [5]


def test_whoever_speaks_before_hello_is_closed() -> None:
    rig = DoorRig()
    rig.door.connect_agent(5, rig.now)
    rig.tell(Accept(1), 5)
    assert rig.closed == [5]


def test_connections_are_bounded() -> None:
    rig = DoorRig()
    for connection_id in range(40):
        rig.door.connect_agent(connection_id, rig.now)
    rig.run(20)
    assert len(rig.closed) == 24


def test_the_door_beats_too() -> None:
    rig, _ = _up()
    rig.run(1000)
    beats = [beat.sequence for beat in rig.heard(Heartbeat)]
    assert len(beats) >= 3
    assert beats == sorted(set(beats))


# ── shutting down ────────────────────────────────────────────────────────────────────────────────


def test_shutting_down_tells_every_caller_and_ends_within_the_limit() -> None:
    rig, _ = _up()
    rig.tell(Play(1, 1, _pcm(8000, 20_000), True))
    rig.run(100)
    rig.dial()
    begun = rig.now
    rig.door.shut_down(rig.now)
    rig.dial()
    while not rig.door.finished(rig.now):
        rig.run(20)
    assert rig.now - begun <= 5_000_000_000
    assert _near(rig.heard_by_caller(), GOODBYE) == 8 * 200
    assert _near(rig.heard_by_caller(), 8000) <= 8 * 120
    assert _ended(rig) == [LegEndCause.SHUTDOWN, LegEndCause.SHUTDOWN]
    assert [event.status for event in rig.events if isinstance(event, Failed)] == [503, 503]
    assert rig.ports.open_legs == set()


def test_a_goodbye_too_long_for_the_limit_is_cut_short() -> None:
    rig, _ = _up()
    rig.tell(Phrase("shutting_down", 8000, _pcm(GOODBYE, 15_000)))
    begun = rig.now
    rig.door.shut_down(rig.now)
    while not rig.door.finished(rig.now):
        rig.run(20)
    assert rig.now - begun <= 5_000_000_000
    assert any(isinstance(event, CallEnded) for event in rig.events)
