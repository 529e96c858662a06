"""The peer's processes for a benchmark: its bot in an environment of its own, and a language model server like ours."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from models.model_store import model_path
from models.worker_config import LlmServerConfig
from scripts.stack import free_port
from server.config import Settings
from server.dialogue.agent_file import load_agent
from server.dialogue.prompts import prefix

TREE: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = TREE / ".venv-peer" / "bin" / "python"
_READY_LIMIT_S: Final = 180.0
_ANSWER_TOKENS: Final = 60


class PeerProcesses:
    """Started together, stopped together."""

    def __init__(self, directory: Path) -> None:
        if not PYTHON.is_file():
            raise FileNotFoundError(f"{PYTHON} is missing; run: make setup-peer")
        self.directory = directory
        self.port = free_port(socket.SOCK_STREAM)
        self._settings = Settings()
        self._children: list[subprocess.Popen[bytes]] = []
        self.output = directory / "peer.out"

    def url(self, variant: str) -> str:
        """Return what to connect to."""
        return f"ws://127.0.0.1:{self.port}/v1/call/{variant}"

    def start(self) -> None:
        """Start the language model, warm with the peer's prompt, then the bot. Raises RuntimeError, TimeoutError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        agent = load_agent(self._settings.agent.folder)
        system = prefix(agent)[0].content
        models = self._settings.models_directory
        ready = self.directory / "llm-ready.json"
        llm = LlmServerConfig(
            model_path=model_path("qwen2.5-coder-1.5b", models),
            port=0,
            ready_file=ready,
            # The embedded server's own settings, with a slot for the one call at a time.
            slots=1,
            threads=self._settings.llm.threads,
            context_tokens=self._settings.llm.context_tokens,
            micro_batch_tokens=self._settings.llm.micro_batch_tokens,
            warm_prefixes=(system,),
            state_directory=self._settings.cache_directory / "bench" / "llm-state",
        )
        self._spawn(sys.executable, "-m", "models.llm_server", config=dataclasses.asdict(llm), name="llm")
        self._wait(ready.is_file)
        bot = {
            "port": self.port,
            "llm_base_url": f"http://127.0.0.1:{json.loads(ready.read_text())['port']}/v1",
            "llm_model": "qwen2.5-coder-1.5b",
            "system": system,
            "greeting": f"{agent.greeting} {agent.disclosure} {agent.opening_question}",
            "whisper": str(models / "whisper-base"),
            "voice": str(model_path("joe", models)),
            "max_tokens": _ANSWER_TOKENS,
        }
        self._spawn(str(PYTHON), "-m", "scripts.peer.pipecat_bot", config=bot, name="bot")
        self._wait(self._bot_answers)

    def stop(self) -> None:
        """End them."""
        for child in reversed(self._children):
            child.terminate()
        for child in self._children:
            try:
                child.wait(8)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _spawn(self, *command: str, config: dict[str, Any], name: str) -> None:
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(config, default=str))
        # Neither process may look for newer files of what lies on the disk.
        environment = {**os.environ, "PYTHONPATH": str(TREE), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        with self.output.open("ab") as output:
            self._children.append(
                subprocess.Popen(
                    [*command, str(path)], stdin=subprocess.PIPE, stdout=output, stderr=output,
                    cwd=TREE, env=environment,
                )
            )  # fmt: skip

    def _bot_answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/ready", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _wait(self, true: Callable[[], bool]) -> None:
        limit = time.monotonic() + _READY_LIMIT_S
        while not true():
            if any(child.poll() is not None for child in self._children):
                raise RuntimeError(f"the peer ended:\n{self.output.read_text(errors='replace')[-3000:]}")
            if time.monotonic() > limit:
                raise TimeoutError(f"the peer was not ready in {_READY_LIMIT_S} s")
            time.sleep(0.1)


def versions() -> dict[str, str]:
    """Return the versions that matter of the peer's environment."""
    names = ("pipecat-ai", "faster-whisper", "ctranslate2", "piper-tts", "onnxruntime", "numpy")
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run(
        [str(PYTHON), "-c", code, *names], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
