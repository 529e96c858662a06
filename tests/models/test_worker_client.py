from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from models.errors import WorkerRefused, WorkerTimeout, WorkerUnavailable
from models.worker_client import WorkerClient
from models.worker_protocol import Reply, Request
from models.worker_server import WorkerServer, serve

pytestmark = pytest.mark.loopback


class Worker:
    """Handlers whose work a test can hold."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def echo(self, request: Request) -> AsyncIterator[Reply]:
        yield Reply(dict(request.fields), request.payload)

    async def count(self, request: Request) -> AsyncIterator[Reply]:
        number = int(request.fields["to"])
        for value in range(number):
            yield Reply({"value": value}, final=value == number - 1)

    async def hang(self, _request: Request) -> AsyncIterator[Reply]:
        self.begun.set()
        try:
            yield Reply({}, final=False)
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def broken(self, request: Request) -> AsyncIterator[Reply]:
        if not request.payload:
            raise RuntimeError("a secret that must not travel")
        yield Reply()

    async def start(self, path: Path, limit: int = 4) -> WorkerServer:
        handlers = {"echo": self.echo, "count": self.count, "hang": self.hang, "broken": self.broken}
        return await serve(path, handlers, limit)


def test_requests_at_once_each_get_their_own_reply(tmp_path: Path) -> None:
    async def scene() -> None:
        server = await Worker().start(tmp_path / "w.sock", limit=32)
        client = WorkerClient(tmp_path / "w.sock")
        replies = await asyncio.gather(
            *(client.request("echo", {"n": n}, bytes([n]), timeout_s=5) for n in range(20))
        )
        assert [(reply.header["n"], reply.payload) for reply in replies] == [
            (n, bytes([n])) for n in range(20)
        ]
        async with aclosing(client.stream("count", {"to": 3}, timeout_s=5)) as stream:
            assert [reply.header["value"] async for reply in stream] == [0, 1, 2]
        await client.close()
        await server.close()

    asyncio.run(scene())


def test_only_the_owner_can_open_the_socket(tmp_path: Path) -> None:
    async def scene() -> None:
        server = await Worker().start(tmp_path / "w.sock")
        assert stat.S_IMODE((tmp_path / "w.sock").stat().st_mode) == 0o600
        await server.close()

    asyncio.run(scene())


def test_closing_a_stream_ends_the_work(tmp_path: Path) -> None:
    async def scene() -> None:
        worker = Worker()
        server = await worker.start(tmp_path / "w.sock")
        client = WorkerClient(tmp_path / "w.sock")
        async with aclosing(client.stream("hang", timeout_s=5)) as stream:
            await anext(stream)
        await asyncio.wait_for(worker.ended.wait(), 5)
        await client.close()
        await server.close()

    asyncio.run(scene())


def test_a_client_that_is_gone_ends_its_work(tmp_path: Path) -> None:
    async def scene() -> None:
        worker = Worker()
        server = await worker.start(tmp_path / "w.sock")
        client = WorkerClient(tmp_path / "w.sock")
        stream = client.stream("hang", timeout_s=5)
        await anext(stream)
        await client.close()
        with pytest.raises(WorkerUnavailable):
            await anext(stream)
        await asyncio.wait_for(worker.ended.wait(), 5)
        await server.close()

    asyncio.run(scene())


def test_beyond_its_limit_a_worker_is_busy_and_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        worker = Worker()
        server = await worker.start(tmp_path / "w.sock", limit=1)
        client = WorkerClient(tmp_path / "w.sock")
        async with aclosing(client.stream("hang", timeout_s=5)) as stream:
            await anext(stream)
            with pytest.raises(WorkerRefused, match="busy") as caught:
                await client.request("echo", timeout_s=5)
            assert caught.value.retryable
        await client.close()
        await server.close()

    asyncio.run(scene())


def test_a_worker_without_an_answer_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        worker = Worker()
        server = await worker.start(tmp_path / "w.sock")
        client = WorkerClient(tmp_path / "w.sock")
        stream = client.stream("hang", timeout_s=0.05)
        await anext(stream)
        with pytest.raises(WorkerTimeout):
            await anext(stream)
        await client.close()
        await server.close()

    asyncio.run(scene())


def test_a_worker_that_is_not_there_and_one_that_comes_back(tmp_path: Path) -> None:
    async def scene() -> None:
        client = WorkerClient(tmp_path / "w.sock")
        with pytest.raises(WorkerUnavailable):
            await client.request("echo", timeout_s=5)
        server = await Worker().start(tmp_path / "w.sock")
        await client.request("echo", timeout_s=5)
        await server.close()
        server = await Worker().start(tmp_path / "w.sock")
        for _ in range(2):
            try:
                reply = await client.request("echo", {"n": 1}, timeout_s=5)
            except WorkerUnavailable:
                continue
            assert reply.header["n"] == 1
            break
        else:
            pytest.fail("the client did not connect again")
        await client.close()
        await server.close()

    asyncio.run(scene())


def test_a_failing_handler_tells_its_kind_but_no_content(tmp_path: Path) -> None:
    async def scene() -> None:
        server = await Worker().start(tmp_path / "w.sock")
        client = WorkerClient(tmp_path / "w.sock")
        with pytest.raises(WorkerRefused, match="RuntimeError") as caught:
            await client.request("broken", timeout_s=5)
        assert "secret" not in str(caught.value)
        with pytest.raises(WorkerRefused, match=r"unknown_op.*count, echo"):
            await client.request("sing", timeout_s=5)
        await client.close()
        await server.close()

    asyncio.run(scene())
