"""The sip process: sockets and the ticker around the door. It decides nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from pathlib import Path

from sip.address import Address
from sip.agent_server import AgentServer
from sip.config import SipConfig
from sip.door import Door
from sip.process_life import StatusTeller, freeze_memory, watch_for_the_end
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
        self._agents = AgentServer(self._door, self._flush)
        self._over = asyncio.Event()
        self._unsent = 0

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the end of the lifeline, then end every call in order."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._signalling.fileno(), self._receive_signalling)
        await self._agents.start(self._leg_socket)
        status = await asyncio.start_unix_server(StatusTeller(self.status).tell, sock=self._status_socket)
        watch_for_the_end(self._shut_down)
        freeze_memory()
        self._ticker.start()
        logger.info("ready", extra={"port": self.port, "pid": os.getpid()})
        try:
            await self._over.wait()
        finally:
            self._ticker.stop()
            self._agents.close()
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

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        for output in self._door.outputs():
            if isinstance(output, SendDatagram):
                self._send_signalling(output)
            else:
                self._agents.carry_out(output)

    def _send_signalling(self, datagram: SendDatagram) -> None:
        try:
            self._signalling.sendto(datagram.data, (datagram.destination.host, datagram.destination.port))
        except OSError:
            # Lost, as on any network: transactions retransmit.
            self._unsent += 1

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def _shut_down(self) -> None:
        self._door.shut_down(time.monotonic_ns())
        self._flush()

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
            "audio_batches_dropped": self._agents.batches_dropped,
            "counters": dict(self._door.counters),
        }

    def _host_towards(self, peer: str) -> str:
        return self._config.advertised_host or local_host_towards(peer, self._config.host)
