"""An agent without models that speaks the real leg protocol: silent, a tone, or an echo of the caller.

Also a program, for tests whose caller is another program: ``python -m tests.fakes.scripted_agent LEG_SOCKET MODE``.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from sip.leg_protocol import (
    VERSION,
    Accept,
    AgentMessage,
    AudioBatch,
    Decoder,
    Dtmf,
    HangUp,
    Heartbeat,
    Hello,
    LegEnded,
    Mark,
    MarkKind,
    Message,
    Offer,
    Phrase,
    Play,
    Refuse,
    Resync,
    Transfer,
    encode,
)

RATE_HZ: Final = 8_000
HEARTBEAT_MS: Final = 250


class Behaviour(enum.StrEnum):
    """What the agent does with a call."""

    SILENT = "silent"
    TONE = "tone"
    """Says a second of 440 Hz over and over."""
    ECHO = "echo"
    """Says back what it hears."""
    REFUSE = "refuse"
    IGNORE = "ignore"
    """Neither accepts nor refuses."""


def tone(hertz: float, ms: int, *, level: float = 0.5) -> bytes:
    """Return a sine as PCM16 at 8 kHz."""
    time_s = np.arange(RATE_HZ * ms // 1000) / RATE_HZ
    return (np.sin(2 * np.pi * hertz * time_s) * level * 32_767).astype("<i2").tobytes()


class ScriptedAgent:
    """One connection to a door."""

    def __init__(
        self,
        behaviour: Behaviour = Behaviour.SILENT,
        *,
        capacity: int = 1000,
        phrases: dict[str, bytes] | None = None,
        on_key: Callable[[ScriptedAgent, Dtmf], None] | None = None,
    ) -> None:
        """``phrases`` are told to the door, ``on_key`` is called for every key a caller presses."""
        self.behaviour = behaviour
        self._capacity = capacity
        self._phrases = phrases or {}
        self._on_key = on_key
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._arrived = asyncio.Condition()
        self._echoing: set[int] = set()
        self.messages: list[Message] = []
        """Everything but audio and heartbeats."""
        self.heard: dict[int, bytearray] = {}
        """Caller audio by leg."""
        self.offsets: dict[int, list[tuple[int, int]]] = {}
        """Offset and number of samples of every piece of it."""

    async def connect(self, path: str | Path, timeout_s: float = 10.0) -> None:
        """Connect to the door, waiting for it to be there."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(str(path))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    await asyncio.sleep(0.05)
        self.send(Hello(VERSION, "agent", "scripted", os.getpid(), self._capacity, HEARTBEAT_MS))
        for name, pcm in self._phrases.items():
            self.send(Phrase(name, RATE_HZ, pcm))
        self._tasks = [asyncio.create_task(self._read(reader)), asyncio.create_task(self._beat())]

    def send(self, message: AgentMessage) -> None:
        """Say something to the door."""
        assert self._writer is not None
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    def stop_heartbeat(self) -> None:
        """Hang: nothing is said any more, though the connection stays."""
        self._tasks[1].cancel()

    async def close(self) -> None:
        """Close the connection."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def wait_for(self, kind: type[Message], count: int = 1, timeout_s: float = 10.0) -> Message:
        """Return the ``count``-th message of a kind."""
        async with asyncio.timeout(timeout_s), self._arrived:
            while len(found := [message for message in self.messages if isinstance(message, kind)]) < count:
                await self._arrived.wait()
        return found[count - 1]

    async def wait_closed(self) -> None:
        """Return when the door has closed the connection."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[0]

    async def _beat(self) -> None:
        sequence = 0
        while True:
            sequence += 1
            self.send(Heartbeat(sequence))
            await asyncio.sleep(HEARTBEAT_MS / 1000)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = Decoder()
        while data := await reader.read(65_536):
            for message in decoder.feed(data):
                self._take(message)
                async with self._arrived:
                    self._arrived.notify_all()

    def _take(self, message: Message) -> None:
        if isinstance(message, AudioBatch):
            for leg in message.legs:
                self.heard.setdefault(leg.leg_id, bytearray()).extend(leg.pcm)
                self.offsets.setdefault(leg.leg_id, []).append((leg.offset, len(leg.pcm) // 2))
                if leg.leg_id in self._echoing:
                    self.send(Play(leg.leg_id, 1, leg.pcm, False))
            return
        if isinstance(message, Heartbeat):
            return
        self.messages.append(message)
        if isinstance(message, Offer):
            self._answer(message)
        elif isinstance(message, Mark):
            if message.kind is MarkKind.FINISHED and self.behaviour is Behaviour.TONE:
                self.send(Play(message.leg_id, message.utterance_id + 1, tone(440, 1000), True))
        elif isinstance(message, LegEnded):
            self._echoing.discard(message.leg_id)
        elif isinstance(message, Resync):
            for resynced in message.legs:
                if self.behaviour is Behaviour.TONE:
                    leg_id = resynced.offer.leg_id
                    self.send(Play(leg_id, resynced.utterance_id + 1, tone(440, 1000), True))
        elif isinstance(message, Dtmf) and self._on_key is not None:
            self._on_key(self, message)

    def _answer(self, offer: Offer) -> None:
        match self.behaviour:
            case Behaviour.REFUSE:
                self.send(Refuse(offer.leg_id, 486))
            case Behaviour.IGNORE:
                pass
            case Behaviour.SILENT:
                self.send(Accept(offer.leg_id))
            case Behaviour.ECHO:
                self.send(Accept(offer.leg_id))
                self._echoing.add(offer.leg_id)
            case Behaviour.TONE:
                self.send(Accept(offer.leg_id))
                self.send(Play(offer.leg_id, 1, tone(440, 1000), True))


def obey_keys(agent: ScriptedAgent, key: Dtmf) -> None:
    """Transfer on 0, hang up on #."""
    if key.digit == "0":
        agent.send(Transfer(key.leg_id, "sip:desk@127.0.0.1:5999"))
    elif key.digit == "#":
        agent.send(HangUp(key.leg_id))


async def _main(path: str, behaviour: str) -> None:
    agent = ScriptedAgent(Behaviour(behaviour), on_key=obey_keys)
    await agent.connect(path)
    await agent.wait_closed()
    await agent.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
