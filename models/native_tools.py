"""Native-tools adapter: for models that follow ``tools`` themselves, such as Llama on vLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from models.errors import LanguageModelRefused
from models.llm_client import ChatClient, LlmEndpoint, piece_of
from models.protocols import (
    ChatMessage,
    ChatRequest,
    ReplyEnd,
    ReplyItem,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)

_CALLS_LIMIT: Final = 8
_ARGUMENTS_LIMIT: Final = 16384


class NativeTools:
    """Satisfies :class:`models.protocols.LanguageModel`."""

    def __init__(self, endpoint: LlmEndpoint) -> None:
        self._client = ChatClient(endpoint)

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the reply: words as they come, whole tool calls at the end.

        Closing the iterator cancels and frees the server's slot. Raises the errors of
        :meth:`models.llm_client.ChatClient.stream`, and :class:`models.errors.LanguageModelRefused` when a tool call
        is not whole.
        """
        body = self._client.body(request, [_message(message) for message in request.messages])
        if request.tools:
            body |= {"tools": [_tool(tool) for tool in request.tools], "tool_choice": "auto"}
        calls = ToolCallAssembler()
        usage, truncated = Usage(), False
        async with aclosing(self._client.stream(body)) as chunks:
            async for chunk in chunks:
                piece = piece_of(chunk)
                usage = piece.usage or usage
                truncated = truncated or piece.finish == "length"
                calls.feed(piece.tool_calls)
                if piece.text:
                    yield TextDelta(piece.text)
        for call in calls.finish():
            yield call
        yield ReplyEnd(usage, truncated)

    async def ready(self) -> bool:
        """Say whether the server answers."""
        return await self._client.ready()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


@dataclass(slots=True)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCallAssembler:
    """Puts tool calls together from the deltas of a stream. Sans-I/O."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    def feed(self, deltas: Sequence[Mapping[str, Any]]) -> None:
        """Take in the ``tool_calls`` of one chunk."""
        for delta in deltas:
            call = self._calls.setdefault(int(delta.get("index", 0)), _Call())
            function = delta.get("function") or {}
            call.call_id = str(delta.get("id") or call.call_id)
            call.name += str(function.get("name") or "")
            call.arguments += str(function.get("arguments") or "")
            if len(self._calls) > _CALLS_LIMIT or len(call.arguments) > _ARGUMENTS_LIMIT:
                raise LanguageModelRefused("the language model calls more tools than anybody asked for")

    def finish(self) -> list[ToolCall]:
        """Return the whole calls in order. Raises :class:`models.errors.LanguageModelRefused` on a broken one."""
        whole = []
        for _, call in sorted(self._calls.items()):
            try:
                arguments = json.loads(call.arguments or "{}")
            except ValueError:
                arguments = None
            if not call.name or not isinstance(arguments, dict):
                raise LanguageModelRefused(
                    "a tool call is not whole; expected a name and a JSON object of arguments"
                )
            whole.append(ToolCall(call.name, arguments, call.call_id))
        return whole


def _message(message: ChatMessage) -> dict[str, Any]:
    result: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(dict(call.arguments), ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        result["tool_call_id"] = message.tool_call_id
    return result


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
