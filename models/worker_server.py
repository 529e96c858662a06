"""Server side of the worker protocol: handlers behind one unix socket, a bounded number of requests at once.

Standard library only, because the Piper worker imports this from an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import ModelError, WorkerProtocolError, WorkerRefused
from models.worker_protocol import Decoder, Frame, Reply, Request, encode

Handler = Callable[[Request], AsyncIterator[Reply]]
"""Answers one request; closed early when its client cancels or is gone."""

_READ_BYTES: Final = 1 << 18
_SEND_TIMEOUT_S: Final = 5.0
_CLIENTS_LIMIT: Final = 32

logger = logging.getLogger("models.worker")


class WorkerServer:
    """Connections, requests and their limit. Make one with :func:`serve`."""

    def __init__(self, handlers: Mapping[str, Handler], limit: int) -> None:
        self._handlers = handlers
        self._limit = limit
        self._running = 0
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen at ``path``, readable by the owner only; a stale socket there is replaced."""
        _remove_stale_socket(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        self._path = path
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=_READ_BYTES)

    async def close(self) -> None:
        """Stop listening, end every connection, remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= _CLIENTS_LIMIT:
            writer.close()
            return
        self._clients.add(task)
        client = _Client(self, writer)
        decoder = Decoder()
        try:
            while data := await reader.read(_READ_BYTES):
                for frame in decoder.feed(data):
                    client.take(frame)
        except (OSError, WorkerProtocolError) as error:
            logger.warning("worker_client_dropped", extra={"error": type(error).__name__})
        except asyncio.CancelledError:
            pass  # the server closes; nobody awaits this task for a result
        finally:
            self._clients.discard(task)
            await client.stop()
            writer.close()

    def admit(self) -> bool:
        """Count one more request in, unless the limit is reached."""
        if self._running >= self._limit:
            return False
        self._running += 1
        return True

    def leave(self) -> None:
        """Count a request out."""
        self._running -= 1

    def handler(self, op: str) -> Handler | None:
        """Return what answers ``op``."""
        return self._handlers.get(op)

    @property
    def operations(self) -> str:
        """The names of all operations, for an error message."""
        return ", ".join(sorted(self._handlers))


class _Client:
    """The requests of one connection."""

    def __init__(self, server: WorkerServer, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, frame: Frame) -> None:
        """Start, refuse or cancel what a frame asks."""
        header = dict(frame.header)
        number, op = header.pop("id", None), header.pop("op", None)
        if not isinstance(number, int) or not isinstance(op, str):
            raise WorkerProtocolError("a request needs an integer id and a string op")
        if op == "cancel":
            task = self._tasks.get(number)
            if task is not None:
                task.cancel()
            return
        handler = self._server.handler(op)
        if handler is None:
            self._refuse(
                number, "unknown_op", f"no operation {op!r}; expected one of {self._server.operations}"
            )
        elif number in self._tasks:
            self._refuse(number, "duplicate_id", f"request {number} is still running")
        elif not self._server.admit():
            self._refuse(number, "busy", "the worker's queue is full", retryable=True)
        else:
            task = asyncio.create_task(self._answer(number, handler, Request(op, header, frame.payload)))
            self._tasks[number] = task
            task.add_done_callback(lambda _task: self._done(number))

    def _done(self, number: int) -> None:
        self._tasks.pop(number, None)
        self._server.leave()

    async def stop(self) -> None:
        """Drop everything this client asked for."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse(self, number: int, code: str, message: str, *, retryable: bool = False) -> None:
        header = {"id": number, "final": True, "error": code, "message": message, "retryable": retryable}
        self._writer.write(encode(header))

    async def _answer(self, number: int, handler: Handler, request: Request) -> None:
        replies = handler(request)
        try:
            async for reply in replies:
                await self._send({"id": number, "final": reply.final, **reply.header}, reply.payload)
        except WorkerRefused as error:
            self._refuse(number, error.code, str(error), retryable=error.retryable)
        except (ModelError, ValueError, KeyError, TypeError) as error:
            self._refuse(number, "bad_request", f"{type(error).__name__}: {error}")
        except (ConnectionError, TimeoutError):
            self._writer.close()  # the client does not read; reading side ends with it
        except Exception as error:
            # The top of a worker: one broken request must not end the others. No content in the log.
            logger.error("worker_request_failed", extra={"op": request.op, "error": type(error).__name__})
            self._refuse(number, "failed", type(error).__name__, retryable=True)
        finally:
            close = getattr(replies, "aclose", None)
            if close is not None:
                await close()

    async def _send(self, header: Mapping[str, Any], payload: bytes) -> None:
        self._writer.write(encode(header, payload))
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._writer.drain()


async def serve(path: Path, handlers: Mapping[str, Handler], limit: int) -> WorkerServer:
    """Listen at ``path``; at most ``limit`` requests wait or run at once, further ones are answered ``busy``."""
    server = WorkerServer(handlers, limit)
    await server.start(path)
    return server


def _remove_stale_socket(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
