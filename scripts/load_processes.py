"""What the load benchmark starts: sip, one agent and the scripted models, in one run directory; and callers beside them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from models.model_store import model_path
from scripts.load_caller import LoadConfig
from scripts.stack import ask_sip_status, free_port
from server.agent.config import AgentProcessConfig
from server.config import SAMPLE_AGENT, Settings
from server.turns.settings import TurnSettings

_MB: Final = 2**20
_STOP_LIMIT_S: Final = 10.0


class Processes:
    """The sip process, the agent process and the scripted workers."""

    def __init__(self, directory: Path, calls: int) -> None:
        self._directory = directory
        self._calls = calls
        self.port = free_port(socket.SOCK_DGRAM)
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def uri(self) -> str:
        """What to ring."""
        return f"sip:clinic@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start them and wait until a call would be taken. Raises TimeoutError, RuntimeError."""
        self._write("sip", self._sip())
        self._spawn("models", "scripts.scripted_models", str(self._directory))
        self._wait((self._directory / "tts.sock").exists)
        self._spawn("sip", "sip", str(self._directory / "sip.json"))
        llm_port = int((self._directory / "llm-port").read_text())
        self._write("agent", dataclasses.asdict(self._agent(llm_port)))
        self._spawn("agent", "server.agent", str(self._directory / "agent.json"))
        self._wait(self._agent_is_there)

    def _sip(self) -> dict[str, Any]:
        return {
            "run_directory": str(self._directory), "host": "127.0.0.1", "port": self.port,
            "call_limit": self._calls, "rtp_port_first": 30_000, "rtp_port_last": 30_000 + 4 * self._calls + 3,
        }  # fmt: skip

    def _agent(self, llm_port: int) -> AgentProcessConfig:
        directory = self._directory
        return AgentProcessConfig(
            name="agent",
            leg_sockets={"sip": str(directory / "leg.sock")},
            control_socket=str(directory / "control.sock"),
            speech_socket=str(directory / "speech.sock"),
            tts_socket=str(directory / "tts.sock"),
            vad_model=str(model_path("silero-vad", Settings().models_directory)),
            agent_folder=str(SAMPLE_AGENT),
            agent_database=str(directory / "clinic.sqlite3"),
            phrase_directory=str(directory / "phrases"),
            llm_base_url=f"http://127.0.0.1:{llm_port}/v1",
            llm_model="scripted",
            llm_slots=self._calls,
            capacity=self._calls,
            turns=TurnSettings(),
        )

    def stop(self) -> None:
        """End them: by the end of their stdin, then by force."""
        for child in reversed(list(self.children.values())):
            assert child.stdin is not None
            child.stdin.close()
        for child in self.children.values():
            try:
                child.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def resident_mb(self, name: str) -> float:
        """Return a process's resident memory."""
        return float(psutil.Process(self.children[name].pid).memory_info().rss) / _MB

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time that each has used."""
        found = {}
        for name, child in self.children.items():
            times = psutil.Process(child.pid).cpu_times()
            found[name] = float(times.user + times.system)
        return found

    def ledgers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the ledgers of the turns since the last time, by the number of the caller."""
        transport = httpx.HTTPTransport(uds=str(self._directory / "control.sock"))
        with httpx.Client(transport=transport, base_url="http://control", timeout=10) as client:
            found: dict[str, list[dict[str, Any]]] = client.get("/ledgers").json()["ledgers"]
        return {number_of(caller): rows for caller, rows in found.items()}

    def sip_status(self) -> dict[str, Any]:
        """Return the sip process's counters."""
        return ask_sip_status(self._directory)

    def _write(self, name: str, config: dict[str, Any]) -> None:
        (self._directory / f"{name}.json").write_text(json.dumps(config))

    def _spawn(self, name: str, module: str, argument: str) -> None:
        with (self._directory / f"{name}.out").open("wb") as output:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", module, argument], stdin=subprocess.PIPE, stdout=output, stderr=output
            )

    def _agent_is_there(self) -> bool:
        try:
            return bool(self.sip_status()["agents"])
        except OSError:
            return False

    def _wait(self, true: Callable[[], bool], limit_s: float = 60.0) -> None:
        limit = time.monotonic() + limit_s
        while not true():
            for name, child in self.children.items():
                if child.poll() is not None:
                    words = (self._directory / f"{name}.out").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{name} ended:\n{words}")
            if time.monotonic() > limit:
                raise TimeoutError(f"the processes were not ready in {limit_s} s")
            time.sleep(0.05)


def number_of(caller: str) -> str:
    """Return the ``load-N`` in an address."""
    return next((part for part in caller.replace("@", ":").split(":") if part.startswith("load-")), caller)


async def callers(
    configs: Sequence[LoadConfig], directory: Path, limit_s: float, progress: Callable[[int], None]
) -> tuple[list[dict[str, Any]], float]:
    """Run processes of callers; return what each printed last, and the processor time they all used."""

    async def one(number: int, config: LoadConfig) -> tuple[dict[str, Any], float]:
        path = directory / f"caller-{number}.json"
        path.write_text(json.dumps(dataclasses.asdict(config)))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.load_caller", str(path), stdout=subprocess.PIPE, limit=2**24
        )
        assert child.stdout is not None
        watched = psutil.Process(child.pid)
        last: dict[str, Any] = {}
        used_s = 0.0
        try:
            async with asyncio.timeout(limit_s):
                async for line in child.stdout:
                    times = watched.cpu_times()
                    used_s = times.user + times.system
                    last = json.loads(line)
                    if "done" in last:
                        done[number] = last["done"]
                        progress(sum(done))
                await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return last, used_s

    done = [0] * len(configs)
    results = await asyncio.gather(*(one(number, config) for number, config in enumerate(configs)))
    return [result for result, _ in results], sum(used for _, used in results)
