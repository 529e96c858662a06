"""Scripted models and a scripted control process, which answer at once: for benchmarks of everything between them.

``python -m scripts.scripted_models RUN_DIRECTORY`` serves ``speech.sock`` (every utterance is the same sentence, every
turn is surely over), ``tts.sock`` (every sentence is a tone of its length), ``control.sock`` (takes all records and knows
no document) and an OpenAI-compatible language model on a loopback port, which ``llm-port`` tells, until stdin ends.
``GET /ledgers`` on ``control.sock`` returns the ledgers of the turns, by caller.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from models import worker_protocol
from models.worker_protocol import Reply
from models.worker_server import serve

HEARD: Final = "I like your clinic a lot."
"""Plain talk, which the language model answers."""
ANSWER: Final = "I am glad that you like it here."
TURN_SCORE: Final = 0.98
_TTS_RATE_HZ: Final = 22_050
_MS_PER_CHARACTER: Final = 40
_REQUESTS_LIMIT: Final = 512


async def _ping(_: worker_protocol.Request) -> AsyncIterator[Reply]:
    yield Reply({"ready": True, "model": "scripted"}, b"", True)


async def _transcribe(request: worker_protocol.Request) -> AsyncIterator[Reply]:
    audio_ms = len(request.payload) // 2 * 1000 // int(request.fields["rate_hz"])
    fields = {"text": HEARD, "confidence": 0.9, "no_speech": 0.0, "audio_ms": audio_ms, "inference_ms": 0.0}
    yield Reply(fields, b"", True)


async def _turn_score(_: worker_protocol.Request) -> AsyncIterator[Reply]:
    yield Reply({"score": TURN_SCORE}, b"", True)


async def _synthesise(request: worker_protocol.Request) -> AsyncIterator[Reply]:
    samples = len(str(request.fields["text"])) * _MS_PER_CHARACTER * _TTS_RATE_HZ // 1000
    tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(samples) / _TTS_RATE_HZ)
    yield Reply({"rate_hz": _TTS_RATE_HZ}, tone.astype("<i2").tobytes(), True)


def language_model() -> FastAPI:
    """Return a server that streams one sentence, as the structured action that it was asked to finish."""
    app = FastAPI()

    @app.get("/v1/models")
    async def names() -> dict[str, Any]:
        return {"data": [{"id": "scripted"}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> StreamingResponse:
        asked = await request.json()
        words = f'say": "{ANSWER}"}}' if asked.get("grammar") else ANSWER
        pieces = [words] if asked.get("max_tokens") != 1 else [words[:3]]

        async def events() -> AsyncIterator[str]:
            for piece in pieces:
                yield _event({"choices": [{"delta": {"content": piece}}]})
            usage = {"prompt_tokens": 1, "completion_tokens": 1}
            yield _event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return app


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def control() -> FastAPI:
    """Return a control process that keeps nothing but the ledgers."""
    app = FastAPI()
    callers: dict[str, str] = {}
    ledgers: dict[str, list[dict[str, Any]]] = defaultdict(list)

    @app.post("/internal/records")
    async def records(request: Request) -> dict[str, Any]:
        operations = (await request.json())["ops"]
        for operation in operations:
            if operation["op"] == "call_started":
                callers[operation["call_id"]] = operation["caller"]
            elif operation["op"] == "turn" and operation["heard"]:
                ledgers[callers.get(operation["call_id"], "")].append(operation["ledger"])
            elif operation["op"] == "call_ended":
                callers.pop(operation["call_id"], None)
        return {"accepted": len(operations), "rejected": []}

    @app.get("/internal/calls/open")
    async def open_calls() -> dict[str, Any]:
        return {"calls": []}

    @app.post("/internal/status")
    async def status() -> dict[str, Any]:
        return {}

    @app.post("/internal/kb/{collection}/query")
    async def query(collection: str) -> dict[str, Any]:
        del collection
        return {"passages": []}

    @app.get("/ledgers")
    async def taken() -> dict[str, Any]:
        found = dict(ledgers)
        ledgers.clear()
        return {"ledgers": found}

    return app


def _server(app: FastAPI) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))


async def _serve(directory: Path) -> None:
    speech = await serve(
        directory / "speech.sock",
        {"ping": _ping, "transcribe": _transcribe, "turn_score": _turn_score},
        limit=_REQUESTS_LIMIT,
    )
    llm_socket = socket.create_server(("127.0.0.1", 0))
    control_socket = socket.socket(socket.AF_UNIX)
    control_socket.bind(str(directory / "control.sock"))
    servers = {_server(language_model()): llm_socket, _server(control()): control_socket}
    running = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers.items()]
    (directory / "llm-port").write_text(str(llm_socket.getsockname()[1]))
    tts = await serve(
        directory / "tts.sock", {"ping": _ping, "synthesise": _synthesise}, limit=_REQUESTS_LIMIT
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    for server in servers:
        server.should_exit = True
    await asyncio.wait(running, timeout=3)
    await speech.close()
    await tts.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
