"""Speech worker process: utterances to text, turns to a score, texts to vectors, behind the worker protocol.

Run as ``python -m models.speech_worker CONFIG.json``. Whisper, the turn detector and the embeddings have a thread each;
what waits is ordered by priority and dropped when its client is gone. Nothing is read from a network.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError, WorkerRefused
from models.log_mel import RATE_HZ
from models.model_store import verify_named
from models.model_thread import ModelThread
from models.protocols import Priority, Transcript
from models.short_decoding import FRAMES_SHORT, frames_of
from models.turn_detector import WINDOW_SAMPLES, SmartTurn
from models.whisper import MAX_AUDIO_S, ShortWhisper
from models.worker_config import SpeechWorkerConfig
from models.worker_process import logger, run_worker
from models.worker_protocol import Reply, Request
from models.worker_server import serve as serve_worker

_TEXTS_LIMIT: Final = 512
_EMBED_BATCH: Final = 8
_LENGTH_RATIO: Final = 1.5
"""Clips whose encoder frames differ by more are not batched: the short one would wait for the long one."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """16 kHz in [-1, 1], and words to expect in it."""

    clip: NDArray[np.float32]
    hot_words: str


def share_a_run(first: Utterance, other: Utterance) -> bool:
    """Say whether two utterances may be transcribed together: neither is made to wait much for the other."""
    long, short = sorted((len(first.clip), len(other.clip)), reverse=True)
    longer = frames_of(long, FRAMES_SHORT) > _LENGTH_RATIO * frames_of(short, FRAMES_SHORT)
    return first.hot_words == other.hot_words and not longer


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


class Whisper(Protocol):
    """What turns clips into transcripts in one run; see :class:`models.whisper.ShortWhisper`."""

    def transcribe(
        self, clips: Sequence[NDArray[np.float32]], hot_words: str = "", *, go_on: Callable[[], bool]
    ) -> list[Transcript]:
        """Transcribe 16 kHz clips; ``go_on`` tells between its steps whether to."""
        ...


class TurnModel(Protocol):
    """What scores a turn; see :class:`models.turn_detector.SmartTurn`."""

    def score(self, samples: NDArray[np.int16]) -> float:
        """Return the probability that the turn is over."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models of one worker; what is None is refused."""

    whisper: Whisper
    embeddings: Embeddings | None = None
    turn: TurnModel | None = None


class SpeechWorker:
    """The worker's operations, each model on a thread of its own."""

    def __init__(self, config: SpeechWorkerConfig, loaded: LoadedModels) -> None:
        self._config = config
        self._embeddings = loaded.embeddings
        self._embed_pool = ThreadPoolExecutor(1, "embed")
        self._recogniser = _recogniser(loaded.whisper, config)
        self._turn = _turn_thread(loaded.turn, config) if loaded.turn is not None else None

    def start(self) -> list[asyncio.Task[None]]:
        """Let the models work; the tasks run until they are cancelled."""
        tasks = [asyncio.create_task(self._recogniser.work(), name="recogniser")]
        if self._turn is not None:
            tasks.append(asyncio.create_task(self._turn.work(), name="turn detector"))
        return tasks

    async def ping(self, _request: Request) -> AsyncIterator[Reply]:
        """Say that the models are loaded."""
        yield Reply({"ready": True, "model": self._config.stt_name or self._config.stt_path.name})

    async def transcribe(self, request: Request) -> AsyncIterator[Reply]:
        """Transcribe PCM16 at 16 kHz."""
        samples = _samples(request)
        if len(samples) > MAX_AUDIO_S * RATE_HZ:
            raise ValueError(f"{len(samples) / RATE_HZ:.1f} s of audio; expected at most {MAX_AUDIO_S} s")
        priority = Priority(request.fields.get("priority", Priority.FINAL))
        clip = samples.astype(np.float32) / np.float32(32768)
        utterance = Utterance(clip, str(request.fields.get("hot_words", "")))
        done = await self._recogniser.submit(utterance, priority)
        yield Reply(asdict(replace(done.value, waited_ms=done.waited_ms, queued=done.queued)))

    async def turn_score(self, request: Request) -> AsyncIterator[Reply]:
        """Say how likely the turn in PCM16 at 16 kHz is over."""
        samples = _samples(request)
        if self._turn is None:
            raise WorkerRefused("not_configured", "this worker has no turn detector")
        done = await self._turn.submit(samples[-WINDOW_SAMPLES:])
        yield Reply({"score": done.value, "waited_ms": done.waited_ms, "queued": done.queued})

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


def _samples(request: Request) -> NDArray[np.int16]:
    rate_hz = request.fields.get("rate_hz")
    if rate_hz != RATE_HZ:
        raise ValueError(f"rate_hz is {rate_hz!r}; expected {RATE_HZ}")
    if len(request.payload) % 2 or not request.payload:
        raise ValueError(f"payload of {len(request.payload)} bytes; expected PCM16")
    return np.frombuffer(request.payload, "<i2")


def _recogniser(whisper: Whisper, config: SpeechWorkerConfig) -> ModelThread[Utterance, Transcript]:
    def run(batch: Sequence[Utterance], go_on: Callable[[], bool]) -> list[Transcript]:
        return whisper.transcribe([one.clip for one in batch], batch[0].hot_words, go_on=go_on)

    return ModelThread(
        "whisper", run, queue_limit=config.queue_limit, batch_limit=config.batch_limit, fits=share_a_run
    )


def _turn_thread(turn: TurnModel, config: SpeechWorkerConfig) -> ModelThread[NDArray[np.int16], float]:
    def run(batch: Sequence[NDArray[np.int16]], _go_on: Callable[[], bool]) -> list[float]:
        return [turn.score(samples) for samples in batch]

    # One at a time: four in one run take as long as four runs (184 against 4 x 47 ms), and the first would wait.
    return ModelThread("turn", run, queue_limit=config.queue_limit)


async def serve(config: SpeechWorkerConfig, stop: asyncio.Event) -> None:
    """Load the models, warm them, listen, and wait for ``stop``."""
    for name, path in (
        (config.stt_name, config.stt_path),
        (config.embedding_name, config.embedding_path),
        (config.turn_name, config.turn_path),
    ):
        if name and path is not None:
            verify_named(name, path)
    worker = SpeechWorker(config, await asyncio.to_thread(_load, config))
    handlers = {
        "ping": worker.ping,
        "transcribe": worker.transcribe,
        "turn_score": worker.turn_score,
        "embed": worker.embed,
    }
    working = worker.start()
    # Thrice the queue: embeddings and what is being decoded do not count against it.
    server = await serve_worker(config.socket, handlers, limit=3 * config.queue_limit)
    logger.info("speech_ready")
    try:
        await stop.wait()
    finally:
        await server.close()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def _load(config: SpeechWorkerConfig) -> LoadedModels:
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
    turn = SmartTurn(config.turn_path) if config.turn_path is not None else None
    if turn is not None:
        turn.score(np.zeros(RATE_HZ, np.int16))
    embeddings = Embeddings(config.embedding_path) if config.embedding_path is not None else None
    if embeddings is not None:
        embeddings.embed(["warm"])
    return LoadedModels(whisper, embeddings, turn)


if __name__ == "__main__":
    sys.exit(run_worker("speech", SpeechWorkerConfig, serve))
