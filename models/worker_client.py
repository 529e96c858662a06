"""Client of a model worker: requests over one unix socket, connected when needed, never hanging on a dead worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from models.errors import WorkerProtocolError, WorkerRefused, WorkerTimeout, WorkerUnavailable
from models.worker_protocol import Decoder, Frame, Reply, encode

_READ_BYTES: Final = 1 << 18
_CONNECT_TIMEOUT_S: Final = 2.0
_REPLIES_LIMIT: Final = 1024


class _Connection:
    """One open socket and the replies awaited on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: Path) -> None:
        self._reader = reader
        self.writer = writer
        self._path = path
        self.waiting: dict[int, asyncio.Queue[Frame | None]] = {}
        self.closed = False
        self._task = asyncio.create_task(self._read(), name=f"worker client {path.name}")

    async def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := await self._reader.read(_READ_BYTES):
                for frame in decoder.feed(data):
                    queue = self.waiting.get(frame.header.get("id", 0))
                    if queue is None:
                        continue  # cancelled meanwhile
                    if queue.full():
                        raise WorkerProtocolError("a worker sends faster than it is read")
                    queue.put_nowait(frame)
        except (OSError, WorkerProtocolError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket and wake everybody who waits."""
        self.closed = True
        self.writer.close()
        for queue in self.waiting.values():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    async def stop(self) -> None:
        """Close and wait for the reader."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class WorkerClient:
    """Requests to one worker. Reconnects on the next request after the worker was gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def request(
        self, op: str, fields: Mapping[str, Any] | None = None, payload: bytes = b"", *, timeout_s: float
    ) -> Reply:
        """Return the one reply of ``op``.

        Raises :class:`models.errors.WorkerUnavailable`, :class:`models.errors.WorkerTimeout` or
        :class:`models.errors.WorkerRefused`. Cancelling the task cancels the work.
        """
        async with aclosing(self.stream(op, fields, payload, timeout_s=timeout_s)) as replies:
            async for reply in replies:
                return reply
        raise WorkerUnavailable(f"the worker at {self._path.name} closed without a reply")

    async def stream(
        self, op: str, fields: Mapping[str, Any] | None = None, payload: bytes = b"", *, timeout_s: float
    ) -> AsyncGenerator[Reply, None]:
        """Yield the replies of ``op``, the last one final; ``timeout_s`` is the limit for each of them.

        Closing the iterator cancels the work. Raises as :meth:`request`.
        """
        number = next(self._ids)
        frame = encode({"id": number, "op": op, **(fields or {})}, payload)
        connection = await self._connected()
        queue: asyncio.Queue[Frame | None] = asyncio.Queue(_REPLIES_LIMIT)
        connection.waiting[number] = queue
        finished = False
        try:
            connection.writer.write(frame)
            while not finished:
                reply = self._reply(await self._next(queue, op, timeout_s))
                finished = reply.final
                yield reply
        except WorkerRefused:
            finished = True
            raise
        finally:
            connection.waiting.pop(number, None)
            if not finished and not connection.closed:
                connection.writer.write(encode({"id": number, "op": "cancel"}))

    async def close(self) -> None:
        """Close the connection; running requests raise :class:`models.errors.WorkerUnavailable`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.stop()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        reader, writer = await asyncio.open_unix_connection(
                            str(self._path), limit=_READ_BYTES
                        )
                except (OSError, TimeoutError) as error:
                    raise WorkerUnavailable(f"no worker at {self._path.name}: {error}") from error
                self._connection = _Connection(reader, writer, self._path)
            return self._connection

    async def _next(self, queue: asyncio.Queue[Frame | None], op: str, timeout_s: float) -> Frame:
        try:
            async with asyncio.timeout(timeout_s):
                frame = await queue.get()
        except TimeoutError:
            raise WorkerTimeout(f"{op}: no reply from {self._path.name} within {timeout_s} s") from None
        if frame is None:
            raise WorkerUnavailable(f"{op}: the worker at {self._path.name} is gone")
        return frame

    @staticmethod
    def _reply(frame: Frame) -> Reply:
        header = dict(frame.header)
        header.pop("id", None)
        final = bool(header.pop("final", True))
        if "error" in header:
            raise WorkerRefused(
                str(header["error"]), str(header.get("message", "")), retryable=bool(header.get("retryable"))
            )
        return Reply(header, frame.payload, final)
