"""The agent process at two doors: what it counts together and what it keeps apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from models.protocols import VoiceActivityDetector
from server.agent.config import AgentProcessConfig
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

DOORS = ("sip", "websocket")


class Door:
    """A door's end of its socket."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.gone = asyncio.Event()
        self.messages: list[leg.Message] = []
        self._arrived = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        decoder = leg.Decoder()
        self.send(leg.Hello(leg.VERSION, "door", "door", 1, 8, 250))
        self.connected.set()
        while data := await reader.read(65536):
            self.messages += decoder.feed(data)
            async with self._arrived:
                self._arrived.notify_all()
        writer.close()
        self.gone.set()

    def send(self, message: leg.DoorMessage) -> None:
        self._writer.write(leg.encode(message))

    async def offer(self, leg_id: int, rate_hz: int = 8000) -> leg.Message:
        """Offer a call; return the agent's answer."""
        self.send(leg.Offer(leg_id, f"call-{id(self)}-{leg_id}", rate_hz, "caller", "callee"))
        return await self.wait_for(leg_id, leg.Accept, leg.Refuse)

    async def wait_for(self, leg_id: int, *kinds: type[leg.Message]) -> leg.Message:
        """Return the first message of some kinds about a leg."""
        async with asyncio.timeout(10), self._arrived:
            while True:
                for message in self.messages:
                    if isinstance(message, kinds) and getattr(message, "leg_id", 0) == leg_id:
                        return message
                await self._arrived.wait()

    async def close(self) -> None:
        self._writer.close()
        await asyncio.wait_for(self.gone.wait(), 10)


@asynccontextmanager
async def running(tmp_path: Path, *, capacity: int) -> AsyncIterator[dict[str, Door]]:
    doors = {name: Door() for name in DOORS}
    servers = [
        await asyncio.start_unix_server(doors[name].serve, tmp_path / f"{name}.sock") for name in DOORS
    ]
    config = AgentProcessConfig(
        name="agent",
        leg_sockets={name: str(tmp_path / f"{name}.sock") for name in DOORS},
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
    )
    vads: dict[int, VoiceActivityDetector] = {
        8000: ScriptedVad(),
        16000: ScriptedVad(window_samples=512),
    }
    models = ProcessModels(
        vads=vads,
        stt=ScriptedSpeechToText(),
        turn_detector=None,
        tts=ScriptedTextToSpeech(ms_per_character=5),
        llm=ScriptedLanguageModel(),
    )
    process = AgentProcess(config, load_agent(SAMPLE_AGENT), models)
    await process.prepare()
    stop = asyncio.Event()
    serving = asyncio.create_task(process.serve(stop))
    try:
        for door in doors.values():
            await asyncio.wait_for(door.connected.wait(), 10)
        yield doors
    finally:
        stop.set()
        await serving
        for server in servers:
            server.close()
        for door in doors.values():
            await asyncio.wait_for(door.gone.wait(), 10)


def test_the_calls_of_all_doors_count_and_a_lost_door_ends_only_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, capacity=2) as doors:
            sip, websocket = doors["sip"], doors["websocket"]
            # The same number at two doors is two legs.
            assert isinstance(await sip.offer(1), leg.Accept)
            assert isinstance(await websocket.offer(1, 16_000), leg.Accept)
            assert isinstance(await websocket.offer(2, 16_000), leg.Refuse)
            await sip.close()
            assert isinstance(await websocket.offer(3, 16_000), leg.Accept)
            assert isinstance(await websocket.offer(4, 16_000), leg.Refuse)

    asyncio.run(scenario())


def test_each_door_is_spoken_to_at_the_rates_of_its_legs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, capacity=4) as doors:
            seconds = {}
            for name, leg_id, rate_hz in (("sip", 1, 8000), ("websocket", 1, 8000), ("websocket", 2, 16_000)):
                await doors[name].offer(leg_id, rate_hz)
                play = await doors[name].wait_for(leg_id, leg.Play)
                assert isinstance(play, leg.Play)
                samples = np.frombuffer(play.pcm, "<i2").astype(float)
                spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
                assert np.argmax(spectrum) * rate_hz / len(samples) == pytest.approx(220, abs=10)
                seconds[name, rate_hz] = len(samples) / rate_hz
            assert seconds["sip", 8000] == seconds["websocket", 8000]
            assert seconds["websocket", 16_000] == pytest.approx(seconds["websocket", 8000], rel=0.05)
            for name, rates in (("sip", {8000}), ("websocket", {8000, 16_000})):
                phrases = [message for message in doors[name].messages if isinstance(message, leg.Phrase)]
                assert {phrase.rate_hz for phrase in phrases} == rates
                assert {phrase.name for phrase in phrases} == {"one_moment", "handing_over", "shutting_down"}

    asyncio.run(scenario())


def test_a_caller_at_16_khz_is_heard_in_windows_of_that_rate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, capacity=2) as doors:
            door = doors["websocket"]
            await door.offer(1, 16_000)
            play = await door.wait_for(1, leg.Play)
            assert isinstance(play, leg.Play)
            door.send(leg.Mark(1, play.utterance_id, leg.MarkKind.STARTED, 0, 0))
            loud = np.full(320, 8000, "<i2").tobytes()
            for tick in range(20):
                door.send(leg.AudioBatch(tick, 0, (leg.LegAudio(1, 320 * tick, loud),)))
            # Speech over the greeting.
            await door.wait_for(1, leg.Pause, leg.Stop)

    asyncio.run(scenario())
