"""The sip process: sockets and the ticker around the door. It decides nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import secrets
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Final, cast

from sip.address import Address
from sip.config import SipConfig
from sip.door import CloseAgent, Door, ToAgent
from sip.errors import LegProtocolError
from sip.leg_protocol import AudioBatch, Decoder, DoorMessage, encode
from sip.sockets import (
    SIGNALLING_BURST,
    MediaSockets,
    bind_signalling,
    bind_unix,
    default_host,
    local_host_towards,
    read_burst,
)
from sip.ticker import Ticker
from sip.user_agent import SendDatagram, UserAgent, UserAgentConfig

logger = logging.getLogger(__name__)

AUDIO_BACKLOG_BYTES: Final = 256 * 1024
CONTROL_BACKLOG_BYTES: Final = 4 * 1024 * 1024


def _token(characters: int) -> str:
    return secrets.token_hex((characters + 1) // 2)[:characters]


class SipProcess:
    """Everything of one sip process; :meth:`run` until it is asked to end."""

    def __init__(self, config: SipConfig) -> None:
        """Bind what must be ours alone; raises :class:`sip.errors.ConfigurationError`."""
        self._config = config
        self._started_ns = time.monotonic_ns()
        self._signalling = bind_signalling(config.host, config.port)
        self._leg_socket = bind_unix(config.leg_socket)
        self._status_socket = bind_unix(config.status_socket)
        self.port = int(self._signalling.getsockname()[1])
        self._media = MediaSockets(
            config.host,
            range(config.rtp_port_first, config.rtp_port_last),
            self._host_towards,
            self._receive_media,
        )
        host = config.advertised_host or default_host(config.host)
        user_agent = UserAgent(UserAgentConfig(local=Address(host, self.port), user=config.user), _token)
        self._door = Door(config, user_agent, self._media, _token, pid=os.getpid())
        self._ticker = Ticker(self._on_tick)
        self._connections: dict[int, _AgentConnection] = {}
        self._last_connection = 0
        self._over = asyncio.Event()
        self._unsent = 0
        self._batches_dropped = 0

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the end of the lifeline, then end every call in order."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._signalling.fileno(), self._receive_signalling)
        agents = await loop.create_unix_server(lambda: _AgentConnection(self), sock=self._leg_socket)
        status = await asyncio.start_unix_server(self._tell_status, sock=self._status_socket)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._shut_down)
        self._watch_lifeline()
        # What lives for ever need not be looked at by the collector, whose pauses would be heard.
        gc.collect()
        gc.freeze()
        self._ticker.start()
        logger.info("ready", extra={"port": self.port, "pid": os.getpid()})
        try:
            await self._over.wait()
        finally:
            self._ticker.stop()
            agents.close()
            status.close()
            loop.remove_reader(self._signalling.fileno())
            self._media.close_all()
            self._signalling.close()
            self._remove_sockets()
            logger.info("stopped", extra={"ticks": self._ticker.ticks})

    def _remove_sockets(self) -> None:
        for path in (self._config.leg_socket, self._config.status_socket):
            Path(path).unlink(missing_ok=True)

    # ── from the wire ────────────────────────────────────────────────────────────────────────────

    def _receive_signalling(self) -> None:
        for data, (host, port) in read_burst(self._signalling, SIGNALLING_BURST):
            self._door.receive_signalling(data, Address(host, port), time.monotonic_ns())
        self._flush()

    def _receive_media(self, leg_id: int, data: bytes, source: tuple[str, int]) -> None:
        self._door.receive_media(leg_id, data, source, time.monotonic_ns())

    def _on_tick(self, now_ns: int, ticks: int) -> None:
        for leg_id, data, destination in self._door.tick(now_ns, ticks):
            self._media.send(leg_id, data, destination)
        self._flush()
        if self._door.finished(now_ns):
            self._over.set()

    # ── agents ───────────────────────────────────────────────────────────────────────────────────

    def agent_connected(self, connection: _AgentConnection) -> int:
        """Take in a connection; return its id."""
        self._last_connection += 1
        self._connections[self._last_connection] = connection
        self._door.connect_agent(self._last_connection, time.monotonic_ns())
        self._flush()
        return self._last_connection

    def agent_said(self, connection_id: int, messages: list[object]) -> None:
        """Take in what an agent said."""
        for message in messages:
            self._door.receive_from_agent(connection_id, message, time.monotonic_ns())
        self._flush()

    def agent_babbled(self, connection_id: int) -> None:
        """Take in bytes that are not leg protocol."""
        self._door.reject_agent(connection_id, time.monotonic_ns())
        self._flush()

    def agent_gone(self, connection_id: int) -> None:
        """Take in that a connection is closed."""
        self._connections.pop(connection_id, None)
        self._door.disconnect_agent(connection_id, time.monotonic_ns())
        self._flush()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        for output in self._door.outputs():
            if isinstance(output, ToAgent):
                self._write(output.connection_id, output.message)
            elif isinstance(output, SendDatagram):
                self._send_signalling(output)
            elif isinstance(output, CloseAgent):
                connection = self._connections.pop(output.connection_id, None)
                if connection is not None:
                    connection.close()

    def _send_signalling(self, datagram: SendDatagram) -> None:
        try:
            self._signalling.sendto(datagram.data, (datagram.destination.host, datagram.destination.port))
        except OSError:
            # Lost, as on any network: transactions retransmit.
            self._unsent += 1

    def _write(self, connection_id: int, message: DoorMessage) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        backlog = connection.backlog()
        if isinstance(message, AudioBatch) and backlog > AUDIO_BACKLOG_BYTES:
            self._batches_dropped += 1
        elif backlog > CONTROL_BACKLOG_BYTES:
            connection.close()
        else:
            connection.write(encode(message))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def _shut_down(self) -> None:
        self._door.shut_down(time.monotonic_ns())
        self._flush()

    def _watch_lifeline(self) -> None:
        try:
            mode = os.fstat(sys.stdin.fileno()).st_mode
        except (OSError, ValueError, AttributeError):
            return
        # A terminal or a file is no supervisor.
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read_lifeline)

    def _read_lifeline(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 4096)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            logger.info("lifeline_ended")
            self._shut_down()

    # ── statistics ───────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, object]:
        """Return what ``sip-status.sock`` tells."""
        return {
            "pid": os.getpid(),
            "uptime_s": round((time.monotonic_ns() - self._started_ns) / 1e9, 1),
            "port": self.port,
            "legs": self._door.legs,
            "call_limit": self._config.call_limit,
            "agents": self._door.agents,
            "agent_pids": self._door.agent_pids,
            "ticks": self._ticker.ticks,
            "ticks_skipped": self._ticker.skipped,
            "lateness_ms": self._ticker.lateness.summary_ms(),
            "datagrams_unsent": self._unsent + self._media.unsent,
            "audio_batches_dropped": self._batches_dropped,
            "counters": dict(self._door.counters),
        }

    async def _tell_status(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(self.status()).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), 1.0)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()

    def _host_towards(self, peer: str) -> str:
        return self._config.advertised_host or local_host_towards(peer, self._config.host)


class _AgentConnection(asyncio.Protocol):
    """One agent's stream."""

    def __init__(self, process: SipProcess) -> None:
        self._process = process
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._connection_id = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports satisfy the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)
        # Backlog is judged message by message, never by pausing.
        self._transport.set_write_buffer_limits(high=CONTROL_BACKLOG_BYTES * 2)
        self._connection_id = self._process.agent_connected(self)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except LegProtocolError:
            self._process.agent_babbled(self._connection_id)
            return
        self._process.agent_said(self._connection_id, list(messages))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._process.agent_gone(self._connection_id)

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
