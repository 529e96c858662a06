"""The whole stack rung over the raw audio WebSocket at 16 kHz: greeting, answer, barge-in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import soxr

from models.speech_client import SpeechWorkerClient
from scripts.softphone import CallRefused
from scripts.stack import Stack, running
from scripts.websocket_phone import WebSocketPhoneCall, dial
from tests.e2e.caller_lines import recorded
from tests.e2e.conversation import run

pytestmark = pytest.mark.e2e

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A clinic whose WebSocket door is open, for one call at once."""
    with running(
        tmp_path_factory.mktemp("landline"),
        LANDLINE_WEBSOCKET__ENABLED="true",
        LANDLINE_WEBSOCKET__TOKEN="tiger",
        LANDLINE_WEBSOCKET__CALL_LIMIT="1",
    ) as started:
        yield started


def line(text: str) -> bytes:
    """Return a caller's line at 16 kHz."""
    narrow = np.frombuffer(recorded(text), "<i2")
    wide: np.ndarray[tuple[int], np.dtype[np.int16]] = soxr.resample(narrow, 8_000, RATE_HZ, quality="HQ")
    return wide.astype("<i2").tobytes()


async def words(stack: Stack, pcm: bytes) -> str:
    """Return what was heard, in words."""
    stt = SpeechWorkerClient(stack.run_directory / "speech.sock")
    try:
        return (await stt.transcribe(pcm[: 2 * RATE_HZ * 24], RATE_HZ)).text.lower()
    finally:
        await stt.close()


async def ring(stack: Stack) -> WebSocketPhoneCall:
    call = await dial(stack.websocket_url, rate_hz=RATE_HZ, token="tiger")
    await asyncio.wait_for(call.started.wait(), 5)
    return call


def test_a_caller_is_greeted_answered_and_listened_to_when_speaking_over_the_agent(stack: Stack) -> None:
    async def scenario() -> None:
        call = await ring(stack)
        await call.wait_for_audio(timeout_s=10)
        await call.wait_for_quiet(900)
        assert "clinic" in await words(stack, call.received_pcm())

        asked = await call.say(line("What are your hours on Saturday?"))
        answered = await call.wait_for_audio(since_ns=asked, timeout_s=25)
        await call.wait_for_quiet(900)
        assert "saturday" in await words(stack, call.received_pcm(answered))

        asked = await call.say(line("Where can I park?"))
        await call.wait_for_audio(since_ns=asked, timeout_s=25)
        await asyncio.sleep(0.3)
        spoke_ns = asyncio.create_task(call.say(line("Sorry, are you open on Sunday?")))
        cleared = await call.wait_for_event("clear", since_ns=asked, timeout_s=5)
        heard = [packet.at_ns for packet in call.heard if packet.at_ns <= cleared]
        assert heard, "the agent was speaking"
        answered = await call.wait_for_audio(since_ns=await spoke_ns, timeout_s=25)
        await call.wait_for_quiet(900)
        assert "sunday" in await words(stack, call.received_pcm(answered))

        with pytest.raises(CallRefused) as busy:
            await dial(stack.websocket_url, rate_hz=RATE_HZ, token="tiger")
        assert busy.value.status == 503
        await call.hang_up()

        row = await asyncio.to_thread(stack.wait_ended, call.call_id)
        assert (row["door"], row["codec"], row["end_reason"]) == ("websocket", "PCM16/16000", "caller_hangup")
        turns = stack.rows("turn", call.call_id)
        assert any(turn["interrupted"] for turn in turns)

    run(scenario)


def test_the_door_is_part_of_readiness(stack: Stack) -> None:
    (door,) = stack.processes()["websocket"]
    door.suspend()
    try:
        ready, reason = stack.ready()
        assert (ready, "websocket" in reason) == (False, True)
    finally:
        door.resume()
    stack.wait_ready(30)
