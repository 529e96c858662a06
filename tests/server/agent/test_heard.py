"""What a caller heard of an answer that was cut off: the agent's account against a recogniser's, on real weights."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.speech_client import PiperClient, SpeechWorkerClient
from server.agent.lexicon import Lexicon
from server.agent.phrases import PhraseBook
from server.agent.speech_output import SpeechOutput
from server.dialogue.replies import Role
from sip import leg_protocol as leg
from tests.models.test_real_models import PIPER_PYTHON, Process, errors, speech_config, tts_config

pytestmark = pytest.mark.model

RATE_HZ = 8000
CUTS = 12
"""A sentence."""
DIGITS = {"eight": "8", "six": "6", "twelve": "12"}
SENTENCES = (
    "We are open from eight in the morning to six in the evening on weekdays.",
    "You can park behind the building, and the first hour is free.",
    "Please bring your insurance card and a list of the medicines you take.",
    "The doctor will see you in the second room on the left.",
    "I have found your appointment, would you like to change the time?",
    "Children under twelve need to come with a parent or a guardian.",
    "If the pain gets worse during the night, please call the emergency number.",
    "Yes, of course, I can move it to Thursday afternoon instead.",
)


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("heard")
    tts = Process(PIPER_PYTHON, "models.piper_worker", tts_config(folder), folder)
    speech = Process(Path(sys.executable), "models.speech_worker", speech_config(folder), folder)
    tts.wait_until((folder / "tts.sock").exists)
    speech.wait_until((folder / "speech.sock").exists)
    yield folder
    tts.kill()
    speech.kill()


class Ear:
    """Takes all audio of a leg."""

    def __init__(self, tts: PiperClient, phrases: PhraseBook) -> None:
        self.pcm = b""
        self.whole = asyncio.Event()
        self.output = SpeechOutput(
            1,
            rate_hz=RATE_HZ,
            tts=tts,
            phrases=phrases,
            voice="",
            send=self.take,
            clock=lambda: 1,
            on_audible=lambda _number, _content: None,
            on_quiet=lambda _: None,
            on_done=lambda _: None,
            on_failure=lambda turn: pytest.fail(f"no voice in turn {turn}"),
        )

    def take(self, message: leg.AgentMessage) -> None:
        assert isinstance(message, leg.Play)
        self.pcm += message.pcm
        if message.final:
            self.whole.set()

    async def listen(self, text: str) -> bytes:
        self.pcm = b""
        self.whole.clear()
        self.output.begin(1)
        await self.output.say(text, Role.CONTENT)
        async with asyncio.timeout(30):
            await self.whole.wait()
        return self.pcm

    def account(self, samples: int) -> str:
        """What the agent says was heard when playout stops after ``samples``."""
        (utterance,) = self.output.utterances()
        utterance.played = samples
        return self.output.heard()


def plain(text: str) -> list[str]:
    """Words without case and punctuation; the recogniser writes numbers as digits."""
    return [DIGITS.get(word, word) for word in re.findall(r"[a-z0-9]+", text.lower())]


def words_off(text: str, account: str, transcript: str) -> int:
    """By how many words the account goes beyond what the transcript covers of the text.

    Where a word at the end was half heard, the transcript leaves open whether it is one: then the nearer count is meant.
    """
    said, heard, accounted = plain(text), plain(transcript), len(plain(account))
    distances = [errors(said[:count], heard) for count in range(len(said) + 1)]
    covered = [count for count, distance in enumerate(distances) if distance == min(distances)]
    return accounted - min(covered, key=lambda count: abs(count - accounted))


@pytest.mark.parametrize("source", ["voice", "phrase book"])
def test_what_was_heard_of_a_cut_answer_is_known_within_one_word(
    sockets: Path, tmp_path: Path, source: str
) -> None:
    chance = random.Random(20)
    off: list[int] = []

    async def scene() -> None:
        tts = PiperClient(sockets / "tts.sock")
        stt = SpeechWorkerClient(sockets / "speech.sock")
        phrases = PhraseBook(tmp_path, voice="", rate_hz=RATE_HZ)
        if source == "phrase book":
            await phrases.render(SENTENCES, tts)
            phrases = PhraseBook(tmp_path, voice="", rate_hz=RATE_HZ)  # as the next start reads them
            await phrases.render(SENTENCES, tts)
        ear = Ear(tts, phrases)
        for text in SENTENCES:
            pcm = await ear.listen(text)
            for _ in range(CUTS if source == "voice" else 4):
                cut = chance.randrange(RATE_HZ // 4, len(pcm) // 2)
                transcript = await stt.transcribe(pcm[: 2 * cut] + bytes(RATE_HZ), RATE_HZ)
                account = ear.account(cut)
                off.append(words_off(text, account, transcript.text))
                if abs(off[-1]) > 1:
                    print(f"{off[-1]:+d} words after {cut / RATE_HZ:.2f} s: {account!r}, {transcript.text!r}")
        ear.output.drop()
        await tts.close()
        await stt.close()

    asyncio.run(scene())
    within = sum(abs(difference) <= 1 for difference in off) / len(off)
    print(
        f"{source}: within one word {within:.1%} of {len(off)}, exact {off.count(0) / len(off):.1%},",
        sorted(off),
    )
    assert within >= 0.95, sorted(off)


def test_a_respelled_name_is_heard_as_it_is_written(sockets: Path, tmp_path: Path) -> None:
    async def scene() -> None:
        tts = PiperClient(sockets / "tts.sock")
        lexicon = Lexicon({"Siobhan": "Shivawn", "Nguyen Clinic": "[[wˈɪn klˈɪnɪk]]"})
        ear = Ear(tts, PhraseBook(tmp_path, voice="", rate_hz=RATE_HZ, lexicon=lexicon))
        text = "Siobhan works at the Nguyen Clinic, on Mondays."
        pcm = await ear.listen(text)
        (utterance,) = ear.output.utterances()
        assert len(utterance.ends) == len(text.split())
        assert list(utterance.ends) == sorted(utterance.ends)
        assert 0 < utterance.ends[-1] <= len(pcm) // 2
        assert ear.account(utterance.ends[0]) == "Siobhan"
        assert ear.account(utterance.ends[5]) == "Siobhan works at the Nguyen Clinic,"
        ear.output.drop()
        await tts.close()

    asyncio.run(scene())


def test_a_dropped_answer_frees_the_voice_within_a_fraction_of_its_length(
    sockets: Path, tmp_path: Path
) -> None:
    async def scene() -> None:
        tts = PiperClient(sockets / "tts.sock")
        ear = Ear(tts, PhraseBook(tmp_path, voice="", rate_hz=RATE_HZ))
        loop = asyncio.get_running_loop()
        await ear.listen("Hello.")
        begun = loop.time()
        await ear.listen(SENTENCES[0])
        whole_s = loop.time() - begun
        waits = []
        for _ in range(5):
            ear.output.begin(1)
            # Twenty sentences: far more than is made before the drop.
            await ear.output.say(" ".join(SENTENCES[:1] * 20), Role.CONTENT)
            while not ear.output.utterances()[0].samples:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            dropped = loop.time()
            ear.output.drop()
            await anext(tts.synthesise("Yes."))
            waits.append(loop.time() - dropped)
        print(f"one sentence {1000 * whole_s:.0f} ms; from drop to the next clause's first audio {waits}")
        assert sorted(waits)[2] < 2 * whole_s
        await tts.close()

    asyncio.run(scene())
