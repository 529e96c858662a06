"""How the supervisor finds out that a process it started is ready, each answer within a limit."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx

from models.errors import ModelError
from models.worker_client import WorkerClient

_LIMIT_S: Final = 2.0

Probe = Callable[[], Awaitable[bool]]


def socket_probe(path: Path) -> Probe:
    """Ready when a line can be read from the socket."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_LIMIT_S):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=256 * 1024)
                try:
                    return bool(await reader.readline())
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    return probe


def worker_probe(path: Path) -> Probe:
    """Ready when the worker says so."""
    client = WorkerClient(path)

    async def probe() -> bool:
        try:
            reply = await client.request("ping", timeout_s=_LIMIT_S)
        except ModelError:
            return False
        finally:
            await client.close()
        return bool(reply.header.get("ready"))

    return probe


def file_probe(path: Path) -> Probe:
    """Ready when the file is there."""

    async def probe() -> bool:
        return os.path.exists(path)  # noqa: ASYNC240

    return probe


class ControlConnection:
    """The supervisor's requests to control."""

    def __init__(self, path: Path) -> None:
        self._transport = httpx.AsyncHTTPTransport(uds=str(path))
        self._http = httpx.AsyncClient(transport=self._transport, base_url="http://control", timeout=_LIMIT_S)

    async def alive(self) -> bool:
        """Whether control answers."""
        try:
            return (await self._http.get("/health")).is_success
        except httpx.HTTPError:
            return False

    async def missing(self) -> dict[str, str] | None:
        """Return what is missing for a call to be answered well, or None when control does not answer."""
        try:
            answer: dict[str, Any] = (await self._http.get("/ready")).json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return None
        missing: dict[str, str] = answer.get("missing", {})
        return missing

    async def report(self, processes: dict[str, dict[str, Any]]) -> None:
        """Tell control how the processes are, for the metrics; when it does not listen, the next report will do."""
        try:
            await self._http.post("/internal/status", json={"process": "supervisor", "processes": processes})
        except httpx.HTTPError:
            return

    async def add_documents(self, collection: str, folder: Path, timeout_s: float) -> dict[str, Any]:
        """Take the agent's documents in. Raises httpx.HTTPError."""
        response = await self._http.post(
            f"/internal/kb/{collection}/documents", json={"paths": [str(folder)]}, timeout=timeout_s
        )
        response.raise_for_status()
        report: dict[str, Any] = response.json()
        return report

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()
