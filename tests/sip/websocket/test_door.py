"""The WebSocket door in virtual time: clients on one side, agents on the other."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sip.leg_protocol import (
    Accept,
    AgentMessage,
    AudioBatch,
    Capacity,
    Dtmf,
    HangUp,
    LegEndCause,
    LegEnded,
    Mark,
    MarkKind,
    Offer,
    Pause,
    Play,
    Refuse,
    Resume,
    Resync,
    Stop,
    Transfer,
)
from tests.fakes.websocket_rig import FRAME_BYTES, MS, Rig


def test_a_call_is_answered_only_once_an_agent_accepts_it() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.ring(8_000)
    (offer,) = rig.heard(Offer)
    assert (offer.leg_id, offer.rate_hz, offer.facts["codec"]) == (leg_id, 8_000, "PCM16/8000")
    assert rig.answered == []
    rig.tell(Accept(leg_id))
    assert rig.answered == [leg_id]
    assert rig.door.open(leg_id, rig.now)


def test_an_agent_that_says_nothing_costs_a_caller_two_seconds() -> None:
    rig = Rig(retry_after_s=7)
    rig.connect()
    leg_id = rig.ring()
    rig.run(1_960)
    assert rig.refused == {}
    rig.run(60)
    assert rig.refused == {leg_id: 7}
    assert rig.door.legs == 0


def test_the_smaller_of_both_capacities_counts() -> None:
    rig = Rig(call_limit=3)
    rig.connect(capacity=2)
    rig.call()
    rig.call()
    assert list(rig.refused) == []
    third = rig.ring()
    assert list(rig.refused) == [third]
    rig.tell(Capacity(9))
    rig.call()
    fifth = rig.ring()
    assert list(rig.refused) == [third, fifth]


def test_a_caller_who_never_completes_the_upgrade_is_forgotten() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.ring()
    rig.tell(Accept(leg_id))
    rig.run(5_100)
    assert [ended.cause for ended in rig.heard(LegEnded)] == [LegEndCause.CANCELLED]
    assert not rig.door.open(leg_id, rig.now)


def test_speech_is_sent_a_frame_a_tick_and_nothing_while_there_is_none() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.run(200)
    assert leg_id not in rig.sent
    rig.tell(Play(leg_id, 1, bytes(range(256)) * 10, True))
    rig.run(200)
    times = [at for at, _ in rig.sent[leg_id]]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [20 * MS] * 3
    assert b"".join(audio for _, audio in rig.sent[leg_id]) == bytes(range(256)) * 10
    assert [mark.kind for mark in rig.heard(Mark)] == [MarkKind.STARTED, MarkKind.FINISHED]


def test_clear_is_sent_when_playout_is_paused_and_not_again_until_more_was_sent() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.tell(Play(leg_id, 1, bytes(50 * FRAME_BYTES), True))
    rig.run(100)
    rig.tell(Pause(leg_id))
    assert rig.names(leg_id).count("clear") == 1
    rig.tell(Stop(leg_id))
    assert rig.names(leg_id).count("clear") == 1
    rig.tell(Play(leg_id, 2, bytes(50 * FRAME_BYTES), True))
    rig.run(100)
    rig.tell(Stop(leg_id))
    assert rig.names(leg_id).count("clear") == 2


def test_a_client_that_says_what_it_played_is_believed() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.send(leg_id, '{"event":"played","samples":0}')
    rig.tell(Play(leg_id, 1, bytes(50 * FRAME_BYTES), True))
    rig.run(200)
    assert rig.heard(Mark) == []
    rig.send(leg_id, '{"event":"played","samples":1600}')
    rig.run(20)
    rig.tell(Pause(leg_id))
    rig.run(20)
    marks = [(mark.kind, mark.played) for mark in rig.heard(Mark)]
    assert marks == [(MarkKind.STARTED, 0), (MarkKind.PAUSED, 1600)]
    rig.tell(Resume(leg_id))
    rig.run(40)
    assert len(rig.sent[leg_id]) == 13


def test_keys_and_audio_reach_the_agent_gaplessly_though_the_client_suppresses_silence() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.run(20)
    rig.send(leg_id, b"\1\0" * 333)
    rig.run(500)
    rig.send(leg_id, b"\2\0" * 5000)
    rig.send(leg_id, '{"event":"dtmf","digit":"7"}')
    rig.run(500)
    position, pcm = 0, b""
    for batch in rig.heard(AudioBatch):
        for leg in batch.legs:
            assert leg.offset == position
            position += len(leg.pcm) // 2
            pcm += leg.pcm
    samples = np.frombuffer(pcm, "<i2")
    assert [int(np.count_nonzero(samples == value)) for value in (1, 2)] == [333, 5000]
    assert [key.digit for key in rig.heard(Dtmf)] == ["7"]


def test_a_lost_agent_leaves_the_caller_with_the_door_at_the_callers_rate() -> None:
    rig = Rig()
    rig.connect()
    narrow, wide = rig.call(8_000), rig.call(16_000)
    rig.tell(Play(wide, 4, b"\1\0" * 320, False))
    rig.run(40)
    rig.kill()
    rig.run(700)
    assert rig.sent[narrow][0][1][:2] == b"\x08\0"
    assert rig.sent[wide][1][1][:2] == b"\x10\0"
    rig.connect(2)
    (resync,) = rig.heard(Resync, 2)
    assert {leg.offer.leg_id: leg.utterance_id for leg in resync.legs} == {narrow: 1, wide: 5}


def test_hanging_up_waits_for_what_was_said() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.tell(Play(leg_id, 1, bytes(10 * FRAME_BYTES), True))
    rig.tell(HangUp(leg_id))
    rig.run(200)
    assert leg_id not in rig.closed
    rig.run(240)
    assert len(rig.sent[leg_id]) == 10
    assert (rig.events[leg_id][-1], rig.closed[leg_id]) == ({"event": "end", "reason": "local_hangup"}, 1000)


def test_silence_of_client_and_connection_ends_a_call_but_a_pong_is_enough() -> None:
    rig = Rig()
    rig.connect()
    silent, alive = rig.call(), rig.call()
    for _ in range(5):
        rig.run(5_000)
        rig.door.hear_pong(alive, rig.now)
    assert (rig.closed, rig.events[silent][-1]["reason"]) == ({silent: 1000}, "media_timeout")
    assert [ended.cause for ended in rig.heard(LegEnded)] == [LegEndCause.MEDIA_TIMEOUT]


def test_shutting_down_refuses_new_callers_and_ends_the_rest_in_time() -> None:
    rig = Rig()
    rig.connect()
    leg_id = rig.call()
    rig.door.shut_down(rig.now)
    late = rig.ring()
    assert late in rig.refused
    rig.run(1_000)
    assert rig.events[leg_id][-1] == {"event": "end", "reason": "shutdown"}
    assert rig.door.finished(rig.now)


class AnyOrder(RuleBasedStateMachine):
    """Clients and agents do anything in any order; nothing may be left, told twice or sent after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(call_limit=3, agent_wait_s=2.0, media_timeout_s=4.0)
        self.agents: set[int] = set()
        self.newest_agent = 0
        self.utterance = 0
        self.last_leg = 1
        self.sent_at_close: dict[int, int] = {}

    @initialize()
    def begin(self) -> None:
        self.agent_comes()
        self.client_is_answered(16_000)

    def leg(self, recent: int) -> int:
        return max(1, self.last_leg - recent)

    @precondition(lambda self: len(self.agents) < 2)
    @rule()
    def agent_comes(self) -> None:
        self.newest_agent += 1
        self.agents.add(self.newest_agent)
        self.rig.connect(self.newest_agent, capacity=2)

    @precondition(lambda self: self.agents)
    @rule(oldest=st.booleans())
    def agent_dies(self, oldest: bool) -> None:
        agent = min(self.agents) if oldest else max(self.agents)
        self.agents.discard(agent)
        self.rig.kill(agent)

    @rule(rate_hz=st.sampled_from((8_000, 16_000)))
    def client_rings(self, rate_hz: int) -> None:
        self.last_leg = self.rig.ring(rate_hz)

    @rule(rate_hz=st.sampled_from((8_000, 16_000)))
    def client_is_answered(self, rate_hz: int) -> None:
        self.last_leg = self.rig.ring(rate_hz)
        for agent in self.agents:
            self.rig.tell(Accept(self.last_leg), agent)
        if self.last_leg in self.rig.answered:
            self.rig.door.open(self.last_leg, self.rig.now)
            self.rig.settle()

    @rule(recent=st.integers(0, 2))
    def client_is_upgraded(self, recent: int) -> None:
        leg_id = self.leg(recent)
        if leg_id in self.rig.answered:
            self.rig.door.open(leg_id, self.rig.now)

    @rule(
        recent=st.integers(0, 2),
        message=st.one_of(
            st.binary(max_size=1000),
            st.sampled_from(
                (
                    '{"event":"hangup"}',
                    '{"event":"dtmf","digit":"1"}',
                    '{"event":"played","samples":900}',
                    "{}",
                )
            ),
        ),
    )
    def client_speaks(self, recent: int, message: bytes | str) -> None:
        self.rig.send(self.leg(recent), message)

    @rule(recent=st.integers(0, 2), how=st.sampled_from(("lose", "drop")))
    def client_goes(self, recent: int, how: str) -> None:
        getattr(self.rig.door, how)(self.leg(recent))
        self.rig.settle()

    @precondition(lambda self: self.agents)
    @rule(
        recent=st.integers(0, 2),
        kind=st.sampled_from((Accept, Pause, Resume, Stop, HangUp, "refuse", "transfer", "capacity")),
        newest=st.booleans(),
    )
    def agent_acts(self, recent: int, kind: type[Accept] | str, newest: bool) -> None:
        self.utterance += 1
        leg_id = self.leg(recent)
        message: AgentMessage
        match kind:
            case "refuse":
                message = Refuse(leg_id, 486)
            case "transfer":
                message = Transfer(leg_id, "sip:desk@example.org")
            case "capacity":
                message = Capacity(leg_id)
            case type():
                message = kind(leg_id)
            case _:
                raise AssertionError(kind)
        self.rig.tell(message, max(self.agents) if newest else min(self.agents))

    @rule(recent=st.integers(0, 2), final=st.booleans(), ms=st.sampled_from((0, 60, 400)))
    def agent_speaks(self, recent: int, final: bool, ms: int) -> None:
        self.utterance += 1
        for agent in self.agents:
            self.rig.tell(Play(self.leg(recent), self.utterance, bytes(7 * FRAME_BYTES), final), agent)
        self.rig.run(ms)

    @rule(ms=st.sampled_from((20, 100, 700, 3_000)))
    def time_passes(self, ms: int) -> None:
        self.rig.run(ms)

    @invariant()
    def no_more_calls_than_allowed(self) -> None:
        assert self.rig.door.legs <= 3

    @invariant()
    def a_closed_connection_is_left_alone(self) -> None:
        for leg_id in self.rig.closed:
            sent = len(self.rig.sent.get(leg_id, [])) + len(self.rig.events.get(leg_id, []))
            assert self.sent_at_close.setdefault(leg_id, sent) == sent
        assert not self.rig.closed.keys() & self.rig.refused.keys()

    def teardown(self) -> None:
        self.rig.door.shut_down(self.rig.now)
        self.rig.run(6_000)
        assert self.rig.door.legs == 0
        assert self.rig.door.finished(self.rig.now)
        for agent in range(1, self.newest_agent + 1):
            ended = [message.leg_id for message in self.rig.heard(LegEnded, agent)]
            assert len(ended) == len(set(ended))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
