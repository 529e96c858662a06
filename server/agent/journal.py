"""Record operations on their way to control: numbered per call, in order, resent until stored.

The queue is bounded. When control is away for so long that it fills, the oldest operations that a
later one supersedes (snapshots) go first, then new calls are refused (``healthy`` is false) while
those that are up go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from server.agent.control_client import ControlClient, ControlRequestFailed

_LIMIT = 20_000
_BATCH = 200
_RETRY_S = 0.25

_log = logging.getLogger(__name__)


class Journal:
    """All calls' record operations of one agent process."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control
        self._queue: deque[dict[str, Any]] = deque()
        self._sequences: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.healthy = True
        """Whether what is written now reaches the disk."""

    def adopt(self, call_id: str, sequence: int) -> None:
        """Go on with a call whose last stored operation is ``sequence``."""
        self._sequences[call_id] = sequence

    def write(self, call_id: str, op: str, fields: Mapping[str, Any]) -> None:
        """Queue one operation; it is sent at once and resent until stored."""
        sequence = self._sequences.get(call_id, 0) + 1
        self._sequences[call_id] = sequence
        if op == "snapshot":
            self._drop_older_snapshots(call_id)
        if len(self._queue) >= _LIMIT:
            self._queue.popleft()
            _log.error("journal_overflow")
        at = datetime.now(UTC).isoformat()
        self._queue.append({"op": op, "call_id": call_id, "sequence": sequence, "at": at, **fields})
        if op == "call_ended":
            del self._sequences[call_id]
        self._idle.clear()
        self._wake.set()

    def _drop_older_snapshots(self, call_id: str) -> None:
        if len(self._queue) < _LIMIT // 2:
            return
        kept = [o for o in self._queue if not (o["op"] == "snapshot" and o["call_id"] == call_id)]
        self._queue = deque(kept)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue[index] for index in range(min(_BATCH, len(self._queue)))]
                if await self._send(batch):
                    for operation in batch:
                        if self._queue and self._queue[0] is operation:
                            self._queue.popleft()
                else:
                    await asyncio.sleep(_RETRY_S)
            self._idle.set()

    async def _send(self, batch: list[dict[str, Any]]) -> bool:
        try:
            await self._control.append_records(batch)
        except ControlRequestFailed as error:
            if self.healthy:
                _log.error("records_not_stored", extra={"status": error.status})
            self.healthy = False
            return False
        self.healthy = True
        return True

    async def flush(self, limit_s: float) -> bool:
        """Wait until everything is stored; say whether it was in time."""
        try:
            await asyncio.wait_for(self._idle.wait(), limit_s)
        except TimeoutError:
            return False
        return True
