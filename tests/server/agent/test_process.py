"""The agent process at a real socket: which calls it takes, and what it tells the doors about its room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.protocols import Priority
from server.agent.config import AgentProcessConfig
from server.agent.head_room import HeadRoomSettings
from server.agent.process import AgentProcess, ProcessModels
from server.config import SAMPLE_AGENT
from server.dialogue.agent_file import load_agent
from sip import leg_protocol as leg
from tests.fakes.models import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
)

pytestmark = pytest.mark.loopback


class Door:
    """The door's end of the socket."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.gone = asyncio.Event()
        self._messages: asyncio.Queue[leg.Message] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        decoder = leg.Decoder()
        writer.write(leg.encode(leg.Hello(leg.VERSION, "door", "sip", 1, 8, 250)))
        self.connected.set()
        while data := await reader.read(65536):
            for message in decoder.feed(data):
                self._messages.put_nowait(message)
        writer.close()
        self.gone.set()

    def offer(self, leg_id: int) -> None:
        offer = leg.Offer(leg_id, f"call-{leg_id}", 8000, "sip:anna@example.org", "sip:clinic@example.org")
        self._writer.write(leg.encode(offer))

    async def answer(self) -> leg.Message:
        """Return the next answer to an offer."""
        return await self._next(leg.Accept, leg.Refuse)

    async def capacity(self) -> int:
        """Return how many calls the agent says next that it can carry."""
        message = await self._next(leg.Capacity)
        assert isinstance(message, leg.Capacity)
        return message.calls

    async def _next(self, *kinds: type[leg.Message]) -> leg.Message:
        async with asyncio.timeout(10):
            while True:
                message = await self._messages.get()
                if isinstance(message, kinds):
                    return message


@asynccontextmanager
async def running(tmp_path: Path, *, capacity: int) -> AsyncIterator[tuple[AgentProcess, Door]]:
    door = Door()
    server = await asyncio.start_unix_server(door.serve, tmp_path / "leg.sock")
    config = AgentProcessConfig(
        name="agent",
        leg_sockets={"sip": str(tmp_path / "leg.sock")},
        control_socket=str(tmp_path / "control.sock"),
        speech_socket="",
        tts_socket="",
        vad_model="",
        agent_folder=str(SAMPLE_AGENT),
        agent_database=str(tmp_path / "agent.sqlite3"),
        phrase_directory=str(tmp_path / "phrases"),
        llm_base_url="",
        llm_model="",
        records_required=False,
        capacity=capacity,
        head_room=HeadRoomSettings(places={"llm": 1}),
    )
    vad = ScriptedVad()
    models = ProcessModels(
        vads={8000: vad},
        stt=ScriptedSpeechToText(),
        turn_detector=None,
        tts=ScriptedTextToSpeech(),
        llm=ScriptedLanguageModel(),
    )
    process = AgentProcess(config, load_agent(SAMPLE_AGENT), models)
    stop = asyncio.Event()
    serving = asyncio.create_task(process.serve(stop))
    try:
        await asyncio.wait_for(door.connected.wait(), 10)
        yield process, door
    finally:
        stop.set()
        await serving
        await asyncio.wait_for(door.gone.wait(), 10)
        server.close()


def test_a_call_beyond_the_models_room_is_refused_and_the_door_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, capacity=3) as (process, door):
            assert await door.capacity() == 3
            door.offer(1)
            assert await door.answer() == leg.Accept(1)
            busy_ms = 28_000
            process._head_room.ended("llm", Priority.FINAL, 0, busy_ms, time.monotonic_ns())
            door.offer(2)
            assert await door.answer() == leg.Refuse(2, 503, 10)
            while await door.capacity() != 1:
                pass

    asyncio.run(scenario())


def test_no_more_calls_than_configured_are_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, capacity=2) as (_, door):
            answers = []
            for leg_id in (1, 2, 3):
                door.offer(leg_id)
                answers.append(await door.answer())
            assert answers == [leg.Accept(1), leg.Accept(2), leg.Refuse(3, 503, 10)]

    asyncio.run(scenario())
