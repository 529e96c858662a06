"""Piper worker process: clauses to speech, behind the worker protocol.

Run as ``python -m models.piper_worker CONFIG.json`` by the Python of an environment of its own: piper-tts is GPL-3.0
and is imported in no other process. Apart from piper and what it brings along only the standard library is used.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from models.clauses import ClauseSplitter
from models.errors import ModelFileError
from models.model_store import verify_named
from models.worker_config import PiperWorkerConfig
from models.worker_process import logger, run_worker
from models.worker_protocol import Reply, Request
from models.worker_server import serve as serve_worker

_TEXT_LIMIT: Final = 2000
_CHUNK_MS: Final = 500
"""Longest piece of audio in one reply."""
_VOLUME: Final = 0.8
"""Piper makes the loudest sample of each clause full scale; G.711 needs some room above."""


class Voice:
    """One Piper voice. Not thread-safe: one thread uses it."""

    def __init__(self, path: Path, *, threads: int, length_scale: float) -> None:
        """Load ``path`` and the JSON beside it. Raises :class:`models.errors.ModelFileError` when they are not a voice."""
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig, SynthesisConfig

        description = path.with_name(path.name + ".json")
        for file in (path, description):
            if not file.is_file():
                raise ModelFileError(f"{file} is missing; run: landline models fetch")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            config = PiperConfig.from_dict(json.loads(description.read_text(encoding="utf-8")))
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError(f"{path} cannot be loaded ({type(error).__name__})") from error
        self._voice: Any = PiperVoice(config=config, session=session)
        self._synthesis: Any = SynthesisConfig(length_scale=length_scale or None, volume=_VOLUME)
        self.rate_hz = int(config.sample_rate)

    def speak(self, clause: str) -> bytes:
        """Return the clause as PCM16."""
        chunks = self._voice.synthesize(clause, self._synthesis)
        return b"".join(chunk.audio_int16_bytes for chunk in chunks)


class PiperWorker:
    """The worker's operations."""

    def __init__(self, voices: dict[str, Voice], default: str) -> None:
        self._voices = voices
        self._default = default
        self._pool = ThreadPoolExecutor(1, "piper")

    async def ping(self, _request: Request) -> AsyncIterator[Reply]:
        """Say that the voice is loaded."""
        yield Reply({"ready": True, "model": self._default})

    async def synthesise(self, request: Request) -> AsyncIterator[Reply]:
        """Speak ``text`` clause by clause. Closing it leaves at most the clause that is being made."""
        text, name = request.fields.get("text"), request.fields.get("voice") or self._default
        if not isinstance(text, str) or len(text) > _TEXT_LIMIT:
            raise ValueError(f"text: expected a string of at most {_TEXT_LIMIT} characters")
        voice = self._voices.get(name)
        if voice is None:
            raise ValueError(f"voice {name!r} is not loaded; expected one of {', '.join(self._voices)}")
        splitter = ClauseSplitter()
        clauses = splitter.feed(text) + splitter.flush()
        loop = asyncio.get_running_loop()
        step = voice.rate_hz * _CHUNK_MS // 1000 * 2
        for index, clause in enumerate(clauses):
            pcm = await loop.run_in_executor(self._pool, voice.speak, clause)
            last = index == len(clauses) - 1
            for start in range(0, len(pcm), step):
                final = last and start + step >= len(pcm)
                yield Reply({"rate_hz": voice.rate_hz}, pcm[start : start + step], final)
            if last and not pcm:
                yield Reply({"rate_hz": voice.rate_hz})
        if not clauses:
            yield Reply({"rate_hz": voice.rate_hz})  # nothing to pronounce is no error


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
    # The first runs allocate for their lengths; no caller should wait for that.
    for voice in voices.values():
        voice.speak("One moment, please.")
        voice.speak("I am warming up, so that nobody has to wait for the first sentence that is spoken here.")
    return voices


if __name__ == "__main__":
    sys.exit(run_worker("piper", PiperWorkerConfig, serve))
