"""Clients of the speech worker and of the Piper worker, as the Protocols that the rest of the product knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from models.errors import WorkerRefused
from models.protocols import Priority, SpeechChunk, Transcript, WordTiming
from models.worker_client import WorkerClient

_STT_RATE_HZ: Final = 16000
_TURN_WINDOW_S: Final = 8
"""What the turn detector listens to, from the end."""
_PING_TIMEOUT_S: Final = 2.0
_EMBED_BATCH: Final = 64


class SpeechWorkerClient:
    """Satisfies the Protocols SpeechToText, TurnDetector and Embedder of :mod:`models.protocols`."""

    def __init__(
        self,
        path: Path,
        *,
        timeout_s: float = 8.0,
        score_timeout_s: float = 2.0,
        embed_timeout_s: float = 60.0,
        dimensions: int = 384,
    ) -> None:
        self._worker = WorkerClient(path)
        self._timeout_s = timeout_s
        self._score_timeout_s = score_timeout_s
        self._embed_timeout_s = embed_timeout_s
        self.dimensions = dimensions

    async def transcribe(
        self, pcm: bytes, rate_hz: int, *, priority: Priority = Priority.FINAL, hot_words: str = ""
    ) -> Transcript:
        """Return the transcript of up to 30 s of audio at 8 or 16 kHz. Cancelling the task frees the worker."""
        fields = {"rate_hz": _STT_RATE_HZ, "priority": int(priority), "hot_words": hot_words}
        reply = await self._worker.request(
            "transcribe", fields, to_16_khz(pcm, rate_hz), timeout_s=self._timeout_s
        )
        header = reply.header
        return Transcript(
            text=str(header["text"]),
            confidence=float(header["confidence"]),
            no_speech=float(header["no_speech"]),
            audio_ms=int(header["audio_ms"]),
            inference_ms=float(header["inference_ms"]),
            waited_ms=float(header.get("waited_ms", 0.0)),
            queued=int(header.get("queued", 0)),
        )

    async def score(self, pcm: bytes, rate_hz: int) -> float:
        """Return the probability that the turn in ``pcm``, which ends now, is over. Cancelling withdraws the request.

        Raises :class:`models.errors.ModelError`; not retryable where the worker has no turn detector.
        """
        heard = pcm[-_TURN_WINDOW_S * rate_hz * 2 :]
        reply = await self._worker.request(
            "turn_score",
            {"rate_hz": _STT_RATE_HZ},
            to_16_khz(heard, rate_hz),
            timeout_s=self._score_timeout_s,
        )
        return float(reply.header["score"])

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return ``[len(texts), dimensions]``, each row of length 1."""
        rows = [np.zeros((0, self.dimensions), np.float32)]
        for start in range(0, len(texts), _EMBED_BATCH):
            piece = list(texts[start : start + _EMBED_BATCH])
            reply = await self._worker.request("embed", {"texts": piece}, timeout_s=self._embed_timeout_s)
            dimensions = int(reply.header["dimensions"])
            if dimensions != self.dimensions:
                raise WorkerRefused(
                    "dimensions", f"the embedding model has {dimensions}, expected {self.dimensions}"
                )
            rows.append(np.frombuffer(reply.payload, "<f4").reshape(len(piece), dimensions))
        return np.concatenate(rows).astype(np.float32, copy=False)

    async def ping(self) -> str:
        """Return the model's name once the worker is ready; raises as any request does."""
        return str((await self._worker.request("ping", timeout_s=_PING_TIMEOUT_S)).header["model"])

    async def close(self) -> None:
        """Close the connection."""
        await self._worker.close()


class PiperClient:
    """Satisfies :class:`models.protocols.TextToSpeech`."""

    def __init__(self, path: Path, *, timeout_s: float = 8.0) -> None:
        self._worker = WorkerClient(path)
        self._timeout_s = timeout_s

    async def synthesise(self, text: str, *, voice: str = "") -> AsyncIterator[SpeechChunk]:
        """Yield audio as it is made, at the voice's own rate; the last chunk is final. Closing cancels."""
        fields = {"text": text, "voice": voice}
        async with aclosing(self._worker.stream("synthesise", fields, timeout_s=self._timeout_s)) as replies:
            async for reply in replies:
                words = tuple(WordTiming(str(word), int(end)) for word, end in reply.header.get("words", ()))
                yield SpeechChunk(reply.payload, int(reply.header["rate_hz"]), reply.final, words)

    async def identity(self, voice: str = "") -> str:
        """Return a digest that changes with the sound of ``voice``, empty where it is not loaded; raises as any request."""
        header = (await self._worker.request("ping", timeout_s=_PING_TIMEOUT_S)).header
        return str(header.get("voices", {}).get(voice or header["model"], ""))

    async def ping(self) -> str:
        """Return the voice's name once the worker is ready; raises as any request does."""
        return str((await self._worker.request("ping", timeout_s=_PING_TIMEOUT_S)).header["model"])

    async def close(self) -> None:
        """Close the connection."""
        await self._worker.close()


def to_16_khz(pcm: bytes, rate_hz: int) -> bytes:
    """Resample PCM16 once to what speech recognition takes."""
    if rate_hz == _STT_RATE_HZ:
        return pcm
    if not pcm:
        return b""
    samples = np.frombuffer(pcm, "<i2")
    resampled = soxr.resample(samples, rate_hz, _STT_RATE_HZ, quality="HQ")
    return np.asarray(resampled, "<i2").tobytes()
