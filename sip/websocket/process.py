"""The websocket process: the WebSocket server, the leg socket and the ticker around the door. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sip.agent_links import CloseAgent, ToAgent
from sip.agent_server import AgentServer
from sip.errors import ConfigurationError
from sip.process_life import StatusTeller, freeze_memory, watch_for_the_end
from sip.sockets import bind_unix, family_of
from sip.ticker import Ticker
from sip.websocket.config import WebSocketConfig
from sip.websocket.door import AnswerClient, CloseClient, RefuseClient, ToClient, WebSocketDoor
from sip.websocket.wire import MAX_AUDIO_BYTES, RequestRefused, read_request

logger = logging.getLogger(__name__)

UNREAD_LIMIT_BYTES: Final = 128 * 1024
"""Four seconds at 16 kHz that a client did not read, beside what the kernel holds."""
_KERNEL_BUFFER_BYTES: Final = 64 * 1024
_PING_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 2.0
_OPEN_TIMEOUT_S: Final = 5.0
_GOING_AWAY: Final = 1001


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises :class:`sip.errors.ConfigurationError` where the port cannot be had."""
    sock = socket.socket(family_of(host), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: what waits in the kernel is as unheard as what waits here.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            text = f"TCP port {port} on {host} is taken; expected a free one"
        else:
            text = f"TCP port {port} on {host} cannot be used ({error.strerror}); expected an address of this machine"
        raise ConfigurationError(text) from error
    return sock


def _token(characters: int) -> str:
    return secrets.token_hex((characters + 1) // 2)[:characters]


class WebSocketProcess:
    """Everything of one websocket process; :meth:`run` until it is asked to end."""

    def __init__(self, config: WebSocketConfig) -> None:
        """Bind what must be ours alone; raises :class:`sip.errors.ConfigurationError`."""
        self._config = config
        self._started_ns = time.monotonic_ns()
        self._listener = bind_tcp(config.host, config.port)
        self._leg_socket = bind_unix(config.leg_socket)
        self._status_socket = bind_unix(config.status_socket)
        self.port = int(self._listener.getsockname()[1])
        self._door = WebSocketDoor(config, _token, pid=os.getpid())
        self._agents = AgentServer(self._door, self._flush)
        self._ticker = Ticker(self._on_tick)
        self._ringing: dict[int, asyncio.Future[int]] = {}
        """Leg → 0 where the call is answered, else after how many seconds to ring again."""
        self._clients: dict[int, ServerConnection] = {}
        # Weak, because a client that is gone before the upgrade is never handled.
        self._legs: WeakKeyDictionary[ServerConnection, int] = WeakKeyDictionary()
        self._closing: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the end of the lifeline, then end every call in order."""
        # Its texts quote clients, and every refused handshake would be an error.
        logging.getLogger("websockets").setLevel(logging.CRITICAL)
        await self._agents.start(self._leg_socket)
        status = await asyncio.start_unix_server(StatusTeller(self.status).tell, sock=self._status_socket)
        server = await self._serve()
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
            server.close(code=_GOING_AWAY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _CLOSE_TIMEOUT_S)
            self._remove_sockets()
            logger.info("stopped", extra={"ticks": self._ticker.ticks})

    def _remove_sockets(self) -> None:
        for path in (self._config.leg_socket, self._config.status_socket):
            Path(path).unlink(missing_ok=True)

    async def _serve(self) -> Server:
        return await serve(
            self._handle,
            sock=self._listener,
            process_request=self._answer_request,
            compression=None,
            open_timeout=_OPEN_TIMEOUT_S,
            # Pings are our own, because a pong counts as a sign of life and its lack is judged by the door.
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
            # Larger than what the door takes, so that the client is told what it did wrong.
            max_size=4 * MAX_AUDIO_BYTES,
            server_header=None,
        )

    # ── clients ──────────────────────────────────────────────────────────────────────────────────

    async def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Ring before the upgrade; None to upgrade."""
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        try:
            rate_hz = read_request(request.path, headers, self._config.token)
        except RequestRefused as refused:
            response = connection.respond(refused.status, f"{refused}\n")
            if refused.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        remote = connection.remote_address
        leg_id = self._door.ring(rate_hz, f"websocket:{remote[0]}", time.monotonic_ns())
        answer = asyncio.get_running_loop().create_future()
        self._ringing[leg_id] = answer
        gone = asyncio.ensure_future(connection.wait_closed())
        try:
            self._flush()
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._ringing[leg_id]
            gone.cancel()
            if not answer.done():
                self._door.lose(leg_id)
                self._flush()
        retry_after_s = answer.result() if answer.done() else self._config.retry_after_s
        if retry_after_s:
            response = connection.respond(503, "no agent can take the call now\n")
            response.headers["Retry-After"] = str(retry_after_s)
            return response
        self._legs[connection] = leg_id
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        leg_id = self._legs.pop(connection)
        self._clients[leg_id] = connection
        pings = asyncio.create_task(self._ping(leg_id, connection))
        try:
            if not self._door.open(leg_id, time.monotonic_ns()):
                return
            self._flush()
            async for message in connection:
                self._door.receive(leg_id, message, time.monotonic_ns())
                self._flush()
        except ConnectionClosed:
            pass
        finally:
            pings.cancel()
            self._clients.pop(leg_id, None)
            self._door.lose(leg_id)
            self._flush()

    async def _ping(self, leg_id: int, connection: ServerConnection) -> None:
        while True:
            await asyncio.sleep(_PING_S)
            try:
                await (await connection.ping())
            except ConnectionClosed:
                return
            self._door.hear_pong(leg_id, time.monotonic_ns())

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def _on_tick(self, now_ns: int, ticks: int) -> None:
        self._door.tick(now_ns, ticks)
        self._flush()
        if self._door.finished(now_ns):
            self._over.set()

    def _flush(self) -> None:
        while outputs := self._door.outputs():
            for output in outputs:
                match output:
                    case ToClient(leg_id=leg_id, message=message):
                        self._send(leg_id, message)
                    case CloseClient(leg_id=leg_id, code=code):
                        self._close(leg_id, code)
                    case AnswerClient(leg_id=leg_id):
                        self._decide(leg_id, 0)
                    case RefuseClient(leg_id=leg_id, retry_after_s=retry_after_s):
                        self._decide(leg_id, retry_after_s)
                    case ToAgent() | CloseAgent():
                        self._agents.carry_out(output)

    def _decide(self, leg_id: int, retry_after_s: int) -> None:
        answer = self._ringing.get(leg_id)
        if answer is not None and not answer.done():
            answer.set_result(retry_after_s)

    def _send(self, leg_id: int, message: bytes | str) -> None:
        connection = self._clients.get(leg_id)
        if connection is None:
            return
        if connection.transport.get_write_buffer_size() > UNREAD_LIMIT_BYTES:
            del self._clients[leg_id]
            connection.transport.abort()
            self._door.drop(leg_id)
            return
        # The one way to send without waiting: the ticker waits for nobody.
        broadcast((connection,), message)

    def _close(self, leg_id: int, code: int) -> None:
        connection = self._clients.pop(leg_id, None)
        if connection is not None:
            task = asyncio.create_task(connection.close(code))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _shut_down(self) -> None:
        self._door.shut_down(time.monotonic_ns())
        self._flush()

    # ── statistics ───────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, object]:
        """Return what ``websocket-status.sock`` tells."""
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
            "audio_batches_dropped": self._agents.batches_dropped,
            "counters": dict(self._door.counters),
        }
