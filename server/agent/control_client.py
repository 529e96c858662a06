"""The agent's requests to the control process, over its unix socket. Every one has a limit."""

from __future__ import annotations

from typing import Any

import httpx

from server.dialogue.knowledge import Passage
from server.errors import ControlUnavailable

_QUERY_LIMIT_S = 1.5
_RECORDS_LIMIT_S = 5.0
_OPEN_CALLS_LIMIT_S = 1.0


class ControlRequestFailed(ControlUnavailable):
    """Control did not do what was asked. ``status`` is its HTTP status, 0 where it could not be reached."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(f"control: {what} ({status or 'unreachable'})")
        self.status = status


class ControlClient:
    """HTTP over ``control.sock``; also the dialogue's way to the knowledge base."""

    def __init__(self, socket_path: str, *, collection: str) -> None:
        self._collection = collection
        transport = httpx.AsyncHTTPTransport(uds=socket_path)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://control", trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(self, method: str, path: str, limit_s: float, body: Any = None) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=body, timeout=limit_s)
        except httpx.HTTPError as error:
            raise ControlRequestFailed(0, type(error).__name__) from error
        if response.status_code != httpx.codes.OK:
            raise ControlRequestFailed(response.status_code, path)
        answer: dict[str, Any] = response.json()
        return answer

    async def query(self, text: str, limit: int = 4) -> list[Passage]:
        """Return the passages nearest to ``text``, best first. Raises :class:`ControlRequestFailed`."""
        path = f"/internal/kb/{self._collection}/query"
        answer = await self._call("POST", path, _QUERY_LIMIT_S, {"text": text, "limit": limit})
        return [Passage(**passage) for passage in answer["passages"]]

    async def append_records(self, operations: list[dict[str, Any]]) -> None:
        """Store record operations; they are on disk when this returns."""
        await self._call("POST", "/internal/records", _RECORDS_LIMIT_S, {"ops": operations})

    async def open_calls(self) -> list[dict[str, Any]]:
        """Return the calls that have no end yet, with their last snapshot."""
        answer = await self._call("GET", "/internal/calls/open", _OPEN_CALLS_LIMIT_S)
        calls: list[dict[str, Any]] = answer["calls"]
        return calls

    async def report_status(self, status: dict[str, Any]) -> None:
        """Hand over this process's gauges."""
        await self._call("POST", "/internal/status", _OPEN_CALLS_LIMIT_S, status)
