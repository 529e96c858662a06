"""Twenty calls at once with scripted models: lateness of media, CPU and response overhead, beside a bare ticker.

``python -m scripts.bench_load [--calls 20] [--seconds 30]`` starts a real sip process and a real agent process (VAD,
turn taking, dialogue, records turned off) over scripted model workers, and as many calls of real softphones, each of
which asks a question every few seconds. The bare ticker is the same ticker in a process that does nothing else, before
and after: what it shows is the machine's doing.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

from models.model_store import model_path
from models.speech_client import PiperClient
from scripts.bench_media import bare_in_a_process, row
from scripts.caller import RATE_HZ, trim
from scripts.scripted_models import HEARD
from scripts.softphone import SPEECH_DBFS, Softphone, SoftphoneCall
from scripts.stack import ask_sip_status, free_port, running
from server.agent.config import AgentProcessConfig
from server.agent.phrases import synthesise_whole
from server.config import SAMPLE_AGENT, Settings
from server.turns.settings import TurnSettings

_PAUSE_S = 3.0
_ANSWER_LIMIT_S = 10.0
_NS_PER_MS = 1_000_000


def caller_speech() -> bytes:
    """Return the question as real speech (VAD must hear speech), rendered by Piper before the measurement."""
    kept = Settings().cache_directory / "bench" / "question.pcm"
    if not kept.is_file():

        async def speak(run_directory: Path) -> bytes:
            return trim(await synthesise_whole(PiperClient(run_directory / "tts.sock"), HEARD, "", RATE_HZ))

        with (
            tempfile.TemporaryDirectory(prefix="landline-bench-") as directory,
            running(Path(directory)) as stack,
        ):
            pcm = asyncio.run(speak(stack.run_directory))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pcm)
    return kept.read_bytes()


@dataclasses.dataclass(slots=True)
class Load:
    """What twenty calls at once showed."""

    sip: dict[str, Any]
    cpu_share: dict[str, float]
    gaps_ms: list[float]
    unanswered: int
    agent_mb: float


class Processes:
    """The sip process, the agent process and the scripted workers, in one run directory."""

    def __init__(self, directory: Path, calls: int) -> None:
        self._directory = directory
        self.port = free_port(socket.SOCK_DGRAM)
        sip = {
            "run_directory": str(directory), "host": "127.0.0.1", "port": self.port, "call_limit": calls,
            "rtp_port_first": 30_000, "rtp_port_last": 30_000 + 4 * calls + 3,
        }  # fmt: skip
        agent = AgentProcessConfig(
            name="agent",
            leg_sockets={"sip": str(directory / "leg.sock")},
            control_socket=str(directory / "control.sock"),
            speech_socket=str(directory / "speech.sock"),
            tts_socket=str(directory / "tts.sock"),
            vad_model=str(model_path("silero-vad", Settings().models_directory)),
            agent_folder=str(SAMPLE_AGENT),
            agent_database=str(directory / "clinic.sqlite3"),
            phrase_directory=str(directory / "phrases"),
            llm_base_url="http://127.0.0.1:9/v1",
            llm_model="none",
            capacity=calls,
            records_required=False,
            turns=TurnSettings(),
        )
        (directory / "sip.json").write_text(json.dumps(sip))
        (directory / "agent.json").write_text(json.dumps(dataclasses.asdict(agent)))
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start them; the agent connects by itself."""
        for name, arguments in (
            ("models", ["-m", "scripts.scripted_models", str(self._directory)]),
            ("sip", ["-m", "sip", str(self._directory / "sip.json")]),
            ("agent", ["-m", "server.agent", str(self._directory / "agent.json")]),
        ):
            self.children[name] = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if name == "models":
                _wait_until((self._directory / "tts.sock").exists)
        _wait_until(lambda: _agents(self._directory))

    def stop(self) -> None:
        """End them."""
        for child in reversed(list(self.children.values())):
            child.terminate()
        for child in self.children.values():
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_until(true: Callable[[], bool], limit_s: float = 40.0) -> None:
    limit = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > limit:
            raise TimeoutError(f"the processes were not ready in {limit_s} s")
        time.sleep(0.05)


async def _talk(call: SoftphoneCall, question: bytes, until: float, delay_s: float, load: Load) -> None:
    loop = asyncio.get_running_loop()
    await call.wait_for_quiet(700, 30)
    await asyncio.sleep(delay_s)
    while loop.time() < until:
        said_ns = await call.say(question)
        try:
            heard_ns = await call.wait_for_audio(SPEECH_DBFS, said_ns, _ANSWER_LIMIT_S)
        except TimeoutError:
            load.unanswered += 1
            continue
        load.gaps_ms.append((heard_ns - said_ns) / _NS_PER_MS)
        await call.wait_for_quiet(700, 30)
        await asyncio.sleep(_PAUSE_S)


async def _loaded(calls: int, seconds: float, directory: Path, question: bytes) -> Load:
    processes = Processes(directory, calls)
    processes.start()
    phone = await Softphone.start()
    try:
        made = [await phone.dial(f"sip:clinic@127.0.0.1:{processes.port}") for _ in range(calls)]
        load = Load({}, {}, [], 0, 0.0)
        watched = {name: psutil.Process(child.pid) for name, child in processes.children.items()}
        before = {name: process.cpu_times() for name, process in watched.items()}
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for number, call in enumerate(made):
                group.create_task(_talk(call, question, until, number * _PAUSE_S / calls, load))
        elapsed_s = seconds + asyncio.get_running_loop().time() - until
        for name, process in watched.items():
            after = process.cpu_times()
            used = after.user + after.system - before[name].user - before[name].system
            load.cpu_share[name] = used / elapsed_s
        load.agent_mb = watched["agent"].memory_info().rss / 2**20
        load.sip = ask_sip_status(directory)
        return load
    finally:
        await phone.close()
        processes.stop()


def _agents(directory: Path) -> bool:
    try:
        return bool(ask_sip_status(directory)["agents"])
    except OSError:
        return False


async def _bench(calls: int, seconds: float, question: bytes) -> None:
    before = await bare_in_a_process(seconds / 3)
    with tempfile.TemporaryDirectory(prefix="landline-load-") as directory:
        load = await _loaded(calls, seconds, Path(directory), question)
    after = await bare_in_a_process(seconds / 3)
    print(f"lateness of sending, ms             {'p50':>6}  {'p99':>8}  {'p99.9':>8}  {'max':>8}")
    print(row("bare ticker, before", before))
    print(row(f"sip process, {calls} calls", load.sip["lateness_ms"]))
    print(row("bare ticker, after", after))
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in load.cpu_share.items())
    print(f"CPU, of one core: {shares}; agent process {load.agent_mb:.0f} MB resident")
    gaps = sorted(load.gaps_ms)
    silence = TurnSettings().endpoint_silence_ms
    print(
        f"response gap with scripted models: {len(gaps)} turns, median {statistics.median(gaps):.0f} ms, "
        f"P95 {gaps[int(0.95 * len(gaps))]:.0f} ms, {silence} ms of it the configured silence; "
        f"{load.unanswered} unanswered"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=40.0)
    arguments = parser.parse_args()
    question = caller_speech()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_bench(arguments.calls, arguments.seconds, question))


if __name__ == "__main__":
    main()
