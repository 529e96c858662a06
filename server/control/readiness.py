"""Whether a call would be answered well now, and in words what is missing otherwise."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx

from models.errors import ModelError
from models.worker_client import WorkerClient
from server.control.knowledge import KnowledgeOwner
from server.control.metrics import Metrics
from server.records.writer import RecordsWriter

_PROBE_LIMIT_S: Final = 1.5
_FRESH_S: Final = 0.5
_AGENT_SILENT_S: Final = 3.0
_STATUS_LINE_LIMIT: Final = 256 * 1024

PARTS: Final = ("sip", "agent", "speech", "tts", "llm", "knowledge", "records", "disk")

Probe = Callable[[], Awaitable[str]]
"""Returns what is missing, or nothing."""


class AgentReports:
    """When the active agent was last heard of, and what it said."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._warm = True
        self._connected = False

    def take(self, *, connected: bool, warm: bool) -> None:
        """Take in a report."""
        self._heard_at = self._clock()
        self._connected = connected
        self._warm = warm

    def missing(self) -> str:
        """Return what is missing at the agent, or nothing."""
        if self._heard_at is None or self._clock() - self._heard_at > _AGENT_SILENT_S:
            return "no agent process reports; it is starting or being replaced"
        if not self._connected:
            return "the agent is not connected to every door"
        if not self._warm:
            return "the agent is still warming the language model"
        return ""


class Readiness:
    """Asks all parts at once, each with a limit, at most twice a second."""

    def __init__(self, probes: Mapping[str, Probe], metrics: Metrics) -> None:
        self._probes = probes
        self._metrics = metrics
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._asked_at = -_FRESH_S

    async def missing(self) -> dict[str, str]:
        """Return part to what is missing there; empty when a call would be answered well."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= _FRESH_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> dict[str, str]:
        answers = await asyncio.gather(*(_limited(probe) for probe in self._probes.values()))
        missing = {name: text for name, text in zip(self._probes, answers, strict=True) if text}
        self._metrics.parts(missing, known=tuple(self._probes))
        return missing


async def _limited(probe: Probe) -> str:
    try:
        return await asyncio.wait_for(probe(), _PROBE_LIMIT_S)
    except TimeoutError:
        return f"no answer within {_PROBE_LIMIT_S} s"


async def door_statistics(path: str) -> dict[str, Any]:
    """Return the one line of statistics of a door's process. Raises OSError, ValueError."""
    reader, writer = await asyncio.open_unix_connection(path, limit=_STATUS_LINE_LIMIT)
    try:
        found = json.loads(await reader.readline())
    finally:
        writer.close()
    if not isinstance(found, dict):
        raise TypeError("statistics are no object")
    return found


def sip_probe(path: str, metrics: Metrics) -> Probe:
    """Ask the sip process, and keep its statistics."""
    return _door_probe("sip", path, metrics.sip)


def websocket_probe(path: str, metrics: Metrics) -> Probe:
    """Ask the websocket process, and keep its statistics."""
    return _door_probe("websocket", path, metrics.websocket)


def _door_probe(name: str, path: str, keep: Callable[[dict[str, Any]], None]) -> Probe:

    async def probe() -> str:
        try:
            statistics = await door_statistics(path)
        except (OSError, ValueError, TypeError) as error:
            return f"the {name} process does not answer ({type(error).__name__})"
        keep(statistics)
        if not statistics.get("agents"):
            return f"the {name} process has no agent"
        return ""

    return probe


def agent_probe(reports: AgentReports) -> Probe:
    """Ask what the agent last said about itself."""

    async def probe() -> str:
        return reports.missing()

    return probe


def worker_probe(client: WorkerClient, name: str) -> Probe:
    """Ask a model worker."""

    async def probe() -> str:
        try:
            reply = await client.request("ping", {}, timeout_s=_PROBE_LIMIT_S)
        except ModelError as error:
            return f"the {name} worker does not answer ({type(error).__name__})"
        return "" if reply.header.get("ready") else f"the {name} worker is still loading"

    return probe


def llm_probe(http: httpx.AsyncClient, base_url: str, ready_file: str) -> Probe:
    """Ask the language model's server for its list of models, which costs it nothing."""

    async def probe() -> str:
        if ready_file and not os.path.exists(ready_file):  # noqa: ASYNC240
            return "the language model is being loaded and warmed"
        try:
            response = await http.get(f"{base_url}/models")
        except httpx.HTTPError as error:
            return f"the language model's server does not answer ({type(error).__name__})"
        return "" if response.is_success else f"the language model's server answers {response.status_code}"

    return probe


def knowledge_probe(owner: KnowledgeOwner) -> Probe:
    """Ask whether the index is open."""

    async def probe() -> str:
        return owner.fault

    return probe


def records_probe(writer: RecordsWriter, *, required: bool) -> Probe:
    """Ask whether records can be written; after a fault, try."""

    async def probe() -> str:
        if writer.fault is not None:
            await writer.probe()
        return str(writer.fault) if writer.fault is not None and required else ""

    return probe


def disk_probe(directory: str, min_free_bytes: int, writer: RecordsWriter, metrics: Metrics) -> Probe:
    """Ask for free disk space."""

    async def probe() -> str:
        try:
            status = os.statvfs(directory)
        except OSError as error:
            return f"the data directory cannot be looked at: {error.strerror}"
        free = status.f_bavail * status.f_frsize
        metrics.records(writable=writer.fault is None, disk_free_bytes=free)
        if free >= min_free_bytes:
            return ""
        return f"{free >> 20} MiB of disk free; expected at least {min_free_bytes >> 20} MiB"

    return probe
