"""Processes are killed and stopped in mid-call; the caller is kept, told, and the conversation goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from scripts.softphone import ReferPolicy
from scripts.stack import Stack, running
from tests.e2e.conversation import greeted, newest_call, run

pytestmark = pytest.mark.e2e


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Stack]:
    """A Landline of one's own, to be hurt; nobody to hand over to."""
    with running(tmp_path) as started:
        yield started


def _kill(process: psutil.Process) -> None:
    process.kill()


def _freeze(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("hurt", "spoken_time", "time_of_day"),
    [(_kill, "half past two", "14:30"), (_freeze, "quarter past three", "15:15")],
    ids=["killed", "stopped"],
)
def test_the_same_conversation_goes_on_in_another_agent(
    stack: Stack, hurt: Callable[[psutil.Process], None], spoken_time: str, time_of_day: str
) -> None:
    """Half a booking, then the agent is gone: the other half is enough for the one that takes over."""

    async def scenario() -> None:
        async with greeted(stack) as caller:
            lines = [
                f"I would like to book an appointment next Thursday at {spoken_time}.",
                "My name is Peter Miller.",
            ]
            await caller.prepare([*lines, "Yes, please."])
            await caller.ask(lines[0])
            call_id = newest_call(stack)
            hurt(stack.active_agent())
            hurt_at = time.monotonic_ns()
            resumed_at = await caller.call.wait_for_audio(-45.0, hurt_at, 10)
            assert resumed_at > hurt_at
            await caller.call.wait_for_quiet(1500, 20)
            await caller.ask(lines[1])
            await caller.ask("Yes, please.")
        assert any(row["name"] == "takeover" for row in stack.rows("transition", call_id))
        booked = [row for row in stack.rows("tool_attempt", call_id) if row["tool"] == "book_appointment"]
        assert [row["outcome"] for row in booked] == ["ok"], stack.rows("turn", call_id)
        assert time_of_day in str(booked[0]["arguments"])
        assert "miller" in str(booked[0]["arguments"]).lower()

    run(scenario)


def _wait_for_pending_words(stack: Stack, limit_s: float = 10.0) -> None:
    """Wait until what the caller said is in the records and not yet answered."""
    call_id = newest_call(stack)
    limit = time.monotonic() + limit_s
    while not any(row["state"]["pending"] for row in stack.rows("snapshot", call_id)):
        assert time.monotonic() < limit, "the words never came into the records"
        time.sleep(0.01)


def test_words_that_were_said_while_the_agent_died_are_answered(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            until = await caller.say("What are your hours on Saturday?")
            await asyncio.to_thread(_wait_for_pending_words, stack)
            stack.active_agent().kill()
            await caller.listen(until)
            await caller.call.wait_for_quiet(2500, 20)
            words = (await caller.transcribe(caller.call.received_pcm(until))).lower()
            assert "nine" in words or "9" in words, words

    run(scenario)


def test_a_voice_killed_in_mid_sentence_goes_on_speaking(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            await caller.prepare(["Where can I park?"])
            until = await caller.say("Where can I park?")
            stack.processes()["tts"][0].kill()
            answer = await caller.listen(until, limit_s=40)
            assert "park" in (await caller.transcribe(answer.answer_pcm)).lower()

    run(scenario)
    stack.wait_ready(60)


def test_ears_killed_in_mid_call_hear_again(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            lines = ["What are your hours on Saturday?"]
            await caller.prepare(lines)
            stack.processes()["speech"][0].kill()
            await caller.ask(lines[0], limit_s=40)
            await asyncio.to_thread(stack.wait_ready, 60)
            answer = await caller.ask(lines[0], limit_s=40)
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert "nine" in words or "9" in words, words

    run(scenario)


def test_a_hung_language_model_is_admitted_and_the_caller_handed_over(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack, refer_policy=ReferPolicy()) as caller:
            line = "I am a little nervous about coming to see you."
            await caller.prepare([line])
            _freeze(stack.processes()["llm"][0])
            until = await caller.say(line)
            async with asyncio.timeout(40):
                await caller.call.ended.wait()
            words = (await caller.transcribe(caller.call.received_pcm(until))).lower()
            assert "think" in words, words
            assert "sorry" in words, words
            assert "person" in words, words
        assert stack.wait_ended(newest_call(stack))["end_reason"] == "transferred"

    run(scenario)
    stack.processes()["llm"][0].kill()
    stack.wait_ready(90)


def test_a_killed_language_model_is_back_before_the_caller_asks_again(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            stack.processes()["llm"][0].kill()
            answer = await caller.ask("I am a little nervous about coming to see you.", limit_s=40)
            assert await caller.transcribe(answer.answer_pcm)

    run(scenario)
    stack.wait_ready(90)


def test_records_written_while_control_is_dead_arrive_when_it_is_back(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            call_id = newest_call(stack)
            await caller.prepare(["What are your hours on Saturday?"])
            stack.processes()["control"][0].kill()
            await caller.ask("What are your hours on Saturday?")
        await asyncio.to_thread(stack.wait_ready, 60)
        turns = await asyncio.to_thread(stack.wait_rows, "turn", call_id, 2)
        assert any("saturday" in row["heard"].lower() for row in turns)
        assert stack.wait_ended(call_id)["end_reason"] == "caller_hangup"

    run(scenario)


def test_callers_are_told_when_the_owner_stops_landline(fragile: Stack) -> None:
    async def scenario() -> None:
        async with greeted(fragile) as caller:
            call_id = newest_call(fragile)
            stopping = asyncio.create_task(asyncio.to_thread(fragile.stop))
            asked_at = time.monotonic_ns()
            async with asyncio.timeout(25):
                await caller.call.ended.wait()
            assert await stopping == 0
            assert len(caller.call.received_pcm(asked_at)) > 8000
            (row,) = [row for row in fragile.calls() if row["call_id"] == call_id]
            assert row["end_reason"] == "shutdown"

    run(scenario)


def test_a_call_that_a_crash_cut_off_is_closed_as_interrupted(tmp_path: Path) -> None:
    stack = Stack(tmp_path, {})
    stack.start()
    try:

        async def scenario() -> None:
            async with greeted(stack):
                _crash(stack)

        run(scenario)
        stack.start()
        assert [row["end_reason"] for row in stack.calls()] == ["interrupted"]
    finally:
        stack.stop()


def _crash(stack: Stack) -> None:
    """Kill everything at once, as a power cut would."""
    assert stack._process is not None
    children = psutil.Process(stack._process.pid).children(recursive=True)
    stack._process.kill()
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=10)
    stack._process.wait()
    limit = time.monotonic() + 5
    while any(child.is_running() for child in children) and time.monotonic() < limit:
        time.sleep(0.05)
