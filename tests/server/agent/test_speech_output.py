"""Speech output: clauses in, audio to a scripted door, marks back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.errors import WorkerRefused, WorkerUnavailable
from server.agent.lexicon import Lexicon
from server.agent.phrases import PhraseBook
from server.agent.speech_output import SpeechOutput
from server.dialogue.replies import Role
from sip import leg_protocol as leg
from tests.fakes.models import ScriptedTextToSpeech

MS = 1_000_000

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Door:
    """Takes audio and says what was played, in virtual time."""

    def __init__(
        self,
        tts: ScriptedTextToSpeech,
        directory: Path,
        *,
        rate_hz: int = 8000,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.now = 1000 * MS
        self.pcm: dict[int, int] = {}
        self.final: set[int] = set()
        self.arrived = asyncio.Event()
        self.done: list[int] = []
        self.audible: list[int] = []
        self.quiet: list[int] = []
        self.failed: list[int] = []
        self.phrases = PhraseBook(directory, voice="", rate_hz=rate_hz, lexicon=lexicon)
        self.output = SpeechOutput(
            1,
            rate_hz=rate_hz,
            tts=tts,
            phrases=self.phrases,
            voice="",
            send=self.take,
            clock=lambda: self.now,
            on_audible=lambda number, _content: self.audible.append(number),
            on_quiet=self.quiet.append,
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

    async def settled(self) -> None:
        """Let everything run that can run without a message."""
        for _ in range(200):
            await asyncio.sleep(0)

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


async def test_a_fixed_phrase_is_said_without_the_voice(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech()
    door = Door(tts, tmp_path)
    await door.phrases.render(["Hello."], tts)
    tts.spoken.clear()
    door.output.begin(1)
    await door.output.say("Hello.", Role.CONTENT)
    assert await door.whole(1) > 0
    assert tts.spoken == []


async def test_history_goes_by_where_words_end_and_not_by_their_number(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(aligned=True, silence_ms=100)
    door = Door(tts, tmp_path)
    door.output.begin(2)
    await door.output.say("a b c d extraordinarily long", Role.CONTENT)
    await door.whole(1)
    # Four letters and their spaces: 8 x 50 ms from the first sound, 10 ms of silence kept before it.
    door.mark(1, leg.MarkKind.PAUSED, (7 * 50 + 10) * 8)
    assert door.output.heard() == "a b c d"
    door.mark(1, leg.MarkKind.PAUSED, (10 * 50) * 8)
    assert door.output.heard() == "a b c d", "half of the clause's time, a third of its fifth word"
    door.mark(1, leg.MarkKind.STOPPED, (23 * 50 + 10) * 8)
    assert door.output.heard() == "a b c d extraordinarily"


@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_a_respelled_word_is_spoken_so_and_remembered_as_it_was_written(
    tmp_path: Path, rate_hz: int
) -> None:
    tts = ScriptedTextToSpeech(aligned=True)
    lexicon = Lexicon({"GP": "gee pee", "St. Mary's": "Saint Marys hospital"})
    door = Door(tts, tmp_path, rate_hz=rate_hz, lexicon=lexicon)
    door.output.begin(2)
    await door.output.say("Your GP, or St. Mary's.", Role.CONTENT)
    samples = await door.whole(1)
    assert tts.spoken == ["Your gee pee, or Saint Marys hospital."]
    ends = door.output.utterances()[0].ends
    assert len(ends) == 5
    assert ends[1] == pytest.approx(len("Your gee pee,") * 50 * rate_hz / 1000, abs=rate_hz // 100)
    assert ends[3] == ends[4] == pytest.approx(samples, abs=rate_hz // 100)
    door.mark(1, leg.MarkKind.STOPPED, ends[1])
    assert door.output.heard() == "Your GP,"


async def test_only_what_is_called_cacheable_is_kept_and_said_the_next_time_without_the_voice(
    tmp_path: Path,
) -> None:
    tts = ScriptedTextToSpeech(aligned=True)
    door = Door(tts, tmp_path)
    await door.phrases.render([], tts)
    for turn in (1, 2):
        door.output.begin(turn)
        await door.output.say("Parking is free.", Role.CONTENT, cacheable=True)
        await door.output.say("You are Mrs Miller.", Role.CONTENT)
        await door.whole(2 * turn)
    assert tts.spoken == ["Parking is free.", "You are Mrs Miller.", "You are Mrs Miller."]
    fresh, cached = (door.pcm[1], door.pcm[3])
    assert fresh == cached
    assert len(door.output.utterances()[0].ends) == 3
    assert door.phrases.find("You are Mrs Miller.") is None


async def test_a_cacheable_clause_that_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(ms_per_character=1000)
    door = Door(tts, tmp_path)
    await door.phrases.render([], tts)
    door.output.begin(1, held=True)
    await door.output.say("A clause of some thirty letters.", Role.CONTENT, cacheable=True)
    await door.settled()
    door.output.drop()
    await door.settled()
    assert door.phrases.find("A clause of some thirty letters.") is None


async def test_nothing_of_a_held_reply_is_sent_before_its_release_and_then_all_of_it_in_order(
    tmp_path: Path,
) -> None:
    tts = ScriptedTextToSpeech()
    door = Door(tts, tmp_path)
    door.output.begin(4, held=True)
    await door.output.say("From nine to one.", Role.CONTENT)
    await door.output.say("Anything else?", Role.CONTENT)
    door.output.close()
    await door.settled()
    assert tts.spoken == ["From nine to one.", "Anything else?"], "not made ready"
    assert door.pcm == {}
    said_at = door.now
    door.now += 300 * MS
    door.output.release()
    assert list(door.pcm) == [1, 2], "what was ready waits after the release"
    assert door.final == {1, 2}
    first = door.output.utterances()[0]
    assert (first.said_at, first.first_audio_at, first.released_at) == (said_at, said_at, door.now)
    door.mark(1, leg.MarkKind.STARTED)
    door.mark(1, leg.MarkKind.FINISHED, door.pcm[1])
    door.mark(2, leg.MarkKind.FINISHED, door.pcm[2])
    assert (door.audible, door.done) == ([4], [4])


async def test_a_held_reply_is_made_two_clauses_ahead_and_goes_on_when_released(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech()
    door = Door(tts, tmp_path)
    door.output.begin(4, held=True)
    for number in range(5):
        await door.output.say(f"Clause {number}.", Role.CONTENT)
    await door.settled()
    assert len(tts.spoken) == 2
    door.output.release()
    await door.whole(5)
    assert list(door.pcm) == [1, 2, 3, 4, 5]
    assert tts.spoken == [f"Clause {number}." for number in range(5)], "made twice"


async def test_a_held_reply_keeps_no_more_than_twenty_seconds(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(ms_per_character=1000)
    door = Door(tts, tmp_path)
    door.output.begin(4, held=True)
    await door.output.say("A clause of some thirty letters.", Role.CONTENT)
    await door.settled()
    held_s = door.output.utterances()[0].samples / 8000
    assert 20 <= held_s < 20 + 0.3
    door.output.release()
    assert await door.whole(1) == pytest.approx(32 * 8000, abs=80)


async def test_a_held_reply_that_is_dropped_is_never_heard_and_frees_the_voice(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(gate=asyncio.Event())
    door = Door(tts, tmp_path)
    door.output.begin(4, held=True)
    await door.output.say("Never heard.", Role.CONTENT)
    await door.settled()
    door.output.drop()
    await door.settled()
    assert tts.cancelled == ["Never heard."], "the synthesis goes on"
    assert tts.gate is not None
    tts.gate.set()
    door.output.release()
    door.output.begin(5)
    await door.output.say("Heard.", Role.CONTENT)
    await door.whole(2)
    assert list(door.pcm) == [2]
    assert door.output.heard() == ""


async def test_a_long_held_clause_that_is_dropped_frees_the_voice(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(ms_per_character=1000)
    door = Door(tts, tmp_path)
    door.output.begin(4, held=True)
    await door.output.say("A clause of some thirty letters.", Role.CONTENT)
    await door.settled()
    door.output.drop()
    await door.settled()
    assert tts.cancelled == ["A clause of some thirty letters."]


async def test_a_voice_that_fails_while_held_matters_only_if_the_reply_is_released(tmp_path: Path) -> None:
    door = Door(ScriptedTextToSpeech(failures=[WorkerRefused("bad", "no such voice")]), tmp_path)
    door.output.begin(2, held=True)
    await door.output.say("A sentence.", Role.CONTENT)
    await door.settled()
    assert door.failed == []
    door.output.release()
    await door.settled()
    assert door.failed == [2]


async def test_a_held_reply_without_words_is_done_when_it_is_released(tmp_path: Path) -> None:
    door = Door(ScriptedTextToSpeech(), tmp_path)
    door.output.begin(5, held=True)
    door.output.close()
    await door.settled()
    assert door.done == []
    door.output.release()
    assert door.done == [], "told in the midst of its owner's decision"
    await door.settled()
    assert door.done == [5]


async def test_what_is_said_after_the_release_counts_from_when_it_was_said(tmp_path: Path) -> None:
    door = Door(ScriptedTextToSpeech(), tmp_path)
    door.output.begin(5, held=True)
    await door.output.say("One.", Role.CONTENT)
    assert door.output.utterances()[0].released_at == 0
    door.now += 5 * MS
    door.output.release()
    door.now += 5 * MS
    await door.output.say("Two.", Role.CONTENT)
    await door.whole(2)
    one, two = door.output.utterances()
    assert (two.released_at - one.released_at, two.released_at) == (5 * MS, two.said_at)
