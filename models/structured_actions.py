"""Structured-action adapter: tools for small models that cannot be trusted with native ones.

The model writes one JSON object, held to a grammar; words are passed on while they are written. The constant beginning
is given to llama.cpp as a begun answer. Without tools plain text is streamed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from models.action_format import BEGUN, action_schema, chat_messages, grammar
from models.action_stream import ActionParser
from models.errors import LanguageModelRefused
from models.llm_client import ChatClient, LlmEndpoint, piece_of
from models.protocols import ChatMessage, ChatRequest, ReplyEnd, ReplyItem, TextDelta, ToolCall, Usage


class StructuredActions:
    """Satisfies :class:`models.protocols.LanguageModel`."""

    def __init__(self, endpoint: LlmEndpoint) -> None:
        self._client = ChatClient(endpoint)

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the reply. Closing the iterator cancels and frees the server's slot.

        Raises the errors of :meth:`models.llm_client.ChatClient.stream`, and
        :class:`models.errors.LanguageModelRefused` when a tool call is not whole.
        """
        if not request.tools:
            async with aclosing(self._plain(request)) as items:
                async for item in items:
                    yield item
            return
        parser = ActionParser()
        begun = BEGUN if self._client.endpoint.llama_cpp else ""
        parser.feed(begun)
        usage, truncated = Usage(), False
        try:
            async with aclosing(self._client.stream(self._body(request, begun))) as chunks:
                async for chunk in chunks:
                    piece = piece_of(chunk)
                    usage = piece.usage or usage
                    truncated = truncated or piece.finish == "length"
                    for said in parser.feed(piece.text) if piece.text else ():
                        yield TextDelta(said.text)
            called = parser.finish()
        except ValueError as error:
            raise LanguageModelRefused(f"the reply is not a whole action: {error}") from None
        if called is not None:
            yield ToolCall(called.name, called.arguments, f"call-{len(request.messages)}")
        yield ReplyEnd(usage, truncated)

    async def warm(self, request: ChatRequest, slots: Sequence[int]) -> None:
        """Prefill the system message and tools of ``request`` into each of ``slots``; cheap where it is cached."""
        system = request.messages[:1]
        for slot in slots:
            asked = replace(
                request, messages=(*system, ChatMessage("user", "Hello")), max_tokens=1, slot=slot
            )
            async with aclosing(self._client.stream(self._body(asked, BEGUN))) as chunks:
                async for _ in chunks:
                    pass

    async def ready(self) -> bool:
        """Say whether the server answers."""
        return await self._client.ready()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _plain(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        usage, truncated = Usage(), False
        body = self._client.body(request, chat_messages(request.messages, ()))
        async with aclosing(self._client.stream(body)) as chunks:
            async for chunk in chunks:
                piece = piece_of(chunk)
                usage = piece.usage or usage
                truncated = truncated or piece.finish == "length"
                if piece.text:
                    yield TextDelta(piece.text)
        yield ReplyEnd(usage, truncated)

    def _body(self, request: ChatRequest, begun: str) -> dict[str, Any]:
        messages = chat_messages(request.messages, request.tools)
        if not self._client.endpoint.llama_cpp:
            schema = {"name": "action", "schema": action_schema(request.tools)}
            form = {"type": "json_schema", "json_schema": schema}
            return {**self._client.body(request, messages), "response_format": form}
        messages.append({"role": "assistant", "content": begun})
        return {**self._client.body(request, messages), "grammar": grammar(request.tools)}
