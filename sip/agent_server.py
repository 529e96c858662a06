"""The leg socket of a door's process: connections of agents around its switchboard. It decides nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

from sip.agent_links import LinkOutput, ToAgent
from sip.errors import LegProtocolError
from sip.leg_protocol import AudioBatch, Decoder, DoorMessage, encode

AUDIO_BACKLOG_BYTES: Final = 256 * 1024
CONTROL_BACKLOG_BYTES: Final = 4 * 1024 * 1024


class AgentSide(Protocol):
    """What a door is told of its agents."""

    def connect_agent(self, connection_id: int, now: int) -> None:
        """Take in a new connection."""
        ...

    def disconnect_agent(self, connection_id: int, now: int) -> None:
        """Take in that a connection is closed."""
        ...

    def receive_from_agent(self, connection_id: int, message: object, now: int) -> None:
        """Take in one message of the leg protocol."""
        ...

    def reject_agent(self, connection_id: int, now: int) -> None:
        """Take in bytes that are not leg protocol."""
        ...


class AgentServer:
    """All connections of agents; ``flush`` is called after everything the door was told."""

    def __init__(self, door: AgentSide, flush: Callable[[], None]) -> None:
        self._door = door
        self._flush = flush
        self._connections: dict[int, _AgentConnection] = {}
        self._last_connection = 0
        self._server: asyncio.Server | None = None
        self.batches_dropped = 0
        """Audio that an agent did not take in time."""

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _AgentConnection(self), sock=sock)

    def close(self) -> None:
        """Take no further connection."""
        if self._server is not None:
            self._server.close()

    def connected(self, connection: _AgentConnection) -> int:
        """Take in a connection; return its id."""
        self._last_connection += 1
        self._connections[self._last_connection] = connection
        self._door.connect_agent(self._last_connection, time.monotonic_ns())
        self._flush()
        return self._last_connection

    def said(self, connection_id: int, messages: list[object]) -> None:
        """Take in what an agent said."""
        for message in messages:
            self._door.receive_from_agent(connection_id, message, time.monotonic_ns())
        self._flush()

    def babbled(self, connection_id: int) -> None:
        """Take in bytes that are not leg protocol."""
        self._door.reject_agent(connection_id, time.monotonic_ns())
        self._flush()

    def gone(self, connection_id: int) -> None:
        """Take in that a connection is closed."""
        self._connections.pop(connection_id, None)
        self._door.disconnect_agent(connection_id, time.monotonic_ns())
        self._flush()

    def carry_out(self, output: LinkOutput) -> None:
        """Send a message, or close a connection."""
        if isinstance(output, ToAgent):
            self._write(output.connection_id, output.message)
            return
        connection = self._connections.pop(output.connection_id, None)
        if connection is not None:
            connection.close()

    def _write(self, connection_id: int, message: DoorMessage) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        backlog = connection.backlog()
        if isinstance(message, AudioBatch) and backlog > AUDIO_BACKLOG_BYTES:
            self.batches_dropped += 1
        elif backlog > CONTROL_BACKLOG_BYTES:
            connection.close()
        else:
            connection.write(encode(message))


class _AgentConnection(asyncio.Protocol):
    """One agent's stream."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._connection_id = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports satisfy the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)
        # Backlog is judged message by message, never by pausing.
        self._transport.set_write_buffer_limits(high=CONTROL_BACKLOG_BYTES * 2)
        self._connection_id = self._server.connected(self)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except LegProtocolError:
            self._server.babbled(self._connection_id)
            return
        self._server.said(self._connection_id, list(messages))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.gone(self._connection_id)

    def backlog(self) -> int:
        """Bytes not taken by the agent yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, data: bytes) -> None:
        """Send bytes; they wait where the agent does not read."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Close at once: what waits is for an agent that does not listen."""
        if self._transport is not None:
            self._transport.abort()
