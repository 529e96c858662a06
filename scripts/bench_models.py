"""Measures every model worker on this machine and prints one table: ``python scripts/bench_models.py``.

Starts the real workers on the real weights of the cache; needs about two minutes and two idle cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import soxr

from models.fetch import verify
from models.llm_client import LlmEndpoint
from models.llm_gate import GatedModel
from models.protocols import ChatMessage, ChatRequest, LanguageModel, Priority, ReplyEnd, TextDelta, ToolSpec
from models.speech_client import PiperClient, SpeechWorkerClient
from models.structured_actions import StructuredActions
from models.vad import SileroVad
from server.agent.pinned_model import PinnedModel
from server.dialogue.agent_file import load_agent
from server.dialogue.engine import Dialogue, Services
from server.dialogue.knowledge import NoKnowledge
from server.dialogue.replies import Heard, Role, Say
from server.dialogue.tools import open_tools
from server.warm_prefix import system_message

ROOT = Path(__file__).parents[1]
CLIPS = Path("/usr/share/pocketsphinx/test/data/librivox")
LLM = "qwen2.5-coder-1.5b"
START_LIMIT_S = 120
RULES = "Speak in short plain sentences, never read out links, and keep to what the caller asked about."
CLINIC = ROOT / "server" / "samples" / "clinic"
REMARKS = (
    "I am a little nervous about coming to see you tomorrow.",
    "My daughter has lost her favourite toy on the way this morning.",
    "It is so very hot outside and I walked the whole way.",
    "I'm calling from my car, so it may be a bit loud here.",
    "My dog ran away this morning and I could not find him.",
)
"""What only the language model can answer."""
UNHEARD_WORDS = 3
"""Last words of a turn that no partial transcript held."""
TOOL = ToolSpec("end_call", "End the call", {"type": "object", "properties": {}})


def row(what: str, values_s: Sequence[float], note: str = "") -> None:
    """Print one line: median and largest, in milliseconds."""
    ordered = sorted(values_s)
    print(
        f"{what:<46}{statistics.median(ordered) * 1000:>9.0f}{ordered[-1] * 1000:>9.0f}  {note}", flush=True
    )


@contextmanager
def worker(python: Path, module: str, config: dict[str, Any], ready: Path) -> Iterator[psutil.Process]:
    """Run a worker until the block ends, and print what it took to start and how much memory it holds."""
    path = ready.with_suffix(".json")
    path.write_text(json.dumps(config))
    began = time.monotonic()
    process = subprocess.Popen(
        [str(python), "-m", module, str(path)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        while not ready.exists():
            if process.poll() is not None or time.monotonic() - began > START_LIMIT_S:
                sys.exit(f"{module} did not start; run it by hand: {python} -m {module} {path}")
            time.sleep(0.05)
        row(f"{module}: start to ready", [time.monotonic() - began])
        handle = psutil.Process(process.pid)
        yield handle
        print(f"{module}: resident {handle.memory_info().rss / 2**20:.0f} MiB", flush=True)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        process.wait(20)


def vad(cache: Path) -> None:
    """One window for 1 and for 32 streams."""
    model = SileroVad(verify("silero-vad", cache))
    for streams in (1, 32):
        states = np.stack([model.initial_state()] * streams)
        windows = np.zeros((streams, 256), np.float32)
        times = []
        for _ in range(50):
            began = time.perf_counter()
            _, states = model.probabilities(windows, states)
            times.append(time.perf_counter() - began)
        row(f"VAD, one window of {streams} streams", times)


def recordings() -> list[bytes]:
    """Human speech of 2, 3 and 4 s at 8 kHz."""
    clips = []
    for path in sorted(CLIPS.glob("*.wav")):
        with wave.open(str(path)) as clip:
            samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2")
            telephone = soxr.resample(samples, clip.getframerate(), 8000).astype("<i2")
        clips += [telephone[: seconds * 8000].tobytes() for seconds in (2, 3, 4)]
    return clips


async def stt(socket: Path, clips: Sequence[bytes]) -> None:
    """One utterance alone, two at once, one turn scored, one question embedded."""
    client = SpeechWorkerClient(socket)
    alone, together, embed, turn = [], [], [], []
    for clip in clips:
        began = time.monotonic()
        await client.transcribe(clip, 8000)
        alone.append(time.monotonic() - began)
    for first, second in zip(clips[::2], clips[1::2], strict=False):
        began = time.monotonic()
        await asyncio.gather(client.transcribe(first, 8000), client.transcribe(second, 8000))
        together.append(time.monotonic() - began)
    for _ in range(10):
        began = time.monotonic()
        await client.embed(["When are you open on Saturday?"])
        embed.append(time.monotonic() - began)
    for clip in clips:
        began = time.monotonic()
        await client.score(clip, 8000)
        turn.append(time.monotonic() - began)
    await client.close()
    row("STT, 2 to 4 s of speech", alone, f"n={len(alone)}")
    row("STT, two at once, both done", together, f"n={len(together)}")
    row("turn score", turn)
    row("embedding of one question", embed)


async def tts(socket: Path) -> None:
    """First chunk and whole clause."""
    client = PiperClient(socket)
    first, whole, factor = [], [], []
    for text in (
        "Yes, of course.",
        "We are open on Saturday from nine to one.",
        "One moment, please, I am looking that up.",
    ):
        for _ in range(4):
            began, samples, told = time.monotonic(), 0, False
            async for chunk in client.synthesise(text):
                if not told:
                    first.append(time.monotonic() - began)
                    told = True
                samples += len(chunk.pcm) // 2
            whole.append(time.monotonic() - began)
            factor.append(whole[-1] / (samples / 22050))
    await client.close()
    row("TTS, first chunk", first)
    row("TTS, whole clause", whole, f"real time factor {statistics.median(factor):.3f}")


async def llm(url: str) -> None:
    """Cold and warm first token, prefill rate, cancel to free."""
    model = StructuredActions(LlmEndpoint(f"{url}/v1", first_token_timeout_s=120, token_timeout_s=60))
    system = ChatMessage(
        "system", "You are a clinic's receptionist. " + " ".join(f"Rule {n}: {RULES}" for n in range(28))
    )

    async def ask(text: str, slot: int, tokens: int = 24) -> tuple[float, float, ReplyEnd]:
        request = ChatRequest((system, ChatMessage("user", text)), (TOOL,), tokens, slot=slot)
        began, first, end = time.monotonic(), 0.0, ReplyEnd()
        async for item in model.reply(request):
            if isinstance(item, TextDelta) and not first:
                first = time.monotonic() - began
            if isinstance(item, ReplyEnd):
                end = item
        return first, time.monotonic() - began, end

    first, _, end = await ask("Hello?", 0)
    fresh = end.usage.prompt_tokens - end.usage.cached_tokens
    row("LLM, first word, cold", [first], f"{fresh} fresh tokens, prefill about {fresh / first:.0f} tokens/s")
    warm, rate, fresh_warm = [], [], []
    for number in range(6):
        first, total, end = await ask(f"What is your rule number {number} about, in a few words?", 0)
        if first:
            warm.append(first)
            rate.append((end.usage.completion_tokens - 4) / (total - first))
        fresh_warm.append(end.usage.prompt_tokens - end.usage.cached_tokens)
    row(
        "LLM, first word, warm",
        warm,
        f"{max(fresh_warm)} fresh tokens, then {statistics.median(rate):.0f} tokens/s",
    )
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for what, text in (("talks", "Recite every rule."), ("reads", "word " * 1000)):
            times = []
            for number in range(3):
                request = ChatRequest((system, ChatMessage("user", f"{number} {text}")), (), 300, slot=0)
                times.append(await _cancel(model, request, http))
            row(f"LLM, cancel to free slot, while it {what}", times)
    await model.close()


async def first_clause(url: str, folder: Path) -> None:
    """From a turn's transcript to the first clause for the voice, as a call goes: with the sample agent's dialogue."""
    model = GatedModel(StructuredActions(LlmEndpoint(f"{url}/v1", first_token_timeout_s=60)), slots=2)
    agent = load_agent(CLINIC)
    tools = open_tools(
        CLINIC, agent.tools.module, folder / "tools.db", today=datetime.now().astimezone().date()
    )
    services = Services(PinnedModel(model, 0), NoKnowledge(), tools)
    for what, partial in (("words not prefilled", False), ("prefilled partial", True)):
        times = []
        for number, remark in enumerate(REMARKS):
            dialogue = Dialogue(agent, services, call_id=f"bench-{number}")
            await _turn(dialogue, "I just had my lunch.")
            await dialogue.prefill()
            if partial:
                await dialogue.prefill(" ".join(remark.split()[:-UNHEARD_WORDS]))
            times.append(await _turn(dialogue, remark))
        row(f"llm: first clause after transcript, {what}", times, f"{len(times)} turns of two exchanges")
    tools.close()
    await _beside_others(model)


async def _turn(dialogue: Dialogue, text: str) -> float:
    """Say one thing; return the seconds until the first clause of the answer."""
    began, first, said = time.monotonic(), 0.0, ""
    async with aclosing(dialogue.respond(Heard(text), now=datetime.now().astimezone())) as replies:
        async for reply in replies:
            if isinstance(reply, Say) and reply.role is Role.CONTENT:
                first, said = first or time.monotonic() - began, f"{said} {reply.text}".strip()
    dialogue.played(said)
    dialogue.commit_turn()
    return first


async def _beside_others(model: GatedModel) -> None:
    """First word of a turn while the model reads for another call."""
    system = ChatMessage("system", "You are a clinic's receptionist.")

    async def first_word(text: str) -> float:
        began = time.monotonic()
        request = ChatRequest((system, ChatMessage("user", text)), (TOOL,), 16, slot=0)
        async with aclosing(model.reply(request)) as items:
            async for item in items:
                if isinstance(item, TextDelta):
                    return time.monotonic() - began
        return time.monotonic() - began

    await first_word("Hello there?")
    alone = [await first_word(f"Hello, is this number {number}?") for number in range(4)]
    row("LLM, first word, alone", alone)
    for priority in (Priority.PARTIAL, Priority.SPECULATIVE):
        times = []
        for number in range(4):
            read = ChatRequest(
                (system, ChatMessage("user", f"{number} " + "word " * 400)),
                (TOOL,),
                8,
                slot=1,
                priority=priority,
            )
            other = asyncio.create_task(_consume(model, read))
            await asyncio.sleep(0.7)
            times.append(await first_word(f"And is this number {number}?"))
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
        row(f"LLM, first word beside another's {priority.name.lower()} reading", times)


async def _consume(model: LanguageModel, request: ChatRequest) -> None:
    async with aclosing(model.reply(request)) as items:
        async for _ in items:
            pass


async def _cancel(model: StructuredActions, request: ChatRequest, http: httpx.AsyncClient) -> float:
    task = asyncio.create_task(_consume(model, request))
    await asyncio.sleep(1.5)
    began = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    while (await http.get("/slots")).json()[0]["is_processing"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache" / "landline" / "models")
    parser.add_argument("--piper-python", type=Path, default=ROOT / ".venv-piper" / "bin" / "python")
    parser.add_argument("--only", choices=("speech", "tts", "llm"), help="measure one worker only")
    options = parser.parse_args()
    cache: Path = options.models
    print(f"{'':<46}{'median':>9}{'largest':>9}  milliseconds")
    if not options.only:
        vad(cache)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "speech"):
            bench_speech(cache, folder)
        if options.only in (None, "tts"):
            bench_tts(cache, folder, options.piper_python)
        if options.only in (None, "llm"):
            bench_llm(cache, folder)


def bench_speech(cache: Path, folder: Path) -> None:
    """Start the speech worker and measure it."""
    config = {
        "socket": str(folder / "speech.sock"),
        "stt_path": str(verify("whisper-base", cache)),
        "embedding_path": str(verify("minilm", cache)),
        "turn_path": str(verify("smart-turn", cache)),
    }
    with worker(Path(sys.executable), "models.speech_worker", config, folder / "speech.sock"):
        asyncio.run(stt(folder / "speech.sock", recordings()))


def bench_tts(cache: Path, folder: Path, python: Path) -> None:
    """Start the Piper worker and measure it."""
    config = {"socket": str(folder / "tts.sock"), "voice_path": str(verify("joe", cache))}
    with worker(python, "models.piper_worker", config, folder / "tts.sock"):
        asyncio.run(tts(folder / "tts.sock"))


def bench_llm(cache: Path, folder: Path) -> None:
    """Start the LLM server and measure it."""
    ready = folder / "llm.ready"
    config = {
        "model_path": str(verify(LLM, cache)),
        "port": 0,
        "ready_file": str(ready),
        "warm_prefixes": [system_message(load_agent(CLINIC))],
        "state_directory": str(folder / "states"),
    }
    with worker(Path(sys.executable), "models.llm_server", config, ready):
        url = f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"
        asyncio.run(first_clause(url, folder))
        asyncio.run(llm(url))


if __name__ == "__main__":
    main()
