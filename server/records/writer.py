"""The one writer of the records: batches what waits into one transaction, on a thread of its own.

An answer is given only after commit. When the database cannot be written the request fails with the reason,
:attr:`RecordsWriter.fault` says so until a write succeeds again, and nothing half is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from server.errors import RecordsUnavailable
from server.records import store
from server.records.database import unavailable
from server.records.operations import Operation, Rejection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request's operations. ``written`` leaves out what was known already."""

    written: tuple[Operation, ...]
    rejected: tuple[Rejection, ...]


@dataclass(slots=True)
class _Request:
    operations: Sequence[Operation]
    done: asyncio.Future[Outcome]


class RecordsWriter:
    """Owner of every write to the records database."""

    def __init__(self, engine: Engine, *, queue_limit: int, batch_limit: int) -> None:
        self._engine = engine
        self._batch_limit = batch_limit
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue(queue_limit)
        self._thread = ThreadPoolExecutor(1, "records")
        self.fault: RecordsUnavailable | None = None
        """Why the last write failed; None when it succeeded."""

    async def append(self, operations: Sequence[Operation]) -> Outcome:
        """Write operations and return once they are committed.

        Raises :class:`server.errors.RecordsUnavailable` when they could not be written or too many wait.
        """
        request = _Request(operations, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull:
            raise RecordsUnavailable("busy", "records cannot be written: too many requests wait") from None
        return await request.done

    async def run(self) -> None:
        """Serve requests until cancelled; those still waiting then are answered that nothing was written."""
        try:
            while True:
                await self._serve(await self._next_batch())
        finally:
            while not self._waiting.empty():
                self._fail(
                    [self._waiting.get_nowait()], RecordsUnavailable("busy", "records are being closed")
                )

    async def _next_batch(self) -> list[_Request]:
        batch = [await self._waiting.get()]
        size = len(batch[0].operations)
        while size < self._batch_limit and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
            size += len(batch[-1].operations)
        return batch

    @staticmethod
    def _fail(batch: list[_Request], error: RecordsUnavailable) -> None:
        for request in batch:
            if not request.done.done():
                request.done.set_exception(error)

    async def _serve(self, batch: list[_Request]) -> None:
        operations = [item for request in batch for item in request.operations]
        try:
            written, rejected = await self.transact(lambda connection: store.apply(connection, operations))
        except RecordsUnavailable as error:
            self._fail(batch, error)
            return
        for request in batch:
            keys = {(item.call_id, item.sequence) for item in request.operations}
            outcome = Outcome(
                tuple(item for item in written if (item.call_id, item.sequence) in keys),
                tuple(item for item in rejected if (item.call_id, item.sequence) in keys),
            )
            if not request.done.done():
                request.done.set_result(outcome)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one write transaction on the writer's thread. Raises RecordsUnavailable."""

        def run() -> T:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                raise unavailable(error) from error

        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except RecordsUnavailable as error:
            self.fault = error
            raise
        self.fault = None
        return result

    async def probe(self) -> None:
        """Try a write that changes nothing, to learn whether a fault is over."""

        def touch(connection: Connection) -> None:
            if connection.dialect.name != "sqlite":
                return
            # Room in the database: new pages, given back. Room on the disk: one page really written.
            nested = connection.begin_nested()
            connection.exec_driver_sql("CREATE TABLE probe (filler TEXT)")
            connection.exec_driver_sql("INSERT INTO probe VALUES (zeroblob(16384))")
            nested.rollback()
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {(int(version) + 1) % 1_000_000}")

        try:
            await self.transact(touch)
        except RecordsUnavailable:
            return

    def close(self) -> None:
        """Finish the running transaction and close the database."""
        self._thread.shutdown(wait=True)
        self._engine.dispose()
