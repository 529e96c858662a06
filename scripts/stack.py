"""A whole Landline of one's own: started on free ports with data of its own, rung, and stopped.

For the demonstration, the benchmarks and the end-to-end tests. Models come from the ordinary cache;
everything else lives in a directory that the caller gives and may throw away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from server.config import load_settings

_READY_LIMIT_S = 240.0
_STOP_LIMIT_S = 30.0
_RTP_PORTS = 60


def free_port(kind: socket.SocketKind) -> int:
    """Return a port that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask_sip_status(run_directory: Path) -> dict[str, Any]:
    """Return the counters of the sip process that runs in ``run_directory``."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(run_directory / "sip-status.sock"))
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    status: dict[str, Any] = json.loads(data)
    return status


class Stack:
    """One running ``landline serve``."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.http_port = free_port(socket.SOCK_STREAM)
        self.websocket_port = free_port(socket.SOCK_STREAM)
        # A unix socket's path is short; a test's directory may not be.
        self.run_directory = Path(f"/tmp/landline-{os.getpid()}-{self.sip_port}")
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LANDLINE_")},
            "LANDLINE_DATA_DIRECTORY": str(directory / "data"),
            "LANDLINE_RUN_DIRECTORY": str(self.run_directory),
            "LANDLINE_SIP__HOST": "127.0.0.1",
            "LANDLINE_SIP__PORT": str(self.sip_port),
            "LANDLINE_SIP__RTP_PORT_FIRST": str(30000 + self.sip_port % 500 * _RTP_PORTS),
            "LANDLINE_SIP__RTP_PORT_LAST": str(30000 + self.sip_port % 500 * _RTP_PORTS + _RTP_PORTS - 1),
            "LANDLINE_HTTP__PORT": str(self.http_port),
            "LANDLINE_WEBSOCKET__PORT": str(self.websocket_port),
            **settings,
        }
        if "LANDLINE_CACHE_DIRECTORY" in os.environ:
            self.environment.setdefault("LANDLINE_CACHE_DIRECTORY", os.environ["LANDLINE_CACHE_DIRECTORY"])
        self.settings = load_settings(environment=self.environment)
        self.output = directory / "serve.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """What to ring."""
        return f"sip:clinic@127.0.0.1:{self.sip_port}"

    @property
    def websocket_url(self) -> str:
        """What to ring over a WebSocket, where the settings open that door."""
        return f"ws://127.0.0.1:{self.websocket_port}/v1/call"

    def command(self, *arguments: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``landline …`` against this stack."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "landline"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def start(self) -> None:
        """Start and wait until a call would be answered well."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / "landline"), "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.wait_ready()

    def wait_ready(self, limit_s: float = _READY_LIMIT_S) -> None:
        """Wait for ``GET /ready`` to say yes."""
        limit = time.monotonic() + limit_s
        reason = "nothing answers"
        while time.monotonic() < limit:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"landline serve ended with {self._process.returncode}:\n{self.log_tail()}"
                )
            ready, reason = self.ready()
            if ready:
                return
            time.sleep(0.1)
        raise TimeoutError(f"not ready after {limit_s} s: {reason}\n{self.log_tail()}")

    def ready(self) -> tuple[bool, str]:
        """Ask ``/ready`` once."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.http_port}/ready", timeout=5)
        except httpx.HTTPError as error:
            return False, type(error).__name__
        return answer.status_code == httpx.codes.OK, answer.text

    def metrics(self) -> str:
        """Return the Prometheus text."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}/metrics", timeout=5).text

    def log_tail(self) -> str:
        """Return the end of what it printed and logged."""
        texts = []
        for path in (self.output, self.settings.log_path):
            with contextlib.suppress(OSError):
                texts.append(path.read_text(errors="replace")[-4000:])
        return "\n".join(texts)

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Stop as the owner would, with Ctrl-C; return the exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal_number)
        try:
            return process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
            raise

    # ── looking in ───────────────────────────────────────────────────────────────────────────────

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return the child processes by name: sip, websocket, agent (one or two), control, speech, tts, llm."""
        assert self._process is not None
        modules = {
            "sip": "sip", "sip.websocket": "websocket", "server.agent": "agent", "server.control": "control",
            "models.speech_worker": "speech", "models.piper_worker": "tts", "models.llm_server": "llm",
        }  # fmt: skip
        found: dict[str, list[psutil.Process]] = {}
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                arguments = child.cmdline()
                if "-m" in arguments:
                    name = modules.get(arguments[arguments.index("-m") + 1])
                    if name:
                        found.setdefault(name, []).append(child)
        return found

    def active_agent(self) -> psutil.Process:
        """Return the agent process that serves: the one that the door knows."""
        return psutil.Process(self.sip_status()["agent_pids"][0])

    def sip_status(self) -> dict[str, Any]:
        """Return the sip process's counters."""
        return ask_sip_status(self.run_directory)

    def resident_mb(self) -> dict[str, float]:
        """Return resident memory by process, and the sum (pages shared between processes counted once)."""
        assert self._process is not None
        sizes = {"supervisor": _pss_mb(self._process.pid)}
        for name, processes in self.processes().items():
            sizes[name] = sum(_pss_mb(process.pid) for process in processes)
        sizes["all"] = sum(sizes.values())
        return sizes

    def calls(self) -> list[dict[str, Any]]:
        """Return all calls from the records, newest last."""
        with self._records() as database:
            return [_row(row) for row in database.execute("SELECT * FROM call ORDER BY started_at")]

    def rows(self, table: str, call_id: str) -> list[dict[str, Any]]:
        """Return a call's rows of ``turn``, ``tool_attempt`` or ``transition``."""
        with self._records() as database:
            query = f"SELECT * FROM {table} WHERE call_id = ? ORDER BY sequence"
            return [_row(row) for row in database.execute(query, (call_id,))]

    def wait_rows(self, table: str, call_id: str, count: int, limit_s: float = 10.0) -> list[dict[str, Any]]:
        """Return a call's rows of one table once there are ``count`` (records are written behind the call)."""
        limit = time.monotonic() + limit_s
        while len(rows := self.rows(table, call_id)) < count and time.monotonic() < limit:
            time.sleep(0.05)
        return rows

    def wait_ended(self, call_id: str, limit_s: float = 10.0) -> dict[str, Any]:
        """Return a call's row once it has an end."""
        limit = time.monotonic() + limit_s
        while True:
            (row,) = [row for row in self.calls() if row["call_id"] == call_id]
            if row["end_reason"] or time.monotonic() > limit:
                return row
            time.sleep(0.05)

    @contextlib.contextmanager
    def _records(self) -> Iterator[sqlite3.Connection]:
        path = self.settings.data_directory / "records.sqlite3"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            yield database

    @contextlib.contextmanager
    def agent_database(self) -> Iterator[sqlite3.Connection]:
        """Open the clinic's own database."""
        (path,) = (self.settings.data_directory / "agents").glob("*.sqlite3")
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            yield database


def _row(row: sqlite3.Row) -> dict[str, Any]:
    """Return a row with its JSON columns read."""
    values = dict(row)
    for key, value in values.items():
        if isinstance(value, str) and value[:1] in "[{":
            with contextlib.suppress(ValueError):
                values[key] = json.loads(value)
    return values


def _pss_mb(pid: int) -> float:
    """Proportional set size: what a process really adds to the machine's use of memory."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


@contextlib.contextmanager
def running(directory: Path, **settings: str) -> Iterator[Stack]:
    """Run a stack with the sample clinic; ``settings`` are ``LANDLINE_…`` variables."""
    stack = Stack(directory, settings)
    added = stack.command("kb", "add", "clinic", str(stack.settings.agent.folder / "documents"))
    if added.returncode:
        raise RuntimeError(f"landline kb add: {added.stderr or added.stdout}")
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
