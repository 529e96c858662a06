"""One model on one thread, fed from a bounded queue: the urgent first, what fits together in one run, nothing stale.

Items of one priority share a run; a run never holds anything less urgent than its first item, so nobody who matters
waits for somebody who does not. A step of a model cannot be stopped, but between its steps a run may ask whether to go
on: not when all its clients have cancelled, and not when it is for partials only and something more urgent has come. Then
the partials wait again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from models.errors import WorkerRefused
from models.protocols import Priority
from models.work_queue import WorkQueue

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger("models.worker")


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A result, and how busy the model was."""

    value: Result
    waited_ms: float
    """From :meth:`ModelThread.submit` to the begin of the run."""
    queued: int
    """Items that waited for this model when the run ended."""


@dataclass(slots=True)
class _Job(Generic[Item, Result]):
    item: Item
    priority: Priority
    result: asyncio.Future[tuple[Result, float, int]]
    submitted: float = field(default_factory=time.monotonic)
    withdraw: Callable[[], None] = lambda: None


class ModelThread(Generic[Item, Result]):
    """Feeds ``run`` with batches of waiting items. ``run`` is called on the thread and nowhere else.

    Its second argument tells whether to go on; what a run returns that was told no is thrown away.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Item], Callable[[], bool]], Sequence[Result]],
        *,
        queue_limit: int,
        batch_limit: int = 1,
        fits: Callable[[Item, Item], bool] = lambda _first, _other: True,
    ) -> None:
        self._name = name
        self._run = run
        self._batch_limit = batch_limit
        self._fits = fits
        self._queue: WorkQueue[_Job[Item, Result]] = WorkQueue(queue_limit)
        self._wake = asyncio.Event()

    async def submit(self, item: Item, priority: Priority = Priority.FINAL) -> Done[Result]:
        """Wait for the turn of ``item`` and for its result. Cancelling withdraws it.

        Raises :class:`models.errors.WorkerRefused`: ``busy`` when the queue is full of what is no less urgent, or when
        the item was shed for something more urgent; ``failed`` when the model failed.
        """
        job: _Job[Item, Result] = _Job(item, priority, asyncio.get_running_loop().create_future())
        if not self._put(job):
            raise WorkerRefused("busy", f"the queue of {self._name} is full", retryable=True)
        try:
            value, began, queued = await job.result
        finally:
            job.withdraw()
        return Done(value, (began - job.submitted) * 1000, queued)

    def _put(self, job: _Job[Item, Result]) -> bool:
        taken = self._queue.put(job, job.priority)
        if taken is None:
            return False
        job.withdraw, shed = taken
        if shed is not None and _wanted(shed):
            shed.result.set_exception(WorkerRefused("busy", "shed for more urgent work", retryable=True))
        self._wake.set()
        return True

    async def work(self) -> None:
        """Run batches until cancelled; what runs then is finished by its thread and forgotten."""
        pool = ThreadPoolExecutor(1, self._name)
        try:
            while True:
                batch = [job for job in self._queue.take(self._batch_limit, self._together) if _wanted(job)]
                if batch:
                    await self._serve(batch, pool)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, batch: list[_Job[Item, Result]], pool: ThreadPoolExecutor) -> None:
        began = time.monotonic()
        stopped = False

        def go_on() -> bool:
            nonlocal stopped
            urged = batch[0].priority is Priority.PARTIAL and self._queue.is_urged(Priority.PARTIAL)
            stopped = stopped or urged or not any(_wanted(job) for job in batch)
            return not stopped

        try:
            results = await asyncio.get_running_loop().run_in_executor(
                pool, self._run, [job.item for job in batch], go_on
            )
        except Exception as error:
            # One broken batch must not end the worker; its clients are told.
            logger.error("model_failed", extra={"model": self._name, "error": type(error).__name__})
            for job in filter(_wanted, batch):
                job.result.set_exception(WorkerRefused("failed", type(error).__name__, retryable=True))
            return
        for job, result in zip(batch, results, strict=True):
            if not _wanted(job):
                continue
            if not stopped:
                job.result.set_result((result, began, len(self._queue)))
            elif not self._put(job):
                job.result.set_exception(WorkerRefused("busy", "shed for more urgent work", retryable=True))

    def _together(self, first: _Job[Item, Result], other: _Job[Item, Result]) -> bool:
        return other.priority <= first.priority and self._fits(first.item, other.item)


def _wanted(job: _Job[Item, Result]) -> bool:
    return not job.result.done()
