"""Speech output: clauses in, audio to a scripted door, marks back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.errors import WorkerRefused, WorkerUnavailable
from server.agent.phrases import PhraseBook
from server.agent.speech_output import SpeechOutput
from server.dialogue.replies import Role
from sip import leg_protocol as leg
from tests.fakes.models import ScriptedTextToSpeech

MS = 1_000_000


class Door:
    """Takes audio and says what was played, in virtual time."""

    def __init__(self, tts: ScriptedTextToSpeech, directory: Path) -> None:
        self.now = 1000 * MS
        self.pcm: dict[int, int] = {}
        self.final: set[int] = set()
        self.arrived = asyncio.Event()
        self.done: list[int] = []
        self.audible: list[int] = []
        self.failed: list[int] = []
        self.phrases = PhraseBook(directory, voice="", rate_hz=8000)
        self.output = SpeechOutput(
            1,
            rate_hz=8000,
            tts=tts,
            phrases=self.phrases,
            voice="",
            send=self.take,
            clock=lambda: self.now,
            on_audible=self.audible.append,
            on_done=self.done.append,
            on_failure=lambda turn: (self.failed.append(turn), self.arrived.set()),  # type: ignore[func-returns-value, arg-type]
        )

    def take(self, message: leg.AgentMessage) -> None:
        assert isinstance(message, leg.Play)
        self.pcm[message.utterance_id] = self.pcm.get(message.utterance_id, 0) + len(message.pcm) // 2
        if message.final:
            assert message.utterance_id not in self.final, "two ends of one utterance"
            self.final.add(message.utterance_id)
            self.arrived.set()

    async def whole(self, utterance_id: int) -> int:
        """Wait until an utterance is complete; return its samples."""
        async with asyncio.timeout(10):
            while utterance_id not in self.final and not self.failed:
                await self.arrived.wait()
                self.arrived.clear()
        return self.pcm[utterance_id]

    def mark(self, utterance_id: int, kind: leg.MarkKind, played: int = 0) -> None:
        self.output.on_mark(leg.Mark(1, utterance_id, kind, played, self.now))


def test_clauses_are_spoken_in_order_and_the_reply_is_done_when_all_was_played(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(ScriptedTextToSpeech(), tmp_path)
        door.output.begin(3)
        await door.output.say("Saturday from nine to one.", Role.CONTENT)
        await door.output.say("Anything else?", Role.CONTENT)
        door.output.close()
        first, second = await door.whole(1), await door.whole(2)
        assert first == pytest.approx(len("Saturday from nine to one.") * 50 * 8, abs=80)
        door.mark(1, leg.MarkKind.STARTED)
        assert door.audible == [3]
        door.mark(1, leg.MarkKind.FINISHED, first)
        assert door.done == []
        assert door.output.heard() == "Saturday from nine to one."
        door.mark(2, leg.MarkKind.FINISHED, second)
        assert door.done == [3]
        assert door.output.heard() == "Saturday from nine to one. Anything else?"

    asyncio.run(scenario())


def test_history_holds_what_was_played_and_not_what_was_generated(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(ScriptedTextToSpeech(), tmp_path)
        door.output.begin(2)
        await door.output.say("one two three four five six seven eight nine ten", Role.CONTENT)
        await door.output.say("never heard", Role.CONTENT)
        samples = await door.whole(1)
        await door.whole(2)
        door.mark(1, leg.MarkKind.STARTED)
        door.mark(1, leg.MarkKind.PAUSED, samples // 2)
        assert door.output.heard() == "one two three four five"
        door.output.drop()
        door.mark(1, leg.MarkKind.STOPPED, samples // 2)
        door.mark(2, leg.MarkKind.STOPPED, 0)
        assert door.done == [], "a reply that was dropped is not done"

    asyncio.run(scenario())


def test_what_was_played_is_estimated_where_no_mark_has_said_so_yet(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(ScriptedTextToSpeech(), tmp_path)
        door.output.begin(2)
        await door.output.say("one two three four", Role.CONTENT)
        samples = await door.whole(1)
        door.mark(1, leg.MarkKind.STARTED)
        door.now += samples // 8 * MS // 2
        door.output.settle(door.now)
        assert door.output.heard() == "one two"

    asyncio.run(scenario())


def test_a_voice_that_dies_in_mid_clause_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        tts = ScriptedTextToSpeech(failures=[WorkerUnavailable("gone")])
        door = Door(tts, tmp_path)
        door.output.begin(2)
        await door.output.say("A sentence.", Role.CONTENT)
        assert await door.whole(1) == pytest.approx(len("A sentence.") * 50 * 8, abs=80)
        assert tts.spoken == ["A sentence."] * 2

    asyncio.run(scenario())


def test_a_voice_that_refuses_is_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(ScriptedTextToSpeech(failures=[WorkerRefused("bad", "no such voice")]), tmp_path)
        door.output.begin(2)
        await door.output.say("A sentence.", Role.CONTENT)
        async with asyncio.timeout(5):
            await door.arrived.wait()
        assert door.failed == [2]

    asyncio.run(scenario())


def test_a_reply_without_words_is_done_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(ScriptedTextToSpeech(), tmp_path)
        door.output.begin(5)
        door.output.close()
        assert door.done == [5]

    asyncio.run(scenario())


def test_fixed_phrases_are_rendered_once_and_need_no_voice_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        tts = ScriptedTextToSpeech()
        first = Door(tts, tmp_path)
        await first.phrases.render(["Hello.", "Goodbye.", "Hello."], tts)
        assert tts.spoken == ["Hello.", "Goodbye."]
        second = Door(tts, tmp_path)
        await second.phrases.render(["Hello."], tts)
        second.output.begin(1)
        await second.output.say("Hello.", Role.CONTENT)
        assert await second.whole(1) > 0
        assert tts.spoken == ["Hello.", "Goodbye."], "rendered again"

    asyncio.run(scenario())
    assert len(list(tmp_path.iterdir())) == 1, "a phrase that is no longer said is kept"
