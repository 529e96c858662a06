"""The WebSocket door in virtual time: clients on one side, agents on the other."""

from __future__ import annotations

import itertools
import json
from typing import Any, TypeVar

import numpy as np

from sip.agent_links import CloseAgent, ToAgent
from sip.leg_protocol import (
    VERSION,
    Accept,
    AgentMessage,
    AudioBatch,
    Capacity,
    Dtmf,
    HangUp,
    Heartbeat,
    Hello,
    LegEndCause,
    LegEnded,
    Mark,
    MarkKind,
    Message,
    Offer,
    Pause,
    Phrase,
    Play,
    Resume,
    Resync,
    Stop,
)
from sip.websocket.config import WebSocketConfig
from sip.websocket.door import AnswerClient, CloseClient, RefuseClient, ToClient, WebSocketDoor

MS = 1_000_000
RATE_HZ = 16_000
FRAME_BYTES = 640

M = TypeVar("M")


class Rig:
    """Everything around a door; time moves only by :meth:`run`."""

    def __init__(self, **settings: object) -> None:
        config = WebSocketConfig(run_directory="/run", **settings)  # type: ignore[arg-type]
        self.door = WebSocketDoor(config, lambda characters: "a" * characters)
        self.now = 1_000 * MS
        self.said: dict[int, list[Message]] = {}
        self.sent: dict[int, list[tuple[int, bytes]]] = {}
        self.events: dict[int, list[dict[str, Any]]] = {}
        self.closed: dict[int, int] = {}
        self.answered: list[int] = []
        self.refused: dict[int, int] = {}
        self._beating: set[int] = set()
        self._beats = 0

    def connect(self, connection_id: int = 1, capacity: int = 10) -> None:
        self.door.connect_agent(connection_id, self.now)
        self._beating.add(connection_id)
        self.tell(Hello(VERSION, "agent", "rig", 4711, capacity, 250), connection_id)
        for rate_hz in (8_000, 16_000):
            pcm = np.full(rate_hz // 10, rate_hz // 1000, "<i2").tobytes()
            self.tell(Phrase("one_moment", rate_hz, pcm), connection_id)

    def tell(self, message: AgentMessage, connection_id: int = 1) -> None:
        self.door.receive_from_agent(connection_id, message, self.now)
        self._settle()

    def kill(self, connection_id: int = 1) -> None:
        self._beating.discard(connection_id)
        self.door.disconnect_agent(connection_id, self.now)
        self._settle()

    def heard(self, kind: type[M], connection_id: int = 1) -> list[M]:
        return [message for message in self.said.get(connection_id, []) if isinstance(message, kind)]

    def ring(self, rate_hz: int = RATE_HZ) -> int:
        leg_id = self.door.ring(rate_hz, "websocket:127.0.0.1", self.now)
        self._settle()
        return leg_id

    def call(self, rate_hz: int = RATE_HZ) -> int:
        """Ring, be accepted, be upgraded."""
        leg_id = self.ring(rate_hz)
        self.tell(Accept(leg_id))
        assert self.door.open(leg_id, self.now)
        self._settle()
        return leg_id

    def send(self, leg_id: int, message: bytes | str) -> None:
        self.door.receive(leg_id, message, self.now)
        self._settle()

    def names(self, leg_id: int) -> list[str]:
        return [event["event"] for event in self.events.get(leg_id, [])]

    def run(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.now += 20 * MS
            self._beats += 1
            if self._beats % 10 == 0:
                for connection_id in sorted(self._beating):
                    self.door.receive_from_agent(connection_id, Heartbeat(self._beats), self.now)
            self.door.tick(self.now)
            self._settle()

    def _settle(self) -> None:
        for output in self.door.outputs():
            match output:
                case ToAgent(connection_id=connection_id, message=message):
                    self.said.setdefault(connection_id, []).append(message)
                case CloseAgent(connection_id=connection_id):
                    self._beating.discard(connection_id)
                case ToClient(leg_id=leg_id, message=bytes() as audio):
                    self.sent.setdefault(leg_id, []).append((self.now, audio))
                case ToClient(leg_id=leg_id, message=str() as event):
                    self.events.setdefault(leg_id, []).append(json.loads(event))
                case CloseClient(leg_id=leg_id, code=code):
                    self.closed[leg_id] = code
                case AnswerClient(leg_id=leg_id):
                    self.answered.append(leg_id)
                case RefuseClient(leg_id=leg_id, retry_after_s=retry_after_s):
                    self.refused[leg_id] = retry_after_s


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
