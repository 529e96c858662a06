"""Whole calls in virtual time: what is heard when, what takes effect when, and what the records say of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.protocols import Priority
from server.agent.ledger import STAGES
from server.turns.trace import replay
from sip import leg_protocol as leg
from tests.fakes.models import ScriptedLanguageModel
from tests.fakes.virtual_call import MS, VirtualCall, calling
from tests.fakes.virtual_loop import run_virtually

FIXED = "Are you a machine?"
FREE = "I am a little nervous about coming to see you."
WORDS = "That is quite all right. We take all the time you need."


def talker(*replies: str) -> ScriptedLanguageModel:
    return ScriptedLanguageModel(
        answer=lambda request: "" if request.max_tokens <= 1 else (replies or (WORDS,))[0]
    )


def test_an_answer_comes_one_tick_after_the_silence_it_waits_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, endpointing="fixed", endpoint_silence_ms=400) as call:
            said_at = await call.say(FIXED)
            heard_at = await call.wait_for_sound()
            assert 400 <= (heard_at - said_at) / MS <= 400 + 60

    run_virtually(scenario)


def test_nothing_is_heard_of_a_prepared_reply_before_the_turn_is_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker(), endpointing="fixed", endpoint_silence_ms=900) as call:
            before, spoken = len(call.played()), len(call.tts.spoken)
            said_at = await call.say(FREE)
            await call.wait(800)
            assert len(call.tts.spoken) > spoken, "its first clause is synthesised already"
            assert len(call.played()) == before, "and nothing of it was sent"
            heard_at = await call.wait_for_sound()
            assert (heard_at - said_at) / MS <= 900 + 60
            await call.wait_for_quiet()
            (row,) = [row for row in call.journal.of("turn") if row["heard"] == FREE]
            assert row["ledger"]["speculation"] == 1
            assert row["ledger"]["words"] == row["ledger"]["voice"] == 0

    run_virtually(scenario)


def test_a_filler_is_not_said_where_the_answer_is_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        llm = talker()
        llm.gate = gate
        async with calling(tmp_path, llm=llm, endpointing="fixed", endpoint_silence_ms=3_000) as call:
            said_at = await call.say(FREE)
            await call.wait(2_600)
            assert call.agent.phrases.thinking in [u.text for u in call.session._output.utterances()]
            gate.set()
            heard_at = await call.wait_for_sound()
            assert (heard_at - said_at) / MS <= 3_000 + 60
            await call.wait_for_quiet()
            row = call.journal.of("turn")[-1]
            assert row["said"] == WORDS
            assert "filler_gap" not in row["ledger"]

    run_virtually(scenario)


def test_who_goes_on_is_answered_once_and_as_a_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker(), endpointing="fixed", endpoint_silence_ms=900) as call:
            await call.say("I am a little")
            await call.wait(600)
            known = len(call.wire)
            await call.say(FREE)
            await call.wait(600)
            assert len(call.wire) == known
            await call.wait_for_sound()
            await call.wait_for_quiet()
            (row,) = [row for row in call.journal.of("turn") if row["heard"]]
            assert row["heard"] == FREE
            assert row["ledger"]["speculation_misses"] == 1
            assert row["ledger"]["wasted_stt_ms"] >= 200

    run_virtually(scenario)


def test_no_appointment_is_written_while_the_caller_may_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, endpointing="fixed", endpoint_silence_ms=900) as call:
            for line in (
                "I would like to book an appointment.",
                "Next Tuesday at half past ten.",
                "Peter Miller.",
            ):
                await call.say(line)
                await call.wait_for_sound()
                await call.wait_for_quiet(1200)
            await call.say("Yes, please.")
            await call.wait(800)
            assert not [row for row in call.journal.of("tool") if row["tool"] == "book_appointment"]
            await call.wait_for_sound()
            await call.wait_for_quiet()
            (row,) = [row for row in call.journal.of("tool") if row["tool"] == "book_appointment"]
            assert row["outcome"] == "ok"

    run_virtually(scenario)


async def interrupted(call: VirtualCall, text: str, ms: int = 500) -> str:
    """Ask for something long, speak over it, and return what the records say was said of it."""
    await call.say(FREE)
    await call.wait_for_sound()
    await call.wait(900)
    await call.say(text, ms=ms)
    await call.wait_for_quiet(1500)
    said: str = next(row["said"] for row in call.journal.of("turn") if row["heard"] == FREE)
    return said


def test_history_holds_what_was_played_and_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker()) as call:
            said = await interrupted(call, "Sorry, where can I park?")
            assert WORDS.startswith(said)
            assert 0 < len(said.split()) < len(WORDS.split())

    run_virtually(scenario)


@pytest.mark.parametrize("sign", ["Mm-hmm.", ""], ids=["backchannel", "cough"])
def test_after_a_sign_or_a_cough_all_of_it_is_said(tmp_path: Path, sign: str) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker()) as call:
            assert await interrupted(call, sign, ms=240) == WORDS

    run_virtually(scenario)


def test_playout_is_paused_within_a_few_ticks_of_the_callers_first_sound(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker()) as call:
            await call.say(FREE)
            await call.wait_for_sound()
            await call.wait(900)
            began = call.now()
            await call.say("Sorry, where can I park?", ms=400)
            assert (call.wire[-1][0] - began) / MS <= 140

    run_virtually(scenario)


def test_the_ledger_sums_to_the_wire(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker()) as call:
            for line in (FIXED, FREE, FIXED):
                said_at = await call.say(line)
                heard_at = await call.wait_for_sound()
                await call.wait_for_quiet()
                row = call.journal.of("turn")[-1]
                assert sum(row["ledger"][stage] for stage in STAGES) == row["ledger"]["gap"]
                assert abs((heard_at - said_at) / MS - row["ledger"]["gap"]) <= 20

    run_virtually(scenario)


def test_a_voice_that_dies_while_a_reply_is_prepared_is_met_when_it_is_needed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker(), endpointing="fixed", endpoint_silence_ms=900) as call:
            from models.errors import ModelError

            call.tts.failures = [ModelError("gone")] * 3
            await call.say(FREE)
            await call.wait(700)
            known = len(call.wire)
            assert not [m for m in call.sent if isinstance(m, leg.HangUp)]
            await call.wait(3_000)
            assert len(call.wire) > known, "an honest sentence, rendered at start"

    run_virtually(scenario)


def test_a_final_transcript_waits_for_nobody_when_the_models_are_busy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path) as call:
            room = call.session._services.head_room
            room.calls(3, call.now())
            for _ in range(40):
                room.began("stt", Priority.FINAL, call.now())
                await call.wait(200)
                room.ended("stt", Priority.FINAL, 900, 190, call.now())
            assert not room.allows(Priority.SPECULATIVE, call.now())
            call.stt.asked.clear()
            await call.say(FIXED)
            await call.wait_for_sound()
            assert call.stt.asked == [Priority.FINAL]

    run_virtually(scenario)


def test_a_trace_of_the_call_replays_to_the_same_decisions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calling(tmp_path, llm=talker(), trace=tmp_path / "traces") as call:
            await interrupted(call, "Sorry, where can I park?")

    run_virtually(scenario)
    (trace,) = (tmp_path / "traces").iterdir()
    kinds = [type(o).__name__ for step in replay(trace.read_text().splitlines()) for o in step.outputs]
    assert {"Greet", "ScoreTurn", "Transcribe", "PausePlayout", "CancelReply", "StartReply"} <= set(kinds)
