"""Streaming client of any OpenAI-compatible chat server: llama.cpp on the loopback, vLLM in the building.

Both adapters (:mod:`models.structured_actions`, :mod:`models.native_tools`) stand on this one. Closing a stream closes
its connection, which is how the server learns that its slot is free.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from models.errors import LanguageModelRefused, LanguageModelTimeout, LanguageModelUnavailable
from models.protocols import ChatRequest, Usage

_CONNECT_TIMEOUT_S: Final = 2.0
_CLOSE_TIMEOUT_S: Final = 1.0
_KEPT_OPEN_S: Final = 3.0
"""How long an idle connection is used again: less than the 5 s after which llama.cpp closes it."""
_ERROR_TEXT_LIMIT: Final = 300


@dataclass(frozen=True, slots=True)
class LlmEndpoint:
    """Where the language model is served, and how long to wait for it."""

    base_url: str
    """Ends in ``/v1``."""
    model: str = ""
    """Name the server knows; llama.cpp takes any."""
    api_key: str = ""
    llama_cpp: bool = True
    """The server is llama.cpp: slots, grammars and a begun answer may be used."""
    first_token_timeout_s: float = 8.0
    token_timeout_s: float = 8.0


class ChatClient:
    """One connection pool to one server."""

    def __init__(self, endpoint: LlmEndpoint) -> None:
        self.endpoint = endpoint
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        # trust_env: a proxy of the machine must never see a prompt.
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            limits=httpx.Limits(keepalive_expiry=_KEPT_OPEN_S),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Say whether the server answers."""
        try:
            response = await self._http.get(f"{self.endpoint.base_url}/models", timeout=_CONNECT_TIMEOUT_S)
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    def body(self, request: ChatRequest, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the part of a request that both adapters share."""
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.endpoint.llama_cpp:
            # Progress is asked for because llama.cpp notices a closed connection only when it has something to send:
            # without it a cancelled prefill runs to its end.
            body |= {"cache_prompt": True, "return_progress": True, "id_slot": request.slot}
        return body

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the server's chunks that carry something. Closing it frees the slot.

        Raises :class:`models.errors.LanguageModelUnavailable`, :class:`models.errors.LanguageModelTimeout` or
        :class:`models.errors.LanguageModelRefused`.
        """
        endpoint = self.endpoint
        deadline = asyncio.get_running_loop().time() + endpoint.first_token_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send(body)
        except TimeoutError:
            raise LanguageModelTimeout(f"no answer within {endpoint.first_token_timeout_s} s") from None
        except httpx.HTTPError as error:
            raise LanguageModelUnavailable(
                f"no language model at {endpoint.base_url}: {type(error).__name__}"
            ) from error
        try:
            if response.status_code != 200:
                await self._refuse(response)
            lines = response.aiter_lines()
            while True:
                line = await self._line(lines, deadline)
                if line is None or line == "data: [DONE]":
                    return
                chunk = _chunk(line)
                if chunk is not None:
                    if _delta(chunk):
                        deadline = asyncio.get_running_loop().time() + endpoint.token_timeout_s
                    yield chunk
        finally:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await response.aclose()

    async def _send(self, body: Mapping[str, Any]) -> httpx.Response:
        """Send the request; once more where a kept connection was closed before it was answered."""
        url = f"{self.endpoint.base_url}/chat/completions"
        try:
            return await self._http.send(self._http.build_request("POST", url, json=body), stream=True)
        except httpx.RemoteProtocolError:
            return await self._http.send(self._http.build_request("POST", url, json=body), stream=True)

    async def _line(self, lines: Any, deadline: float) -> str | None:
        try:
            async with asyncio.timeout_at(deadline):
                return str(await anext(lines))
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise LanguageModelTimeout("the language model stopped in the middle of its reply") from None
        except httpx.HTTPError as error:
            raise LanguageModelUnavailable(f"the language model broke off: {type(error).__name__}") from error

    @staticmethod
    async def _refuse(response: httpx.Response) -> None:
        text = (await response.aread()).decode(errors="replace")[:_ERROR_TEXT_LIMIT]
        if response.status_code >= 500 or response.status_code == 429:
            raise LanguageModelUnavailable(f"the language model answered {response.status_code}: {text}")
        raise LanguageModelRefused(f"the language model answered {response.status_code}: {text}")


def _chunk(line: str) -> Mapping[str, Any] | None:
    """Return the JSON of one line of the event stream; progress and keep-alive lines give None."""
    field, _, value = line.partition(":")
    if field not in ("data", "error") or not value.strip():
        return None
    try:
        chunk = json.loads(value)
    except ValueError as error:
        raise LanguageModelRefused("the language model sends something other than JSON") from error
    if not isinstance(chunk, dict):
        raise LanguageModelRefused(
            f"the language model sends a JSON {type(chunk).__name__}; expected an object"
        )
    if field == "error" or "error" in chunk:
        raise LanguageModelRefused(
            f"the language model failed: {str(chunk.get('error', chunk))[:_ERROR_TEXT_LIMIT]}"
        )
    return None if "prompt_progress" in chunk and not _delta(chunk) else chunk


def _delta(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = chunk.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return {key: value for key, value in delta.items() if key != "role" and value}


@dataclass(frozen=True, slots=True)
class Piece:
    """What both adapters read from a chunk."""

    text: str
    tool_calls: tuple[Mapping[str, Any], ...]
    finish: str
    usage: Usage | None


def piece_of(chunk: Mapping[str, Any]) -> Piece:
    """Read one chunk."""
    delta = _delta(chunk)
    choices = chunk.get("choices") or [{}]
    usage = chunk.get("usage")
    return Piece(
        text=str(delta.get("content") or ""),
        tool_calls=tuple(delta.get("tool_calls") or ()),
        finish=str(choices[0].get("finish_reason") or ""),
        usage=_usage(usage) if usage else None,
    )


def _usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )
