"""Speech worker process: utterances to text, and texts to vectors, behind the worker protocol.

Run as ``python -m models.speech_worker CONFIG.json``. One thread runs Whisper, another the embeddings; what waits is
ordered by priority, run in batches, and dropped when its client is gone. Nothing is read from a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError, WorkerRefused
from models.model_store import verify_named
from models.protocols import Priority, Transcript
from models.whisper import MAX_AUDIO_S, RATE_HZ, ShortWhisper
from models.work_queue import WorkQueue
from models.worker_config import SpeechWorkerConfig
from models.worker_process import logger, run_worker
from models.worker_protocol import Reply, Request
from models.worker_server import serve as serve_worker

_TEXTS_LIMIT: Final = 512
_EMBED_BATCH: Final = 8
_LENGTH_RATIO: Final = 1.5
"""Clips that differ by more are not batched: the short one would wait for the long one."""


@dataclass(slots=True)
class _Utterance:
    clip: NDArray[np.float32]
    hot_words: str
    result: asyncio.Future[Transcript]


class Recogniser:
    """Feeds Whisper from a queue of utterances, one batch at a time."""

    def __init__(
        self,
        run: Callable[[list[NDArray[np.float32]], str], list[Transcript]],
        *,
        queue_limit: int,
        batch_limit: int,
    ) -> None:
        self._run = run
        self._batch_limit = batch_limit
        self._queue: WorkQueue[_Utterance] = WorkQueue(queue_limit)
        self._wake = asyncio.Event()

    async def transcribe(self, clip: NDArray[np.float32], hot_words: str, priority: Priority) -> Transcript:
        """Wait for the turn of ``clip``. Cancelling withdraws it."""
        utterance = _Utterance(clip, hot_words, asyncio.get_running_loop().create_future())
        taken = self._queue.put(utterance, priority)
        if taken is None:
            raise WorkerRefused("busy", "the recogniser's queue is full", retryable=True)
        withdraw, shed = taken
        if shed is not None and not shed.result.done():
            shed.result.set_exception(WorkerRefused("busy", "shed for more urgent work", retryable=True))
        self._wake.set()
        try:
            return await utterance.result
        finally:
            withdraw()

    async def work(self, pool: ThreadPoolExecutor) -> None:
        """Run batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [one for one in self._queue.take(self._batch_limit, _fit) if not one.result.done()]
            if not batch:
                self._wake.clear()
                await self._wake.wait()
                continue
            job = partial(self._run, [one.clip for one in batch], batch[0].hot_words)
            try:
                transcripts = await loop.run_in_executor(pool, job)
            except Exception as error:
                # One broken batch must not end the worker; its clients are told.
                logger.error("transcribe_failed", extra={"error": type(error).__name__})
                for one in batch:
                    if not one.result.done():
                        one.result.set_exception(
                            WorkerRefused("failed", type(error).__name__, retryable=True)
                        )
                continue
            for one, transcript in zip(batch, transcripts, strict=True):
                if not one.result.done():
                    one.result.set_result(transcript)


def _fit(first: _Utterance, other: _Utterance) -> bool:
    long, short = max(len(first.clip), len(other.clip)), min(len(first.clip), len(other.clip))
    # The encoder's floor of 10 s makes all short clips equal.
    return first.hot_words == other.hot_words and (long <= 9 * RATE_HZ or long <= short * _LENGTH_RATIO)


class Embeddings:
    """A sentence-transformers model on one thread."""

    def __init__(self, path: Path) -> None:
        """Load the folder at ``path``; a path and never a name, because a name would ask a hub."""
        # Read by the libraries at import; they must not look for a newer version of what lies here.
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        if not (path / "modules.json").is_file():
            raise ModelFileError(f"{path / 'modules.json'} is missing; run: landline models fetch")
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(1)
        self._model: Any = SentenceTransformer(str(path), device="cpu", local_files_only=True)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return one unit vector a text."""
        rows = self._model.encode(
            texts,
            batch_size=_EMBED_BATCH,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(rows, np.float32)


class SpeechWorker:
    """The worker's operations."""

    def __init__(
        self, config: SpeechWorkerConfig, recogniser: Recogniser, embeddings: Embeddings | None
    ) -> None:
        self._config = config
        self._recogniser = recogniser
        self._embeddings = embeddings
        self._embed_pool = ThreadPoolExecutor(1, "embed")

    async def ping(self, _request: Request) -> AsyncIterator[Reply]:
        """Say that the models are loaded."""
        yield Reply({"ready": True, "model": self._config.stt_name or self._config.stt_path.name})

    async def transcribe(self, request: Request) -> AsyncIterator[Reply]:
        """Transcribe PCM16 at 16 kHz."""
        rate_hz = request.fields.get("rate_hz")
        if rate_hz != RATE_HZ:
            raise ValueError(f"rate_hz is {rate_hz!r}; expected {RATE_HZ}")
        if len(request.payload) % 2 or not request.payload:
            raise ValueError(f"payload of {len(request.payload)} bytes; expected PCM16")
        if len(request.payload) > MAX_AUDIO_S * RATE_HZ * 2:
            raise ValueError(
                f"{len(request.payload) / RATE_HZ / 2:.1f} s of audio; expected at most {MAX_AUDIO_S} s"
            )
        priority = Priority(request.fields.get("priority", Priority.FINAL))
        clip = np.frombuffer(request.payload, "<i2").astype(np.float32) / np.float32(32768)
        transcript = await self._recogniser.transcribe(
            clip, str(request.fields.get("hot_words", "")), priority
        )
        yield Reply(asdict(transcript))

    async def embed(self, request: Request) -> AsyncIterator[Reply]:
        """Turn texts into unit vectors."""
        texts = request.fields.get("texts")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError("texts: expected a list of at least one string")
        if len(texts) > _TEXTS_LIMIT:
            raise ValueError(f"{len(texts)} texts; expected at most {_TEXTS_LIMIT}")
        if self._embeddings is None:
            raise WorkerRefused("not_configured", "this worker has no embedding model")
        loop = asyncio.get_running_loop()
        parts = []
        # Piece by piece: a question of a caller gets in between the pages of a document.
        for start in range(0, len(texts), _EMBED_BATCH):
            piece = texts[start : start + _EMBED_BATCH]
            parts.append(await loop.run_in_executor(self._embed_pool, self._embeddings.embed, piece))
        rows = np.concatenate(parts)
        yield Reply({"dimensions": int(rows.shape[1])}, rows.astype("<f4").tobytes())


async def serve(config: SpeechWorkerConfig, stop: asyncio.Event) -> None:
    """Load the models, warm them, listen, and wait for ``stop``."""
    if config.stt_name:
        verify_named(config.stt_name, config.stt_path)
    if config.embedding_name and config.embedding_path is not None:
        verify_named(config.embedding_name, config.embedding_path)
    whisper, embeddings = await asyncio.to_thread(_load, config)
    recogniser = Recogniser(
        whisper.transcribe, queue_limit=config.queue_limit, batch_limit=config.batch_limit
    )
    worker = SpeechWorker(config, recogniser, embeddings)
    handlers = {"ping": worker.ping, "transcribe": worker.transcribe, "embed": worker.embed}
    pool = ThreadPoolExecutor(1, "whisper")
    working = asyncio.create_task(recogniser.work(pool))
    # Twice the queue: embeddings and what is being decoded do not count against it.
    server = await serve_worker(config.socket, handlers, limit=2 * config.queue_limit)
    logger.info("speech_ready")
    try:
        await stop.wait()
    finally:
        await server.close()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        pool.shutdown(wait=False, cancel_futures=True)


def _load(config: SpeechWorkerConfig) -> tuple[ShortWhisper, Embeddings | None]:
    whisper = ShortWhisper(
        config.stt_path,
        device=config.device,
        compute_type=config.compute_type,
        threads=config.threads,
        language=config.language,
    )
    # The first run allocates; no caller should wait for that.
    noise = np.random.default_rng(1).normal(0, 0.05, RATE_HZ).astype(np.float32)
    whisper.transcribe([noise])
    embeddings = Embeddings(config.embedding_path) if config.embedding_path is not None else None
    if embeddings is not None:
        embeddings.embed(["warm"])
    return whisper, embeddings


if __name__ == "__main__":
    sys.exit(run_worker("speech", SpeechWorkerConfig, serve))
