"""Scripted model workers: they speak the worker protocol and answer at once, for load benchmarks of everything else.

``python -m scripts.scripted_models RUN_DIRECTORY`` serves ``speech.sock`` (every utterance is the same question) and
``tts.sock`` (every sentence is a tone of its length) until stdin ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from models.worker_protocol import Reply, Request
from models.worker_server import serve

HEARD = "What are your hours on Saturday?"
_TTS_RATE_HZ = 22_050
_MS_PER_CHARACTER = 40


async def _ping(_: Request) -> AsyncIterator[Reply]:
    yield Reply({"ready": True, "model": "scripted"}, b"", True)


async def _transcribe(request: Request) -> AsyncIterator[Reply]:
    audio_ms = len(request.payload) // 2 * 1000 // int(request.fields["rate_hz"])
    fields = {"text": HEARD, "confidence": 0.9, "no_speech": 0.0, "audio_ms": audio_ms, "inference_ms": 0.0}
    yield Reply(fields, b"", True)


async def _synthesise(request: Request) -> AsyncIterator[Reply]:
    samples = len(str(request.fields["text"])) * _MS_PER_CHARACTER * _TTS_RATE_HZ // 1000
    tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(samples) / _TTS_RATE_HZ)
    yield Reply({"rate_hz": _TTS_RATE_HZ}, tone.astype("<i2").tobytes(), True)


async def _serve(directory: Path) -> None:
    speech = await serve(directory / "speech.sock", {"ping": _ping, "transcribe": _transcribe}, limit=64)
    tts = await serve(directory / "tts.sock", {"ping": _ping, "synthesise": _synthesise}, limit=64)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    await speech.close()
    await tts.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
