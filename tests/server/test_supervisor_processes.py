"""Real child processes: lifelines, deaths, hangs, left-overs and ports, as the supervisor meets them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from server.agent_keeper import AgentKeeper
from server.agent_pair import AgentPair
from server.child import Child, environment
from server.config import load_settings
from server.errors import AlreadyRunning, ConfigurationError, PortTaken, ProcessFailed
from server.keeper import Keeper
from server.preflight import check_all, check_ports, check_tts_python, read_agent
from server.process_configs import default_models
from server.restart_policy import RestartPolicy
from server.run_directory import owned, remember_children, running_owner
from server.telemetry import LogRelay

pytestmark = pytest.mark.loopback

ENDS_WITH_ITS_LIFELINE = "import sys; open(sys.argv[1], 'w').close(); sys.stdin.read()"
DEAF = "import signal, time, sys; signal.signal(15, 1); open(sys.argv[1], 'w').close(); time.sleep(600)"
AGENT = """
import sys, threading, time
if "--spare" in sys.argv:
    sys.stdin.readline()
with open(sys.argv[1], "a") as file:
    file.write("serves\\n")
threading.Thread(target=lambda: sys.stdin.read() or __import__("os")._exit(0), daemon=True).start()
while True:
    print("beat", flush=True)
    time.sleep(0.05)
"""


def relay() -> LogRelay:
    return LogRelay(logging.StreamHandler(io.StringIO()))


async def start(
    name: str, script: str, *arguments: str, on_line: Callable[[bytes], None] | None = None
) -> Child:
    return await Child.start(
        name,
        [sys.executable, "-c", script, *arguments],
        relay(),
        environ=environment(os.environ, {}),
        working_directory=Path("/"),
        on_line=on_line,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_child_ends_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = await start("child", ENDS_WITH_ITS_LIFELINE, str(tmp_path / "up"))
        await until((tmp_path / "up").exists)
        assert child._process.stdin is not None
        child._process.stdin.close()
        assert await asyncio.wait_for(child.ended(), 10) == 0

    asyncio.run(scenario())


def test_a_child_that_does_not_listen_is_killed_with_what_it_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = await start("child", DEAF, str(tmp_path / "up"))
        await until((tmp_path / "up").exists)
        await child.stop(0.1)
        assert await child.ended() == -signal.SIGKILL

    asyncio.run(scenario())


def test_a_child_sees_no_settings_and_nothing_that_downloads() -> None:
    found = environment({"LANDLINE_LLM__API_KEY": "tiger", "PATH": "/bin", "HTTP_PROXY": "x"}, {"A": "1"})
    assert (found["PATH"], found["A"], found["HF_HUB_OFFLINE"]) == ("/bin", "1", "1")
    assert not {"LANDLINE_LLM__API_KEY", "HTTP_PROXY"} & set(found)


def keeper(start_child: Callable[[], Awaitable[Child]], up: Path, **limits: float) -> Keeper:
    async def probe() -> bool:
        return up.exists()  # noqa: ASYNC240

    return Keeper(
        "child",
        start_child,
        probe,
        RestartPolicy(0.01, 0.02, 60),
        ready_timeout_s=limits.get("ready_timeout_s", 20),
        unanswered_limit_s=limits.get("unanswered_limit_s", 60),
        on_change=lambda: None,
    )


def test_a_process_that_is_killed_comes_back(tmp_path: Path) -> None:
    up = tmp_path / "up"

    async def scenario() -> None:
        kept = keeper(lambda: start("child", ENDS_WITH_ITS_LIFELINE, str(up)), up)
        await kept.first_start()
        first = kept.child
        assert first is not None
        keeping = asyncio.create_task(kept.keep())
        up.unlink()
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: kept.up and kept.child is not first and up.exists())
        assert kept.restarts == 1
        await kept.stop(5)
        await asyncio.wait_for(keeping, 10)

    asyncio.run(scenario())


def test_a_process_that_answers_nothing_is_replaced(tmp_path: Path) -> None:
    up = tmp_path / "up"

    async def scenario() -> None:
        kept = keeper(lambda: start("child", ENDS_WITH_ITS_LIFELINE, str(up)), up, unanswered_limit_s=0.1)
        await kept.first_start()
        first = kept.child
        keeping = asyncio.create_task(kept.keep())
        up.unlink()
        await until(lambda: kept.child is not first and kept.up)
        await kept.stop(5)
        await asyncio.wait_for(keeping, 10)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit('stt_path: expected a folder')", "child: stt_path: expected a folder"),
        ("import sys; sys.exit(3)", "child: ended with code 3"),
        ("import time; time.sleep(600)", "child: not ready within 0.3 s"),
    ],
    ids=["says_why", "says_nothing", "never_ready"],
)
def test_a_process_that_does_not_get_ready_is_a_clear_error(
    tmp_path: Path, script: str, message: str
) -> None:
    async def scenario() -> None:
        limit_s = 0.3 if "sleep" in script else 20
        kept = keeper(lambda: start("child", script), tmp_path / "never", ready_timeout_s=limit_s)
        with pytest.raises(ProcessFailed, match=message):
            await kept.first_start()
        assert kept.child is not None
        assert kept.child.exit_code is not None

    asyncio.run(scenario())


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_the_spare_takes_over_from_an_agent_that_is(tmp_path: Path, blow: signal.Signals) -> None:
    async def scenario() -> None:
        pair = AgentPair(
            with_spare=True,
            beat_timeout_s=0.5,
            start_timeout_s=20,
            spare_pause_s=0.1,
            policy=RestartPolicy(0.01, 0.1, 60),
        )

        async def start_agent(number: int, spare: bool, on_line: Callable[[bytes], None]) -> Child:
            arguments = [str(tmp_path / str(number)), *(["--spare"] if spare else [])]
            return await start(f"agent-{number}", AGENT, *arguments, on_line=on_line)

        agents = AgentKeeper(pair, start_agent, lambda: None)
        keeping = asyncio.create_task(agents.keep())
        await until((tmp_path / "1").exists)
        agents.settled()
        await until(lambda: "agent-2" in agents.children)
        assert not (tmp_path / "2").exists()
        os.kill(agents.children["agent-1"].pid, blow)
        await until((tmp_path / "2").exists)
        await until(lambda: "agent-3" in agents.children and "agent-1" not in agents.children)
        assert not (tmp_path / "3").exists()
        left = list(agents.children.values())
        await agents.stop(5)
        await keeping
        assert all(child.exit_code is not None for child in left)

    asyncio.run(scenario())


def test_a_second_owner_of_the_run_directory_is_refused_by_name(tmp_path: Path) -> None:
    with owned(tmp_path / "run"):
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        assert running_owner(tmp_path / "run") == os.getpid()
        with (
            pytest.raises(AlreadyRunning, match=f"process {os.getpid()}.*run_directory"),
            owned(tmp_path / "run"),
        ):
            pass
    assert running_owner(tmp_path / "run") is None


def test_what_a_killed_owner_left_is_cleaned_processes_included(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        remember_children(run, {"sip": left.pid})
        children = json.loads((run / "children.json").read_text())
        # As if the id had been given to another process since.
        children.append({"name": "tts", "pid": bystander.pid, "started": 1.0})
        (run / "children.json").write_text(json.dumps(children))
        (run / "leg.sock").touch()
        with owned(run):
            assert not psutil.pid_exists(left.pid)
            assert bystander.poll() is None
            assert not (run / "leg.sock").exists()
    finally:
        for process in (left, bystander):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("kind", "key"), [(socket.SOCK_DGRAM, "sip.port"), (socket.SOCK_STREAM, "http.port")], ids=["sip", "http"]
)
def test_a_port_that_is_taken_is_named_with_its_holder(kind: socket.SocketKind, key: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other, socket.socket(socket.AF_INET, kind) as spare:
        other.bind(("127.0.0.1", 0))
        spare.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        free = spare.getsockname()[1]
        spare.close()
        ports = {"sip": free, "http": free, key.split(".")[0]: port}
        settings = load_settings(
            environment={
                "LANDLINE_SIP__HOST": "127.0.0.1",
                "LANDLINE_SIP__PORT": str(ports["sip"]),
                "LANDLINE_HTTP__PORT": str(ports["http"]),
            }
        )
        with pytest.raises(PortTaken) as caught:
            check_ports(settings)
    holder = psutil.Process().name()
    for part in (key, str(port), holder, str(os.getpid())):
        assert part in str(caught.value)


def test_missing_models_name_the_command_that_fetches_them(tmp_path: Path) -> None:
    settings = load_settings(environment={"LANDLINE_CACHE_DIRECTORY": str(tmp_path)})
    problems = "\n".join(map(str, check_all(settings, tmp_path / "python")))
    for name in default_models(settings):
        assert f"landline models fetch {name}" in problems


def test_a_missing_voice_environment_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make setup"):
        check_tts_python(tmp_path / "python")


def test_a_malformed_agent_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("version: 1\nname: clinic\ngreting: Hello\n")
    settings = load_settings(environment={"LANDLINE_AGENT__FOLDER": str(tmp_path)})
    with pytest.raises(ConfigurationError, match=r"agent\.yaml, line 3.*greting"):
        read_agent(settings)
