"""The agent's end of the leg protocol: connects to the door, keeps it informed, hands messages on.

One small shell around :mod:`sip.leg_protocol`. It reconnects for ever, because the door may be
restarted at any moment, and it sends heartbeats from the loop that does the work.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable

from sip import leg_protocol as leg
from sip.errors import LegProtocolError

_RECONNECT_S = 0.1
_READ_BYTES = 256 * 1024
_MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""A door that reads nothing is given up, rather than held in memory."""
_MISSED_HEARTBEATS = 3

_log = logging.getLogger(__name__)


class LegClient:
    """Connection of one agent process to one door."""

    def __init__(
        self,
        path: str,
        *,
        name: str,
        capacity: int,
        heartbeat_ms: int,
        phrases: Callable[[], Iterable[leg.Phrase]],
        on_message: Callable[[leg.Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._path = path
        self._hello = leg.Hello(leg.VERSION, "agent", name, os.getpid(), capacity, heartbeat_ms)
        self._phrases = phrases
        self._on_message = on_message
        self._on_lost = on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._last_heard = 0.0

    @property
    def connected(self) -> bool:
        """Whether the door is there."""
        return self._writer is not None

    def send(self, message: leg.AgentMessage) -> None:
        """Send, or drop where no door is connected (its legs are gone with it)."""
        writer = self._writer
        if writer is None:
            return
        if writer.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            _log.error("door_not_reading")
            writer.transport.abort()
            return
        writer.write(leg.encode(message))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            try:
                await self._serve(reader, writer)
            finally:
                self._writer = None
                writer.transport.abort()
                self._on_lost()
            await asyncio.sleep(_RECONNECT_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.send(self._hello)
        for phrase in self._phrases():
            self.send(phrase)
        loop = asyncio.get_running_loop()
        self._last_heard = loop.time()
        beats = asyncio.create_task(self._beat(writer))
        decoder = leg.Decoder()
        try:
            while data := await reader.read(_READ_BYTES):
                self._last_heard = loop.time()
                for message in decoder.feed(data):
                    self._on_message(message)
        except (OSError, LegProtocolError) as error:
            _log.warning("door_lost", extra={"error": type(error).__name__})
        finally:
            beats.cancel()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Send heartbeats; give up a door that sends none."""
        loop = asyncio.get_running_loop()
        sequence = 0
        interval_s = self._hello.heartbeat_ms / 1000
        while True:
            sequence += 1
            self.send(leg.Heartbeat(sequence))
            await asyncio.sleep(interval_s)
            if loop.time() - self._last_heard > _MISSED_HEARTBEATS * interval_s + 1.0:
                _log.error("door_hangs")
                writer.transport.abort()
                return
