"""Piper worker process: clauses to speech, behind the worker protocol.

Run as ``python -m models.piper_worker CONFIG.json`` by the Python of an environment of its own: piper-tts is GPL-3.0
and is imported in no other process. Apart from piper and what it brings along only the standard library is used.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Final

from models.clauses import ClauseSplitter
from models.model_store import verify_named
from models.piper_voice import Piece, Voice
from models.worker_config import PiperWorkerConfig
from models.worker_process import logger, run_worker
from models.worker_protocol import Reply, Request
from models.worker_server import serve as serve_worker

_TEXT_LIMIT: Final = 2000
_CHUNK_MS: Final = 500
"""Longest piece of audio in one reply."""


class PiperWorker:
    """The worker's operations."""

    def __init__(self, voices: dict[str, Voice], default: str) -> None:
        self._voices = voices
        self._default = default
        self._pool = ThreadPoolExecutor(1, "piper")

    async def ping(self, _request: Request) -> AsyncIterator[Reply]:
        """Say that the voices are loaded, and of each a digest that changes with its sound."""
        identities = {name: voice.identity for name, voice in self._voices.items()}
        yield Reply({"ready": True, "model": self._default, "voices": identities})

    async def synthesise(self, request: Request) -> AsyncIterator[Reply]:
        """Speak ``text`` piece by piece. Closing it leaves at most the piece that is being made.

        The first piece of a clause carries ``words``: each word with the sample of the whole text where it ends.
        """
        text, name = request.fields.get("text"), request.fields.get("voice") or self._default
        if not isinstance(text, str) or len(text) > _TEXT_LIMIT:
            raise ValueError(f"text: expected a string of at most {_TEXT_LIMIT} characters")
        voice = self._voices.get(name)
        if voice is None:
            raise ValueError(f"voice {name!r} is not loaded; expected one of {', '.join(self._voices)}")
        splitter = ClauseSplitter()
        position = 0
        for clause in splitter.feed(text) + splitter.flush():
            begin = position
            async with aclosing(self._pieces(voice, clause)) as pieces:
                async for piece in pieces:
                    position += len(piece.pcm) // 2
                    header: dict[str, object] = {"rate_hz": voice.rate_hz}
                    if piece.words:
                        header["words"] = [[word, begin + end] for word, end in piece.words]
                    yield Reply(header, piece.pcm, final=False)
        yield Reply({"rate_hz": voice.rate_hz})

    async def _pieces(self, voice: Voice, clause: str) -> AsyncGenerator[Piece, None]:
        """Make a clause in the one thread, a piece at a time, so that a cancelled clause ends and others get their turn."""
        loop = asyncio.get_running_loop()
        step = voice.rate_hz * _CHUNK_MS // 1000 * 2
        making = voice.speak(clause)
        while (made := await loop.run_in_executor(self._pool, next, making, None)) is not None:
            yield Piece(made.pcm[:step], made.words)
            for start in range(step, len(made.pcm), step):
                yield Piece(made.pcm[start : start + step])


async def serve(config: PiperWorkerConfig, stop: asyncio.Event) -> None:
    """Load the voices, warm the first, listen, and wait for ``stop``."""
    if config.voice_name:
        verify_named(config.voice_name, config.voice_path)
    default = config.voice_name or config.voice_path.stem
    paths = {default: config.voice_path, **{name: Path(path) for name, path in (config.voices or {}).items()}}
    voices = await asyncio.to_thread(_load, paths, config)
    worker = PiperWorker(voices, default)
    server = await serve_worker(
        config.socket, {"ping": worker.ping, "synthesise": worker.synthesise}, limit=config.queue_limit
    )
    logger.info("tts_ready")
    try:
        await stop.wait()
    finally:
        await server.close()


def _load(paths: dict[str, Path], config: PiperWorkerConfig) -> dict[str, Voice]:
    voices = {
        name: Voice(path, threads=config.threads, length_scale=config.length_scale)
        for name, path in paths.items()
    }
    for voice in voices.values():
        voice.warm_up()
    return voices


if __name__ == "__main__":
    sys.exit(run_worker("piper", PiperWorkerConfig, serve))
