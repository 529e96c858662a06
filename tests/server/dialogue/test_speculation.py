"""A turn that may not be over is answered without a trace: taken back at any point, it has never been."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.protocols import ChatRequest, Priority
from server.dialogue.engine import fixed_phrases
from server.dialogue.knowledge import Passage
from server.dialogue.replies import EffectStarts, Expectation, Heard, Reply, Role, Say, ToolRan
from tests.fakes.dialogue import NOW, ScriptedKnowledge, Talk
from tests.fakes.models import Script, ScriptedLanguageModel, tool_call

pytestmark = pytest.mark.anyio

PARKING = Passage("The car park behind the clinic is free for two hours.", "parking.md", "Parking", 0.66)
LINES = (
    "I'd like to book an appointment.", "Next Tuesday.", "Half past ten.", "My name is Nora Peters.", "Yes please.",
    "No.", "The name is wrong.", "Cancel my appointment.", "Four eight two one.", "Maria Lopez.",
    "I need to move my appointment.", "Are you open on Saturday?", "Where can I park?",
    "Is there somewhere to leave a vehicle during my visit?", "It rains so much here.", "Oh dear, I am so unwell.",
    "Could you repeat that?", "Never mind.", "Hold on a second.", "Thank you.", "I want to talk to someone, please.",
    "What times do you have?", "Can you help me with my cough?", "On Tuesday at half past ten for Nora Peters.", "",
)  # fmt: skip
KEYS = ("1", "2", "0", "4", "#")
_turns = st.one_of(
    st.sampled_from(LINES).map(Heard), st.sampled_from(KEYS).map(lambda key: Heard(key, "dtmf"))
)
_number = itertools.count()


def answer(request: ChatRequest) -> Script:
    """What a model would do, the same for the same words."""
    said = request.messages[-1].content
    if "unwell" in said:
        return tool_call("book_appointment", {"day": "2026-12-01"})
    return "I am glad to hear that, and the car park is behind the clinic. Do call again."


def talk_at(folder: Path) -> Talk:
    folder.mkdir(exist_ok=True)
    return Talk(
        folder / f"clinic-{next(_number)}.db",
        llm=ScriptedLanguageModel(answer=answer),
        knowledge=ScriptedKnowledge([PARKING]),
    )


def bookings(database: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM appointment ORDER BY reference").fetchall()


async def begun(talk: Talk, heard: Heard, items: int) -> list[Reply]:
    """Take a turn's first items as a turn that is not committed is taken: nothing after an effect starts."""
    taken: list[Reply] = []
    async with aclosing(talk.dialogue.respond(heard, now=NOW, speculative=True)) as replies:
        while len(taken) < items:
            reply = await anext(replies, None)
            if reply is None:
                break
            taken.append(reply)
            if isinstance(reply, EffectStarts):
                break
    return taken


def timeless(replies: Sequence[Reply]) -> list[Reply]:
    return [replace(item, duration_ms=0.0) if isinstance(item, ToolRan) else item for item in replies]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(_turns, st.integers(0, 6)), min_size=1, max_size=9))
def test_a_turn_taken_back_at_any_point_has_never_been(
    tmp_path: Path, turns: list[tuple[Heard, int]]
) -> None:
    async def converse() -> None:
        talk, other = talk_at(tmp_path), talk_at(tmp_path)
        database = tmp_path / f"clinic-{next(_number) - 2}.db"
        for heard, items in turns:
            before, booked = talk.dialogue.snapshot(), bookings(database)
            waited_for, by_question = talk.dialogue.expects(), talk.dialogue.asks
            await begun(talk, heard, items)
            assert (talk.dialogue.expects(), talk.dialogue.asks) == (waited_for, by_question)
            talk.dialogue.undo_turn()
            assert talk.dialogue.snapshot() == before
            assert (talk.dialogue.expects(), talk.dialogue.asks) == (waited_for, by_question)
            assert bookings(database) == booked
            said = await talk.say(heard.text, source=heard.source)
            plain = await other.say(heard.text, source=heard.source)
            assert timeless(said.replies) == timeless(plain.replies)

    asyncio.run(converse())


async def test_nothing_before_the_effect_writes_and_asking_on_does(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    await talk.say_all("Book an appointment on Tuesday at half past ten for Nora Peters, please.")
    before = bookings(tmp_path / "clinic.db")
    replies = talk.dialogue.respond(Heard("Yes please."), now=NOW, speculative=True)
    async for reply in replies:
        if isinstance(reply, EffectStarts):
            break
    else:
        pytest.fail("no effect was announced")
    assert bookings(tmp_path / "clinic.db") == before
    talk.dialogue.commit_turn()
    rest = [item async for item in replies]
    assert isinstance(rest[0], ToolRan)
    assert len(bookings(tmp_path / "clinic.db")) == len(before) + 1


async def test_reads_run_in_a_turn_that_is_not_committed(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    taken = await begun(talk, Heard("Are you open on Saturday?"), 9)
    assert [item.tool for item in taken if isinstance(item, ToolRan)] == ["opening_hours"]


async def test_a_committed_turn_is_not_taken_back(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    await begun(talk, Heard("I'd like an appointment."), 1)
    talk.dialogue.commit_turn()
    after = talk.dialogue.snapshot()
    talk.dialogue.undo_turn()
    assert talk.dialogue.snapshot() == after
    assert talk.dialogue.expects() == Expectation("date_time")


async def test_a_turn_that_was_never_begun_takes_no_earlier_turn_with_it(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    await talk.say("I'd like an appointment.")
    before = talk.dialogue.snapshot()
    await talk.dialogue.respond(Heard("Tuesday."), now=NOW).aclose()
    talk.dialogue.undo_turn()
    assert talk.dialogue.snapshot() == before
    talk.dialogue.undo_turn()
    assert talk.dialogue.snapshot() == before


async def test_the_model_learns_whether_the_turn_may_still_go_on(tmp_path: Path) -> None:
    llm = ScriptedLanguageModel(answer=answer)
    talk = Talk(tmp_path / "clinic.db", llm=llm)
    await begun(talk, Heard("It rains so much here."), 1)
    talk.dialogue.undo_turn()
    replies = talk.dialogue.respond(Heard("It rains so much here."), now=NOW, speculative=True)
    talk.dialogue.commit_turn()
    await anext(replies)
    await replies.aclose()
    await talk.say("It rains so much here.")
    assert [asked.priority for asked in llm.requests] == [
        Priority.SPECULATIVE,
        Priority.FINAL,
        Priority.FINAL,
    ]


# ── what is waited for ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected", "by_question"),
    [
        ([], Expectation(), True),
        (["I'd like to book an appointment."], Expectation("date_time"), True),
        (["I'd like to book an appointment.", "Hold on a second."], Expectation("date_time"), False),
        (["I'd like to book an appointment.", "Next Tuesday."], Expectation("date_time"), True),
        (["I'd like to book an appointment on Tuesday at half past ten."], Expectation("name"), True),
        (["Book an appointment on Tuesday at half past ten for Nora Peters."], Expectation("yes_no"), True),
        (
            ["Book an appointment on Tuesday at half past ten for Nora Peters.", "No."],
            Expectation("open"),
            True,
        ),
        (["Please cancel my appointment."], Expectation("digits", 4), True),
        (["Can you help me with my cough?"], Expectation("yes_no"), True),
        (["Who won the football?"], Expectation("yes_no"), True),
        (["Thank you."], Expectation("open"), True),
        (["Are you open on Saturday?"], Expectation("open"), False),
    ],
    ids=lambda value: " / ".join(value) if isinstance(value, list) else None,
)
async def test_what_kind_of_answer_is_waited_for(
    tmp_path: Path, said: list[str], expected: Expectation, by_question: bool
) -> None:
    talk = Talk(tmp_path / "clinic.db")
    talk.dialogue.played(talk.dialogue.greeting())
    for text in said:
        await talk.say(text)
    assert talk.dialogue.expects() == expected
    assert talk.dialogue.asks is by_question


async def test_keys_already_pressed_are_not_waited_for_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    await talk.say("Please cancel my appointment.")
    await talk.say("4", source="dtmf")
    assert talk.dialogue.expects() == Expectation("digits", 3)


# ── which words may be kept as audio ─────────────────────────────────────────────────────────────


async def test_only_the_owners_own_words_may_be_kept(tmp_path: Path) -> None:
    talk = Talk(
        tmp_path / "clinic.db",
        llm=ScriptedLanguageModel(answer=answer),
        knowledge=ScriptedKnowledge([PARKING]),
    )
    own = {*fixed_phrases(talk.agent), *talk.tools.fixed_phrases(), PARKING.text}
    kept, made = 0, 0
    for text in (*LINES, "Where can I park?"):
        for item in (await talk.say(text)).replies:
            if isinstance(item, Say):
                assert item.cacheable == (item.text in own), item.text
                kept, made = kept + item.cacheable, made + (not item.cacheable)
    assert kept > 10
    assert made > 3


async def test_a_slow_tool_speaks_its_filler_before_it_runs(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "clinic.db")
    slow = talk.tools.get("book_appointment")
    assert slow is not None
    talk.tools._tools["book_appointment"] = replace(slow, slow=True, filler="I'm writing that down.")
    await talk.say("Book an appointment on Tuesday at half past ten for Nora Peters, please.")
    result = await talk.say("Yes please.")
    first, second = result.replies[:2]
    assert isinstance(first, Say)
    assert (first.text, first.role) == ("I'm writing that down.", Role.FILLER)
    assert second == EffectStarts("book_appointment")
