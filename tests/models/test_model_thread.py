from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from models.errors import WorkerRefused
from models.model_thread import Done, ModelThread
from models.protocols import Priority


class Gated:
    """A model whose runs wait until the test lets them go on, each asking in the middle whether to go on."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.given_up: list[list[str]] = []
        self.gate = threading.Semaphore(0)
        self.begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def run(self, batch: Sequence[str], go_on: Callable[[], bool]) -> list[str]:
        self.batches.append(list(batch))
        self.loop.call_soon_threadsafe(self.begun.put_nowait, list(batch))
        assert self.gate.acquire(timeout=10)
        if not go_on():
            self.given_up.append(list(batch))
        if "broken" in batch:
            raise RuntimeError("weights")
        return [item.upper() for item in batch]


def scene(play: Callable[[Gated, ModelThread[str, str]], Awaitable[None]], queue_limit: int = 8) -> Gated:
    async def main() -> Gated:
        model = Gated()
        thread = ModelThread("model", model.run, queue_limit=queue_limit, batch_limit=4)
        working = asyncio.create_task(thread.work())
        await play(model, thread)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return model

    return asyncio.run(main())


def ask(
    thread: ModelThread[str, str], item: str, priority: Priority = Priority.FINAL
) -> asyncio.Task[Done[str]]:
    return asyncio.create_task(thread.submit(item, priority))


def test_a_final_never_waits_for_a_partial_of_its_own_batch() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        first = ask(thread, "running", Priority.SPECULATIVE)
        await model.begun.get()
        others = [
            ask(thread, "partial", Priority.PARTIAL),
            ask(thread, "speculative", Priority.SPECULATIVE),
            ask(thread, "final a", Priority.FINAL),
            ask(thread, "final b", Priority.FINAL),
        ]
        await asyncio.sleep(0)
        model.gate.release(4)
        done = [task.result() for task in (await asyncio.wait([first, *others]))[0]]
        assert {one.value for one in done} == {
            "RUNNING",
            "PARTIAL",
            "SPECULATIVE",
            "FINAL A",
            "FINAL B",
        }

    assert scene(play).batches == [["running"], ["final a", "final b"], ["speculative"], ["partial"]]


def test_a_partial_in_the_midst_of_its_run_gives_way_and_is_run_again() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        partial = ask(thread, "partial", Priority.PARTIAL)
        await model.begun.get()
        speculative = ask(thread, "speculative", Priority.SPECULATIVE)
        await asyncio.sleep(0)
        model.gate.release(3)
        assert (await speculative).value == "SPECULATIVE"
        assert (await partial).value == "PARTIAL"

    model = scene(play)
    assert model.batches == [["partial"], ["speculative"], ["partial"]]
    assert model.given_up == [["partial"]]


def test_a_speculative_run_is_finished_though_a_final_waits() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        running = ask(thread, "speculative", Priority.SPECULATIVE)
        await model.begun.get()
        final = ask(thread, "final")
        await asyncio.sleep(0)
        model.gate.release(2)
        assert (await running).value == "SPECULATIVE"
        assert (await final).value == "FINAL"

    assert scene(play).given_up == []


def test_what_its_client_gave_up_is_not_run_and_what_runs_is_told() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        running = ask(thread, "running")
        await model.begun.get()
        waiting, kept = ask(thread, "waiting", Priority.SPECULATIVE), ask(thread, "kept", Priority.PARTIAL)
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        model.gate.release(2)
        assert (await kept).value == "KEPT"

    model = scene(play)
    assert model.batches == [["running"], ["kept"]]
    assert model.given_up == [["running"]]


def test_a_result_says_how_many_wait_and_for_how_long_it_waited() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        first = ask(thread, "first")
        await model.begun.get()
        second, third = ask(thread, "second", Priority.SPECULATIVE), ask(thread, "third", Priority.PARTIAL)
        await asyncio.sleep(0)
        model.gate.release()
        assert (await first).queued == 2
        await model.begun.get()
        model.gate.release(2)
        assert (await second).waited_ms >= 0
        assert (await third).queued == 0
        assert (await third).waited_ms >= (await second).waited_ms

    scene(play)


def test_a_full_queue_refuses_what_is_no_more_urgent_and_says_so_to_what_it_sheds() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        running = ask(thread, "running")
        await model.begun.get()
        partial = ask(thread, "partial", Priority.PARTIAL)
        await asyncio.sleep(0)
        final = ask(thread, "final")
        with pytest.raises(WorkerRefused) as shed:
            await partial
        with pytest.raises(WorkerRefused) as refused:
            await thread.submit("another partial", Priority.PARTIAL)
        assert (shed.value.code, shed.value.retryable) == ("busy", True)
        assert (refused.value.code, refused.value.retryable) == ("busy", True)
        model.gate.release(2)
        assert (await final).value == "FINAL"
        await running

    scene(play, queue_limit=1)


def test_a_run_that_fails_is_told_to_its_clients_and_the_next_one_runs() -> None:
    async def play(model: Gated, thread: ModelThread[str, str]) -> None:
        model.gate.release(2)
        with pytest.raises(WorkerRefused, match="RuntimeError") as failed:
            await thread.submit("broken")
        assert failed.value.retryable
        assert (await thread.submit("whole")).value == "WHOLE"

    scene(play)
