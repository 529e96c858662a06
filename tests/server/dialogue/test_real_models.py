"""A handful of calls with the real language model and the real embeddings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.action_format import system_text
from models.llm_client import LlmEndpoint
from models.structured_actions import StructuredActions
from scripts.chat import embedding_folder, local_knowledge
from scripts.eval_dialogue import SCENARIOS, load_scenarios, play
from server.config import Settings
from server.dialogue.agent_file import load_agent
from server.dialogue.engine import warm_prefix
from server.dialogue.tools import open_tools
from tests.fakes.dialogue import CLINIC, NOW

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.timeout(900)]

READY_LIMIT_S = 400
CALLS = [
    "parking", "fasting", "capital of france", "question in the middle of booking", "real person in other words",
    "cancelling in other words", "not in the documents",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the default model, warm for the clinic."""
    folder = tmp_path_factory.mktemp("llm")
    weights = next((Settings().models_directory / "qwen2.5-coder-1.5b").glob("*.gguf"))
    tools = open_tools(CLINIC, "tools.py", folder / "tools.db", today=NOW.date())
    warm = warm_prefix(load_agent(CLINIC), tools)
    ready = folder / "ready.json"
    config = {
        "model_path": str(weights), "port": 0, "ready_file": str(ready), "slots": 1,
        "warm_prefixes": [system_text(warm.messages[0].content, warm.tools)],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "models.llm_server", str(folder / "config.json")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_LIMIT_S
        while not ready.is_file():
            assert process.poll() is None, "the language model's server ended before it was ready"
            assert time.monotonic() < deadline, "the language model was not ready in time"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{json.loads(ready.read_text())['port']}/v1"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def test_calls_come_out_right_with_the_real_models(server: str, tmp_path: Path) -> None:
    agent = load_agent(CLINIC)
    # A busy machine is slow; what is judged here is what is said.
    llm = StructuredActions(LlmEndpoint(server, first_token_timeout_s=60, token_timeout_s=60))
    failures: dict[str, list[str]] = {}
    with local_knowledge(agent, embedding_folder(), tmp_path) as knowledge:
        for number, scenario in enumerate(item for item in load_scenarios(SCENARIOS) if item.name in CALLS):
            outcome = await play(scenario, agent, llm, knowledge, tmp_path / f"{number}.db", patient=True)
            if outcome.failures:
                failures[scenario.name] = outcome.failures
    await llm.close()
    assert failures == {}
