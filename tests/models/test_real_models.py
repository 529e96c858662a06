"""The real workers on real weights: real human speech, a real language model, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soxr

from models.errors import ModelError, WorkerUnavailable
from models.fetch import model_path, verify
from models.llm_client import LlmEndpoint
from models.model_store import FETCH_COMMAND
from models.protocols import (
    ChatMessage,
    ChatRequest,
    Priority,
    ReplyEnd,
    TextDelta,
    ToolCall,
    ToolExample,
    ToolSpec,
)
from models.speech_client import PiperClient, SpeechWorkerClient
from models.structured_actions import StructuredActions
from models.vad import SileroVad

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
PIPER_PYTHON = ROOT / ".venv-piper" / "bin" / "python"
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
CACHE = Path(os.environ.get("LANDLINE_CACHE_DIRECTORY", Path.home() / ".cache" / "landline")) / "models"
START_LIMIT_S = 90

SYSTEM = "You are the receptionist of Riverside Clinic on the telephone. Speak in one short plain sentence. The clinic is open Monday to Friday 8 a.m. to 6 p.m. and Saturday 9 a.m. to 1 p.m."
FIND = ToolSpec(
    "find_slots",
    "Find free appointment times on a day",
    {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
    (ToolExample("Is anything free on Thursday?", {"day": "Thursday"}),),
)
PERSON = ToolSpec(
    "transfer_to_person",
    "Hand over to a person",
    {"type": "object", "properties": {}},
    (ToolExample("Can I speak to someone?", {}),),
)


class Process:
    """A worker process with its lifeline."""

    def __init__(self, python: Path, module: str, config: dict[str, Any], folder: Path) -> None:
        self.log = folder / f"{module}.log"
        path = folder / f"{module}.json"
        path.write_text(json.dumps(config))
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [str(python), "-m", module, str(path)], stdin=subprocess.PIPE, stderr=log, cwd=ROOT
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not ready():
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def cut_lifeline(self) -> int:
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        return self.popen.wait(20)

    def kill(self) -> None:
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        self.popen.kill()
        self.popen.wait(20)


def speech_config(folder: Path) -> dict[str, Any]:
    return {
        "socket": str(folder / "speech.sock"),
        "stt_path": str(verify("whisper-base", CACHE)),
        "stt_name": "whisper-base",
        "embedding_path": str(verify("minilm", CACHE)),
        "embedding_name": "minilm",
        "turn_path": str(verify("smart-turn", CACHE)),
        "turn_name": "smart-turn",
    }


def tts_config(folder: Path) -> dict[str, Any]:
    return {"socket": str(folder / "tts.sock"), "voice_path": str(verify("joe", CACHE)), "voice_name": "joe"}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("speech")
    process = Process(Path(sys.executable), "models.speech_worker", speech_config(folder), folder)
    process.wait_until((folder / "speech.sock").exists)
    yield folder / "speech.sock"
    process.kill()


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tts")
    process = Process(PIPER_PYTHON, "models.piper_worker", tts_config(folder), folder)
    process.wait_until((folder / "tts.sock").exists)
    yield folder / "tts.sock"
    process.kill()


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("llm")
    name = "qwen2.5-coder-1.5b"
    ready = folder / "llm.ready"
    config = {"model_path": str(verify(name, CACHE)), "model_name": name, "port": 0, "ready_file": str(ready)}
    process = Process(Path(sys.executable), "models.llm_server", config, folder)
    process.wait_until(ready.exists)
    yield f"http://127.0.0.1:{json.loads(ready.read_text())['port']}/v1"
    process.kill()


def recordings() -> list[tuple[bytes, int, str]]:
    """LibriVox clips of Debian's pocketsphinx-testdata with what is said in them."""
    found = []
    for line in (LIBRIVOX / "transcription").read_text().splitlines():
        match = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip())
        assert match
        with wave.open(str(LIBRIVOX / f"{match[2]}.wav")) as clip:
            found.append((clip.readframes(clip.getnframes()), clip.getframerate(), match[1]))
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower().replace("mr.", "mister").replace("-", " "))


def errors(said: list[str], heard: list[str]) -> int:
    """Word errors: Levenshtein distance."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


async def spoken(tts: Path, text: str) -> tuple[bytes, int]:
    client = PiperClient(tts)
    chunks = [chunk async for chunk in client.synthesise(text)]
    await client.close()
    assert [chunk.final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return b"".join(chunk.pcm for chunk in chunks), chunks[0].rate_hz


@pytest.mark.package("pocketsphinx-testdata")
@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_human_speech_is_understood(speech: Path, rate_hz: int) -> None:
    async def scene() -> None:
        client = SpeechWorkerClient(speech)
        wrong = total = 0
        for pcm, recorded_hz, text in recordings():
            samples = soxr.resample(np.frombuffer(pcm, "<i2"), recorded_hz, rate_hz).astype("<i2")
            transcript = await client.transcribe(samples.tobytes(), rate_hz, priority=Priority.FINAL)
            wrong += errors(words(text), words(transcript.text))
            total += len(words(text))
            assert transcript.confidence > 0.5
        await client.close()
        assert wrong / total < 0.15

    run(scene)


@pytest.mark.package("pocketsphinx-testdata")
def test_utterances_at_once_are_not_mixed_up(speech: Path) -> None:
    async def scene() -> None:
        client = SpeechWorkerClient(speech)
        clips = recordings()
        transcripts = await asyncio.gather(*(client.transcribe(pcm, hz) for pcm, hz, _ in clips))
        await client.close()
        for transcript, (_, _, text) in zip(transcripts, clips, strict=True):
            assert errors(words(text), words(transcript.text)) <= len(words(text)) // 3

    run(scene)


def test_nothing_is_invented_where_nobody_speaks(speech: Path) -> None:
    async def scene() -> None:
        client = SpeechWorkerClient(speech)
        for level in (0, 30, 400):
            noise = np.random.default_rng(7).normal(0, level, 24000).astype("<i2")
            assert (await client.transcribe(noise.tobytes(), 8000)).text == ""
        await client.close()

    run(scene)


def test_what_is_spoken_is_understood_over_the_telephone(speech: Path, tts: Path) -> None:
    async def scene() -> None:
        pcm, rate_hz = await spoken(
            tts, "On Saturday the clinic is open from nine in the morning. Parking is free."
        )
        telephone = soxr.resample(np.frombuffer(pcm, "<i2"), rate_hz, 8000).astype("<i2")
        client = SpeechWorkerClient(speech)
        heard = words((await client.transcribe(telephone.tobytes(), 8000)).text)
        await client.close()
        # The voice draws new noise for every sentence, and a small recogniser may miss one word of it.
        missed = {"saturday", "clinic", "open", "morning", "parking", "free"} - set(heard)
        assert len(missed) <= 1, heard

    run(scene)


@pytest.mark.package("pocketsphinx-testdata")
def test_a_turn_is_scored_while_another_is_transcribed(speech: Path) -> None:
    async def scene() -> None:
        client = SpeechWorkerClient(speech)
        pcm, hz, _ = recordings()[0]
        transcript, *scores = await asyncio.gather(
            client.transcribe(pcm, hz), client.score(pcm, hz), client.score(pcm[: len(pcm) // 3 * 2], hz)
        )
        await client.close()
        assert transcript.text
        assert scores[0] > 0.5 > scores[1]

    run(scene)


def test_embeddings_put_what_is_meant_alike_side_by_side(speech: Path) -> None:
    async def scene() -> None:
        client = SpeechWorkerClient(speech)
        rows = await client.embed(
            ["When are you open?", "Opening hours on weekdays", "Where can I park my car?"]
        )
        await client.close()
        assert rows.shape == (3, client.dimensions)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert rows[0] @ rows[1] > rows[0] @ rows[2]

    run(scene)


@pytest.mark.package("pocketsphinx-testdata")
def test_speech_and_silence_are_told_apart_for_all_streams_at_once() -> None:
    vad = SileroVad(verify("silero-vad", CACHE))
    pcm, recorded_hz, _ = recordings()[0]
    clip = soxr.resample(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768, recorded_hz, 8000)
    windows = clip[: len(clip) // 256 * 256].reshape(-1, 256)
    states = np.stack([vad.initial_state()] * 3)
    heard = []
    for window in windows:
        batch = np.stack([window, np.zeros(256, np.float32), window]).astype(np.float32)
        probabilities, states = vad.probabilities(batch, states)
        heard.append(probabilities)
    table = np.array(heard)
    assert (table[:, 0] > 0.5).mean() > 0.6
    assert table[:, 1].max() < 0.3
    assert np.allclose(table[:, 0], table[:, 2], atol=1e-4)


def test_the_language_model_talks_and_acts(llm: str) -> None:
    async def scene() -> None:
        model = StructuredActions(LlmEndpoint(llm, first_token_timeout_s=60))
        system = ChatMessage("system", SYSTEM)

        async def ask(text: str) -> list[Any]:
            request = ChatRequest((system, ChatMessage("user", text)), (FIND, PERSON), slot=0)
            return [item async for item in model.reply(request)]

        hours = await ask("When are you open on Saturday?")
        assert sum(isinstance(item, TextDelta) for item in hours) > 3
        assert re.search(r"9|nine", "".join(item.text for item in hours if isinstance(item, TextDelta)))
        search = await ask("Do you have anything free on Wednesday?")
        call = search[0]
        assert isinstance(call, ToolCall)
        assert (call.name, str(call.arguments["day"]).lower()) == ("find_slots", "wednesday")
        end = search[-1]
        assert isinstance(end, ReplyEnd)
        # The system message was read once, for the first question.
        assert end.usage.prompt_tokens - end.usage.cached_tokens < 40
        await model.close()

    run(scene)


@pytest.mark.parametrize("words_read", [5, 200], ids=["while it talks", "while it reads"])
def test_a_cancelled_reply_frees_its_slot(llm: str, words_read: int) -> None:
    async def scene() -> None:
        model = StructuredActions(LlmEndpoint(llm, first_token_timeout_s=60))
        text = " ".join(f"{words_read}-{number}" for number in range(words_read)) + " Count to one hundred."
        request = ChatRequest(
            (ChatMessage("system", "Obey."), ChatMessage("user", text)), max_tokens=400, slot=1
        )

        async def consume() -> None:
            async with aclosing(model.reply(request)) as items:
                async for _ in items:
                    pass

        async with httpx.AsyncClient(base_url=llm.removesuffix("/v1"), trust_env=False) as http:

            async def busy() -> bool:
                slots = (await http.get("/slots")).json()
                return bool(slots[1]["is_processing"])

            task = asyncio.create_task(consume())
            while not await busy():
                assert not task.done()
                await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Reading 200 numbers takes far longer than this limit, so only a cancel can end it in time.
            async with asyncio.timeout(10):
                while await busy():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        await model.close()

    run(scene)


def test_a_worker_killed_in_mid_sentence_is_noticed_at_once(tmp_path: Path) -> None:
    process = Process(PIPER_PYTHON, "models.piper_worker", tts_config(tmp_path), tmp_path)
    process.wait_until((tmp_path / "tts.sock").exists)
    assert stat.S_IMODE((tmp_path / "tts.sock").stat().st_mode) == 0o600

    async def scene() -> None:
        client = PiperClient(tmp_path / "tts.sock")
        stream = client.synthesise("This is a rather long sentence about nothing at all. " * 20)
        await anext(stream)
        process.popen.send_signal(signal.SIGKILL)
        with pytest.raises(WorkerUnavailable):
            async for _ in stream:
                pass
        with pytest.raises(ModelError):
            await client.ping()
        await client.close()

    run(scene)
    process.kill()


def test_a_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    process = Process(PIPER_PYTHON, "models.piper_worker", tts_config(tmp_path), tmp_path)
    process.wait_until((tmp_path / "tts.sock").exists)
    assert process.cut_lifeline() == 0
    assert not (tmp_path / "tts.sock").exists()


def test_an_altered_voice_is_refused_by_name(tmp_path: Path) -> None:
    good = model_path("joe", CACHE)
    for file in good.parent.glob("*[!d]"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    voice = tmp_path / good.name
    damaged = bytearray(voice.read_bytes())
    damaged[1000] ^= 1
    voice.write_bytes(damaged)
    process = Process(
        PIPER_PYTHON, "models.piper_worker", {**tts_config(tmp_path), "voice_path": str(voice)}, tmp_path
    )
    assert process.popen.wait(60) == 2
    message = process.log.read_text().strip()
    assert f"{voice} is altered" in message
    assert FETCH_COMMAND in message
    assert len(message.splitlines()) == 1
    process.kill()
