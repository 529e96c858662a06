"""``landline serve``: starts all processes, tells the owner in plain words how it goes, and watches until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from server import telemetry
from server.agent_keeper import AgentKeeper
from server.agent_pair import AgentPair
from server.child import Child, environment
from server.config import Settings
from server.errors import ConfigurationError, LandlineError
from server.keeper import Keeper
from server.preflight import address_to_ring, check_all, free_loopback_port, read_agent
from server.process_configs import AgentIdentity, ProcessConfigs, build, write_config
from server.readiness_probes import ControlConnection, Probe, file_probe, socket_probe, worker_probe
from server.restart_policy import RestartPolicy
from server.run_directory import owned, remember_children
from server.telemetry import LogRelay

_TREE: Final = Path(__file__).resolve().parents[1]
_REPORT_EVERY_S: Final = 2.0
_POLL_S: Final = 0.25
_DOCUMENTS_LIMIT_S: Final = 300.0
_SPARE_PAUSE_S: Final = 4.0
_AGENT_STOP_S: Final = 4.0
_DOORS: Final = ("sip", "websocket")
_AGENT_STARTS_TOLD: Final = 3
"""An agent that died so often before the first call is told of."""

_log = logging.getLogger(__name__)

Say = Callable[[str], None]


def serve(settings: Settings, say: Say) -> int:
    """Run Landline in the foreground. Return the exit code: 0 after an orderly stop, 1 after a forced one.

    Raises :class:`server.errors.LandlineError` when it cannot be started.
    """
    identity = read_agent(settings)
    run = settings.run_path.resolve()
    configs = build(settings, identity, llm_port=settings.llm.port or free_loopback_port())
    with owned(run):
        if problems := check_all(settings, configs.tts_python):
            raise ConfigurationError("\n".join(str(problem) for problem in problems))
        handler = telemetry.configure(
            "supervisor",
            level=settings.logging.level,
            file=settings.log_path,
            file_limit_bytes=settings.logging.file_limit_mb << 20,
        )
        supervisor = Supervisor(settings, identity, configs, run, LogRelay(handler), say)
        return asyncio.run(supervisor.run())


class Supervisor:
    """All processes of one ``landline serve``."""

    def __init__(
        self,
        settings: Settings,
        identity: AgentIdentity,
        configs: ProcessConfigs,
        run: Path,
        relay: LogRelay,
        say: Say,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._configs = configs
        self._run = run
        self._relay = relay
        self._say = say
        self._stop = asyncio.Event()
        self._signals = 0
        self._control = ControlConnection(run / "control.sock")
        self._keepers = {keeper.name: keeper for keeper in self._make_keepers()}
        self._agents = AgentKeeper(self._make_pair(), self._start_agent, self._remember)

    async def run(self) -> int:
        """Start, watch, stop. Raises ProcessFailed when a process does not become ready at the first start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        living = asyncio.create_task(self._live())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((living, stopping), return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
        except Exception:
            # Whatever it was: no process is left behind.
            await self._end(goodbye=False)
            raise
        finally:
            living.cancel()
            stopping.cancel()
        return await self._end(goodbye=True)

    # ── start ────────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        self._say(f"Starting {', '.join(self._keepers)} and the agent {self._identity.name!r} …")
        try:
            async with asyncio.TaskGroup() as group:
                for keeper in self._keepers.values():
                    group.create_task(self._first_start(keeper))
        except* LandlineError as failed:
            raise failed.exceptions[0] from None
        # A control that is started again must not close the calls that are going on.
        write_config(
            self._run / "control.json", dataclasses.replace(self._configs.control, fresh_start=False)
        )
        async with asyncio.TaskGroup() as group:
            for keeper in self._keepers.values():
                group.create_task(keeper.keep())
            group.create_task(self._agents.keep())
            group.create_task(self._report())
            group.create_task(self._get_ready())

    async def _first_start(self, keeper: Keeper) -> None:
        began = asyncio.get_running_loop().time()
        await keeper.first_start()
        self._say(f"  {keeper.name} is ready ({asyncio.get_running_loop().time() - began:.1f} s)")

    async def _get_ready(self) -> None:
        await self._add_documents()
        loop = asyncio.get_running_loop()
        began = loop.time()
        told = False
        while missing := await self._missing():
            waited = loop.time() - began
            failing = self._agents.restarts >= _AGENT_STARTS_TOLD
            if not told and (failing or waited > self._settings.supervisor.ready_timeout_s):
                told = True
                self._say("Not ready for calls yet; still trying:")
                for part, text in missing.items():
                    self._say(f"  {part}: {text}")
                if self._agents.last_words:
                    self._say(f"  the agent's last words: {self._agents.last_words}")
            await asyncio.sleep(_POLL_S)
        self._say_ready()
        self._agents.settled()

    async def _missing(self) -> dict[str, str]:
        missing = await self._control.missing()
        return {"control": "does not answer"} if missing is None else missing

    async def _add_documents(self) -> None:
        """Bring the agent's documents into the knowledge base; what is unchanged costs nothing."""
        folder = self._identity.documents
        if not folder.is_dir():
            return
        collection = self._configs.agent.knowledge_collection
        try:
            report = await self._control.add_documents(collection, folder.resolve(), _DOCUMENTS_LIMIT_S)
        except httpx.HTTPError as error:
            _log.error("documents_not_added", extra={"error": type(error).__name__})
            self._say(f"  the agent's documents could not be read in: {_detail(error)}")
            return
        self._say(f"  {len(report['added'])} documents read in, {len(report['unchanged'])} unchanged")
        for path, reason in report.get("failed", ()):
            self._say(f"  document left out: {path}: {reason}")

    def _say_ready(self) -> None:
        settings = self._settings
        host = address_to_ring(settings)
        http_host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "::") else settings.http.host
        self._say("")
        self._say("Landline answers the telephone.")
        self._say(
            f"  Ring it:   sip:{settings.sip.user}@{host}:{settings.sip.port} from any softphone (UDP, no account)"
        )
        if settings.websocket.enabled:
            door = settings.websocket
            self._say(f"  WebSocket: ws://{door.host}:{door.port}/v1/call (raw audio)")
        self._say(f"  Health:    http://{http_host}:{settings.http.port}/ready  /health  /metrics")
        self._say("  Calls:     landline calls list")
        self._say(f"  Log:       {settings.log_path}")
        self._say("  Stop:      Ctrl-C (callers are told)")

    # ── processes ────────────────────────────────────────────────────────────────────────────────

    def _make_keepers(self) -> list[Keeper]:
        run, configs = self._run, self._configs
        python = sys.executable
        keepers = []
        if configs.llm is not None:
            probe = file_probe(Path(configs.llm.ready_file or run))
            keepers.append(self._keeper("llm", [python, "-m", "models.llm_server"], configs.llm, probe))
        piper = [str(configs.tts_python), "-m", "models.piper_worker"]
        keepers += [
            self._keeper("speech", [python, "-m", "models.speech_worker"], configs.speech,
                         worker_probe(configs.speech.socket)),
            self._keeper("tts", piper, configs.tts, worker_probe(configs.tts.socket)),
            self._keeper("control", [python, "-m", "server.control"], configs.control, self._control.alive),
            self._keeper("sip", [python, "-m", "sip"], configs.sip,
                         socket_probe(Path(configs.sip.status_socket))),
        ]  # fmt: skip
        if (websocket := configs.websocket) is not None:
            probe = socket_probe(Path(websocket.status_socket))
            keepers.append(self._keeper("websocket", [python, "-m", "sip.websocket"], websocket, probe))
        return keepers

    def _keeper(self, name: str, command: list[str], config: Any, probe: Probe) -> Keeper:
        limits = self._settings.supervisor
        path = self._run / f"{name}.json"
        write_config(path, config)

        async def start() -> Child:
            return await self._spawn(name, [*command, str(path)])

        return Keeper(
            name,
            start,
            probe,
            self._policy(),
            ready_timeout_s=limits.ready_timeout_s,
            unanswered_limit_s=limits.unanswered_limit_s,
            on_change=self._remember,
        )

    def _make_pair(self) -> AgentPair:
        limits = self._settings.supervisor
        write_config(self._run / "agent.json", self._configs.agent)
        return AgentPair(
            with_spare=self._settings.agent.spare,
            beat_timeout_s=limits.beat_timeout_ms / 1000,
            start_timeout_s=limits.ready_timeout_s,
            spare_pause_s=_SPARE_PAUSE_S,
            policy=self._policy(),
        )

    def _policy(self) -> RestartPolicy:
        limits = self._settings.supervisor
        return RestartPolicy(
            limits.restart_delay_first_ms / 1000, limits.restart_delay_max_ms / 1000, limits.restart_forget_s
        )

    async def _start_agent(self, number: int, spare: bool, on_line: Callable[[bytes], None]) -> Child:
        command = [sys.executable, "-m", "server.agent", str(self._run / "agent.json")]
        return await self._spawn(f"agent-{number}", [*command, *(["--spare"] if spare else [])], on_line)

    async def _spawn(
        self, name: str, command: list[str], on_line: Callable[[bytes], None] | None = None
    ) -> Child:
        # The code that this process runs, whatever else is installed; the voice's environment has none of it.
        extra: Mapping[str, str] = {"PYTHONPATH": str(_TREE)}
        return await Child.start(
            name,
            command,
            self._relay,
            environ=environment(os.environ, extra),
            working_directory=self._run,
            on_line=on_line,
        )

    def _remember(self) -> None:
        children = dict(self._agents.children)
        children |= {name: keeper.child for name, keeper in self._keepers.items() if keeper.child is not None}
        pids = {name: child.pid for name, child in children.items() if child.exit_code is None}
        with contextlib.suppress(OSError):
            remember_children(self._run, pids)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            processes: dict[str, dict[str, Any]] = {
                name: {"up": keeper.up, "restarts": keeper.restarts} for name, keeper in self._keepers.items()
            }
            processes["agent"] = {"up": bool(self._agents.children), "restarts": self._agents.restarts}
            await self._control.report(processes)

    # ── stop ─────────────────────────────────────────────────────────────────────────────────────

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._stop.set()
        else:
            self._kill_all()

    def _kill_all(self) -> None:
        self._agents.kill()
        for keeper in self._keepers.values():
            keeper.kill()

    async def _end(self, *, goodbye: bool) -> int:
        """End the doors first: they say goodbye to callers, and need the agent's phrases and the records to."""
        limits = self._settings.supervisor
        if goodbye:
            self._say("Stopping: callers are told goodbye (Ctrl-C again to stop at once) …")
        doors = [self._keepers[name] for name in _DOORS if name in self._keepers]
        await asyncio.gather(*(door.stop(limits.goodbye_timeout_s) for door in doors))
        await self._agents.stop(_AGENT_STOP_S)
        await asyncio.gather(*(keeper.stop(limits.stop_timeout_s) for keeper in self._keepers.values()))
        await self._control.aclose()
        if goodbye:
            self._say("Stopped.")
        return 1 if self._signals > 1 else 0


def _detail(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        with contextlib.suppress(ValueError, KeyError):
            return str(error.response.json()["detail"])
    return type(error).__name__
