"""What is put into the model's cache while nobody waits is the very beginning of what the next turn sends."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from models.action_format import chat_messages
from models.errors import WorkerUnavailable
from models.protocols import ChatRequest, Priority
from server.dialogue.engine import Limits
from server.dialogue.knowledge import Passage
from server.dialogue.replies import Heard, Role, Say
from tests.fakes.dialogue import ScriptedKnowledge, Talk
from tests.fakes.models import ScriptedLanguageModel

pytestmark = pytest.mark.anyio


async def test_the_next_request_begins_with_what_was_prefilled(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(["What a pity.", "", "I see."])
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm)
    await talk.say("It rains so much here.")
    await talk.dialogue.prefill()
    await talk.say("And it is so cold in the evening, my dog does not like it at all.")
    _, prefilled, asked = llm.requests
    assert len(prefilled.messages) > 2, "no history was prefilled"
    assert prefilled.messages[:-1] == asked.messages[:-1]
    assert prefilled.tools == asked.tools
    assert prefilled.max_tokens == 1


async def test_without_history_nothing_is_asked_of_the_model(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.sqlite3")
    await talk.dialogue.prefill()
    assert talk.llm.requests == []


async def test_a_model_that_is_away_does_not_disturb(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(["What a pity.", WorkerUnavailable("gone")])
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm)
    await talk.say("It rains so much here.")
    await talk.dialogue.prefill()


async def test_a_model_that_takes_its_time_is_covered_for(tmp_path: Path) -> None:
    gate = asyncio.Event()
    llm = ScriptedLanguageModel(["What a pity."], gate=gate)
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm, limits=Limits(filler_after_s=0.0))
    replies = talk.dialogue.respond(Heard("It rains so much here."), now=talk.now)
    first = await anext(replies)
    assert isinstance(first, Say)
    assert (first.text, first.role) == ("Let me think.", Role.FILLER)
    gate.set()
    rest = [item.text async for item in replies if isinstance(item, Say)]
    assert rest == ["What a pity."]
    assert llm.cancelled == 0


async def test_hanging_up_on_a_model_that_takes_its_time_cancels_it(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(["never"], gate=asyncio.Event())
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm, limits=Limits(filler_after_s=0.0))
    replies = talk.dialogue.respond(Heard("It rains so much here."), now=talk.now)
    await anext(replies)
    await replies.aclose()
    assert llm.cancelled == 1


WHOLE = "I was walking through the rain, and it is so cold in the evening, my dog does not like it at all."


def shared(prefilled: ChatRequest, asked: ChatRequest) -> str:
    """Return what both begin with, as the model reads it."""
    texts = [
        "".join(
            f"<{item['role']}>{item['content']}" for item in chat_messages(request.messages, request.tools)
        )
        for request in (prefilled, asked)
    ]
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    return "".join(one for one, _ in pairs)


@pytest.mark.parametrize("words", [1, 3, 8, 14])
async def test_the_words_heard_so_far_are_the_beginning_of_what_is_asked(tmp_path: Path, words: int) -> None:
    llm = ScriptedLanguageModel(["What a pity.", "", "I see."])
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm)
    await talk.say("It rains so much here.")
    partial = " ".join(WHOLE.split()[:words])
    await talk.dialogue.prefill(partial)
    await talk.say(WHOLE)
    _, prefilled, asked = llm.requests
    assert shared(prefilled, asked).endswith(partial)
    assert (prefilled.priority, prefilled.max_tokens) == (Priority.PARTIAL, 1)


async def test_a_question_is_prefilled_with_what_the_documents_say_of_it(tmp_path: Path) -> None:
    passage = Passage("The car park behind the clinic is free for two hours.", "parking.md", "Parking", 0.66)
    llm = ScriptedLanguageModel(["", "You can leave it behind the clinic."])
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm, knowledge=ScriptedKnowledge([passage]))
    await talk.dialogue.prefill("Is there somewhere to leave a vehicle")
    await talk.say("Is there somewhere to leave a vehicle during my visit?")
    assert shared(*llm.requests).endswith("Is there somewhere to leave a vehicle")
    assert passage.text in shared(*llm.requests)


@pytest.mark.parametrize(
    "partial",
    [
        "I'd like to book an appointment",
        "Where can I park",
        "Thank you",
        "I want to speak to a person",
        "I have chest pains",
        " ",
    ],
)
async def test_what_code_decides_is_not_prefilled(tmp_path: Path, partial: str) -> None:
    passage = Passage("You can park here for free.", "parking.md", "Parking", 0.66)
    talk = Talk(tmp_path / "clinic.sqlite3", knowledge=ScriptedKnowledge([passage]))
    await talk.dialogue.prefill(partial)
    assert talk.llm.requests == []


async def test_in_a_rehearsal_nothing_is_taken_and_no_tool_runs(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.sqlite3", llm=ScriptedLanguageModel(answer=lambda _: "I see."))
    ran: list[str] = []
    for name in ("opening_hours", "check_day", "check_time"):
        tool = talk.tools.get(name)
        assert tool is not None
        talk.tools._tools[name] = replace(tool, function=lambda *_, **__: ran.append("it ran"))  # type: ignore[arg-type]
    before = talk.dialogue.snapshot()
    for partial in (
        "Are you open on Saturday?",
        "Book an appointment for Tuesday at ten.",
        "It rains a lot.",
    ):
        await talk.dialogue.prefill(partial)
    assert ran == []
    assert talk.dialogue.snapshot() == before
    assert len(talk.llm.requests) == 1


async def test_the_same_words_are_prefilled_once_until_the_model_was_asked_for_more(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(answer=lambda _: "I see.")
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm)
    for _ in range(3):
        await talk.dialogue.prefill("It rains so")
    assert len(llm.requests) == 1
    await talk.dialogue.prefill("It rains so much")
    assert len(llm.requests) == 2
    await talk.say("It rains so much here.")
    talk.dialogue.undo_turn()
    await talk.dialogue.prefill("It rains so much")
    assert len(llm.requests) == 4


async def test_a_prefill_that_was_cancelled_is_done_again(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(answer=lambda _: "I see.", gate=asyncio.Event())
    talk = Talk(tmp_path / "clinic.sqlite3", llm=llm)
    running = asyncio.create_task(talk.dialogue.prefill("It rains so"))
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert llm.cancelled == 1
    llm.gate = None
    await talk.dialogue.prefill("It rains so")
    assert len(llm.requests) == 2


async def test_the_wait_for_a_filler_counts_from_the_end_of_speech(tmp_path: Path) -> None:
    gate = asyncio.Event()
    talk = Talk(tmp_path / "clinic.sqlite3", llm=ScriptedLanguageModel(["What a pity."], gate=gate))
    heard = Heard("It rains so much here.")
    silent_for_s = Limits().filler_after_s
    replies = talk.dialogue.respond(heard, now=talk.now, silent_for_s=silent_for_s)
    first = await anext(replies)
    assert isinstance(first, Say)
    assert first.role is Role.FILLER
    await replies.aclose()
