"""An agent that hears itself over real SIP and RTP, with real models."""

from __future__ import annotations

import asyncio

import pytest

from scripts.caller import Telephone
from scripts.softphone import Feedback
from scripts.stack import Stack
from tests.e2e.caller_lines import recorded
from tests.e2e.conversation import newest_call, run

pytestmark = pytest.mark.e2e

QUESTION = "Sorry, are you open on Sunday?"


def test_an_agent_that_hears_itself_speaks_to_the_end_and_still_hears_a_caller(stack: Stack) -> None:
    async def scenario() -> None:
        telephone = await Telephone.start(stack.run_directory)
        telephone.phone.feedback = Feedback(gain_db=-10, delay_ms=150)
        telephone.recordings = {QUESTION: recorded(QUESTION)}
        try:
            caller = await telephone.ring(stack.uri)
            await caller.listen(0)
            greeting = stack.wait_rows("turn", newest_call(stack), 1)[0]
            assert not greeting["interrupted"]
            assert "how can i help" in greeting["said"].lower()
            # Nothing of it was taken for a caller's words, so that nothing but the question is answered.
            answer = await caller.ask(QUESTION)
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert "close" in words or "sunday" in words, words
            await caller.call.hang_up()
        finally:
            await telephone.close()
        turns = stack.wait_rows("turn", newest_call(stack), 2)
        assert [turn["heard"] != "" for turn in turns] == [False, True], turns

    run(scenario)


def test_a_caller_silences_an_agent_that_hears_itself(stack: Stack) -> None:
    async def scenario() -> None:
        telephone = await Telephone.start(stack.run_directory)
        telephone.phone.feedback = Feedback(gain_db=-10, delay_ms=150)
        telephone.recordings = {QUESTION: recorded(QUESTION)}
        try:
            caller = await telephone.ring(stack.uri)
            await caller.call.wait_for_audio(-45.0, 0, 10)
            await asyncio.sleep(1.5)
            answer = await caller.listen(await caller.say(QUESTION))
            words = (await caller.transcribe(answer.answer_pcm)).lower()
            assert "close" in words or "sunday" in words, words
            await caller.call.hang_up()
        finally:
            await telephone.close()
        greeting = stack.wait_rows("turn", newest_call(stack), 1)[0]
        assert greeting["interrupted"]
        assert "how can i help" not in greeting["said"].lower()

    run(scenario)
