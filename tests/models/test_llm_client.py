"""The client against a scripted server on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from models.errors import LanguageModelRefused, LanguageModelTimeout, LanguageModelUnavailable
from models.llm_client import LlmEndpoint
from models.native_tools import NativeTools
from models.protocols import ChatMessage, ChatRequest, ReplyEnd, TextDelta, ToolCall, ToolSpec, Usage
from models.structured_actions import StructuredActions

pytestmark = pytest.mark.loopback

END = ToolSpec("end_call", "End the call", {"type": "object", "properties": {}})
ASKED = ChatRequest((ChatMessage("system", "Clinic."), ChatMessage("user", "Bye")), (END,), slot=1)


class Server:
    """Answers every request with the scripted events, then goes on or holds the line."""

    def __init__(
        self, events: list[Any], *, status: int = 200, hold: bool = False, silent_closes: int = 0
    ) -> None:
        self.events, self.status, self.hold, self.silent_closes = events, status, hold, silent_closes
        self.bodies: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.ended = asyncio.Event()
        self.ended.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended.clear()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.silent_closes:
            self.silent_closes -= 1
            writer.close()
            await writer.wait_closed()
            self.ended.set()
            return
        writer.write(f"HTTP/1.1 {self.status} X\r\nConnection: close\r\n\r\n".encode())
        for event in self.events:
            writer.write(
                b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
            )
        await writer.drain()
        if self.hold:
            await reader.read()
            self.gone.set()
        writer.close()
        await writer.wait_closed()
        self.ended.set()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        await asyncio.wait_for(server.ended.wait(), 5)


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": fields, "finish_reason": finish}]}


USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 7}},
}


def test_structured_words_are_streamed_and_the_begun_answer_is_sent() -> None:
    async def scene() -> None:
        server = Server(
            [
                {"prompt_progress": {"processed": 1}},
                delta(content='say": "Good'),
                delta(content='bye."}'),
                USAGE,
                b"[DONE]",
            ]
        )
        async with running(server) as url:
            model = StructuredActions(LlmEndpoint(url))
            items = [item async for item in model.reply(ASKED)]
            await model.close()
        assert items == [TextDelta("Good"), TextDelta("bye."), ReplyEnd(Usage(9, 7, 2))]
        body = server.bodies[0]
        assert body["messages"][-1] == {"role": "assistant", "content": '{"'}
        assert (body["id_slot"], body["cache_prompt"], body["return_progress"]) == (1, True, True)

    play(scene)


def test_a_kept_connection_that_the_server_closed_is_made_anew_once() -> None:
    async def scene() -> None:
        server = Server([delta(content='say": "Hello."}'), b"[DONE]"], silent_closes=1)
        async with running(server) as url:
            model = StructuredActions(LlmEndpoint(url))
            items = [item async for item in model.reply(ASKED)]
            server.silent_closes = 2
            with pytest.raises(LanguageModelUnavailable):
                [item async for item in model.reply(ASKED)]
            await model.close()
        assert items[0] == TextDelta("Hello.")
        assert len(server.bodies) == 4

    play(scene)


def test_structured_tool_call() -> None:
    async def scene() -> None:
        server = Server(
            [delta(content='action": "end_call", '), delta("stop", content='"arguments": {}}'), b"[DONE]"]
        )
        async with running(server) as url:
            model = StructuredActions(LlmEndpoint(url))
            items = [item async for item in model.reply(ASKED)]
            await model.close()
        assert items == [ToolCall("end_call", {}, "call-2"), ReplyEnd()]

    play(scene)


def test_native_words_and_tool_calls() -> None:
    async def scene() -> None:
        call = {"index": 0, "id": "x1", "function": {"name": "end_call", "arguments": "{}"}}
        server = Server(
            [
                delta(role="assistant", content="Bye."),
                delta("tool_calls", tool_calls=[call]),
                USAGE,
                b"[DONE]",
            ]
        )
        async with running(server) as url:
            model = NativeTools(LlmEndpoint(url, model="llama", llama_cpp=False))
            items = [item async for item in model.reply(ASKED)]
            await model.close()
        assert items == [TextDelta("Bye."), ToolCall("end_call", {}, "x1"), ReplyEnd(Usage(9, 7, 2))]
        assert server.bodies[0]["tools"][0]["function"]["name"] == "end_call"
        assert "id_slot" not in server.bodies[0]

    play(scene)


def test_closing_a_reply_closes_its_connection() -> None:
    async def scene() -> None:
        server = Server([delta(content='say": "Well')], hold=True)
        async with running(server) as url:
            model = StructuredActions(LlmEndpoint(url))
            async with aclosing(model.reply(ASKED)) as items:
                assert await anext(items) == TextDelta("Well")
            await asyncio.wait_for(server.gone.wait(), 5)
            await model.close()

    play(scene)


def test_a_reply_that_is_cut_off_at_its_limit_says_so() -> None:
    async def scene() -> None:
        server = Server([delta(content='say": "We are'), delta("length"), b"[DONE]"])
        async with running(server) as url:
            model = StructuredActions(LlmEndpoint(url))
            assert [item async for item in model.reply(ASKED)][-1] == ReplyEnd(truncated=True)
            await model.close()

    play(scene)


@pytest.mark.parametrize(
    ("server", "error"),
    [
        pytest.param(lambda: Server([], status=500), LanguageModelUnavailable, id="500"),
        pytest.param(lambda: Server([], status=400), LanguageModelRefused, id="400"),
        pytest.param(
            lambda: Server([{"error": {"message": "x"}}]), LanguageModelRefused, id="error in the stream"
        ),
        pytest.param(lambda: Server([b"nonsense"]), LanguageModelRefused, id="not JSON"),
        pytest.param(lambda: Server([], hold=True), LanguageModelTimeout, id="silence"),
        pytest.param(
            lambda: Server([delta(content='action": "end')]), LanguageModelRefused, id="half an action"
        ),
    ],
)
def test_what_goes_wrong_has_its_own_error(server: Callable[[], Server], error: type[Exception]) -> None:
    async def scene() -> None:
        async with running(server()) as url:
            model = StructuredActions(LlmEndpoint(url, first_token_timeout_s=0.2))
            with pytest.raises(error):
                [item async for item in model.reply(ASKED)]
            await model.close()

    play(scene)


def test_no_server_is_unavailable() -> None:
    async def scene() -> None:
        async with running(Server([])) as url:
            pass
        model = NativeTools(LlmEndpoint(url))
        assert not await model.ready()
        with pytest.raises(LanguageModelUnavailable):
            [item async for item in model.reply(ASKED)]
        await model.close()

    play(scene)
