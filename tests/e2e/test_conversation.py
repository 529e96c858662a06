"""Calls to the sample clinic over real SIP and RTP with real models."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest

from scripts.softphone import ReferPolicy
from scripts.stack import Stack
from tests.e2e.conversation import greeted, newest_call, ringing, run

pytestmark = pytest.mark.e2e


def test_the_greeting_says_that_a_machine_speaks(stack: Stack) -> None:
    async def scenario() -> None:
        async with ringing(stack) as caller:
            greeting = await caller.listen(0)
            words = (await caller.transcribe(greeting.answer_pcm)).lower()
            assert "clinic" in words, words
            assert any(word in words for word in ("automated", "machine", "assistant", "computer"))

    run(scenario)


def test_saturday_hours_are_answered_in_audible_words(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            answer = await caller.ask("What are your hours on Saturday?")
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert any(word in words for word in ("nine", "9")), words
            assert any(word in words for word in ("one", "1")), words

    run(scenario)


def test_a_question_is_answered_from_the_documents_with_its_source(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            answer = await caller.ask("Where can I park?")
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert "park" in words or "garage" in words, words
        turns = stack.wait_rows("turn", newest_call(stack), 2)
        assert any("parking" in str(source) for turn in turns for source in turn["sources"]), turns

    run(scenario)


def test_what_is_not_known_is_not_invented(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            answer = await caller.ask("How much is a train ticket to London?")
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert any(phrase in words for phrase in ("don't know", "do not know", "person", "can't help")), (
                words
            )

    run(scenario)


def test_an_appointment_that_was_booked_stands_in_the_database(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            lines = [
                "I would like to book an appointment next Wednesday at half past ten.",
                "My name is Susan Baker.",
            ]
            await caller.prepare([*lines, "Yes, please."])
            for line in lines:
                await caller.ask(line)
            confirmed = await caller.ask("Yes, please.")
            words = (await caller.transcribe(confirmed.answer_pcm)).lower()
            assert "wednesday" in words or "book" in words, words
        call_id = newest_call(stack)
        attempts = [row for row in stack.rows("tool_attempt", call_id) if row["tool"] == "book_appointment"]
        assert [row["outcome"] for row in attempts] == ["ok"], stack.rows("turn", call_id)
        for name, origin in attempts[0]["provenance"].items():
            assert origin["kind"] in ("utterance", "record", "confirmation"), name
            assert origin["quote"], name
        today = datetime.datetime.now().astimezone().date()
        with stack.agent_database() as database:
            rows = [dict(row) for row in database.execute("SELECT * FROM appointment")]
        booked = [row for row in rows if "baker" in str(row).lower() and "10:30" in str(row)]
        assert booked, rows
        days = {today + datetime.timedelta(days=n) for n in range(15)}
        assert any(day.isoformat() in str(booked) and day.weekday() == 2 for day in days), booked

    run(scenario)


def test_a_caller_who_speaks_over_the_agent_silences_it_and_is_answered(stack: Stack) -> None:
    async def scenario() -> None:
        async with ringing(stack) as caller:
            await caller.prepare(["Sorry, are you open on Sunday?"])
            heard = await caller.call.wait_for_audio(-45.0, 0, 10)
            await asyncio.sleep(1.5)
            until = await caller.say("Sorry, are you open on Sunday?")
            answer = await caller.listen(until)
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert "close" in words or "sunday" in words, words
            assert heard < until
        greeting = stack.wait_rows("turn", newest_call(stack), 1)[0]
        assert greeting["interrupted"]
        # History holds what was heard, not what was meant to be said.
        assert "how can i help" not in greeting["said"].lower()

    run(scenario)


def test_a_cough_over_the_agent_does_not_end_what_it_says(stack: Stack) -> None:
    async def scenario() -> None:
        async with ringing(stack) as caller:
            await caller.call.wait_for_audio(-45.0, 0, 10)
            await asyncio.sleep(0.8)
            await caller.call.say(_cough())
            await caller.call.wait_for_quiet(1500, 20)
        greeting = stack.wait_rows("turn", newest_call(stack), 1)[0]
        assert "how can i help" in greeting["said"].lower()
        assert not greeting["interrupted"]

    run(scenario)


def _cough() -> bytes:
    """Return 0.25 s of decaying noise, as a throat or a door makes it."""
    import numpy as np

    noise = np.random.default_rng(7).normal(0, 6000, 2000) * np.exp(-np.arange(2000) / 500)
    return np.clip(noise, -32768, 32767).astype("<i2").tobytes()


def test_silence_is_asked_about(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            prompt = await caller.listen(time.monotonic_ns(), limit_s=15)
            assert "there" in (await caller.transcribe(prompt.answer_pcm)).lower()

    run(scenario)


def test_zero_asks_for_a_person_who_takes_the_call(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack, refer_policy=ReferPolicy()) as caller:
            caller.call.press("0")
            async with asyncio.timeout(25):
                await caller.call.ended.wait()
        assert stack.wait_ended(newest_call(stack))["end_reason"] == "transferred"

    run(scenario)


def test_a_person_who_cannot_be_reached_is_spoken_of_and_the_call_goes_on(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack, refer_policy=ReferPolicy(status=486)) as caller:
            outcome = await caller.ask("Can I speak to a person, please?", limit_s=30)
            await caller.call.wait_for_quiet(3000, 30)
            words = (await caller.transcribe(caller.call.received_pcm(outcome.said_until_ns))).lower()
            assert any(phrase in words for phrase in ("nobody", "sorry", "free", "answer")), words
            answer = await caller.ask("What are your hours on Saturday?")
            assert "nine" in (await caller.transcribe(answer.answer_pcm)).lower().replace("9", "nine")

    run(scenario)


def test_goodbye_ends_the_call_from_our_side(stack: Stack) -> None:
    async def scenario() -> None:
        async with greeted(stack) as caller:
            await caller.say("That is all, thank you. Goodbye.")
            async with asyncio.timeout(25):
                await caller.call.ended.wait()
        assert stack.wait_ended(newest_call(stack))["end_reason"] == "completed"

    run(scenario)
