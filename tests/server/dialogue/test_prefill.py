"""What is put into the model's cache while nobody waits is the very beginning of what the next turn sends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.errors import WorkerUnavailable
from server.dialogue.engine import Limits
from server.dialogue.replies import Heard, Role, Say
from tests.fakes.dialogue import Talk
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
