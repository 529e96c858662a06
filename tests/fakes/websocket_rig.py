"""A WebSocket door in virtual time, with clients on one side and agents on the other."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

import numpy as np

from sip.agent_links import CloseAgent, ToAgent
from sip.leg_protocol import VERSION, Accept, AgentMessage, Heartbeat, Hello, Message, Phrase
from sip.websocket.config import WebSocketConfig
from sip.websocket.door import AnswerClient, CloseClient, RefuseClient, ToClient, WebSocketDoor

MS: Final = 1_000_000
RATE_HZ: Final = 16_000
FRAME_BYTES: Final = 640

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
        self.settle()

    def kill(self, connection_id: int = 1) -> None:
        self._beating.discard(connection_id)
        self.door.disconnect_agent(connection_id, self.now)
        self.settle()

    def heard(self, kind: type[M], connection_id: int = 1) -> list[M]:
        return [message for message in self.said.get(connection_id, []) if isinstance(message, kind)]

    def ring(self, rate_hz: int = RATE_HZ) -> int:
        leg_id = self.door.ring(rate_hz, "websocket:127.0.0.1", self.now)
        self.settle()
        return leg_id

    def call(self, rate_hz: int = RATE_HZ) -> int:
        """Ring, be accepted, be upgraded."""
        leg_id = self.ring(rate_hz)
        self.tell(Accept(leg_id))
        assert self.door.open(leg_id, self.now)
        self.settle()
        return leg_id

    def send(self, leg_id: int, message: bytes | str) -> None:
        self.door.receive(leg_id, message, self.now)
        self.settle()

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
            self.settle()

    def settle(self) -> None:
        """Take in what the door wants done."""
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
