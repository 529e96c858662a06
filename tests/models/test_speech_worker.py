from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import WorkerRefused
from models.protocols import Transcript
from models.speech_worker import LoadedModels, SpeechWorker, Utterance, share_a_run
from models.turn_detector import WINDOW_SAMPLES
from models.worker_config import SpeechWorkerConfig
from models.worker_protocol import Reply, Request
from models.worker_server import Handler

CONFIG = SpeechWorkerConfig(socket=Path("speech.sock"), stt_path=Path("whisper"))


class LengthWhisper:
    """Hears the number of samples."""

    def transcribe(
        self, clips: Sequence[NDArray[np.float32]], hot_words: str = "", *, go_on: Callable[[], bool]
    ) -> list[Transcript]:
        assert go_on()
        return [
            Transcript(f"{len(clip)} {hot_words}".strip(), 0.9, 0.1, len(clip) // 16, 5.0) for clip in clips
        ]


class LengthTurn:
    """Scores a turn by its share of the window."""

    def score(self, samples: NDArray[np.int16]) -> float:
        return len(samples) / WINDOW_SAMPLES


def answer(handler: Callable[[SpeechWorker], Handler], request: Request, loaded: LoadedModels) -> Reply:
    async def main() -> Reply:
        worker = SpeechWorker(CONFIG, loaded)
        tasks = worker.start()
        try:
            replies = [reply async for reply in handler(worker)(request)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert len(replies) == 1
        return replies[0]

    return asyncio.run(main())


def audio(samples: int, **fields: object) -> Request:
    return Request("op", {"rate_hz": 16000, **fields}, bytes(2 * samples))


def test_a_transcript_says_what_it_cost_and_how_busy_the_model_is() -> None:
    reply = answer(
        lambda worker: worker.transcribe, audio(3200, hot_words="Baker"), LoadedModels(LengthWhisper())
    )
    assert reply.header["text"] == "3200 Baker"
    assert (reply.header["audio_ms"], reply.header["queued"]) == (200, 0)
    assert 0 <= reply.header["waited_ms"] < 10_000


def test_the_last_eight_seconds_of_a_turn_are_scored() -> None:
    loaded = LoadedModels(LengthWhisper(), turn=LengthTurn())
    for samples, score in ((WINDOW_SAMPLES // 4, 0.25), (2 * WINDOW_SAMPLES, 1.0)):
        reply = answer(lambda worker: worker.turn_score, audio(samples), loaded)
        assert reply.header["score"] == score


def test_a_worker_without_a_turn_detector_says_so_and_asking_again_is_of_no_use() -> None:
    with pytest.raises(WorkerRefused, match="no turn detector") as refused:
        answer(lambda worker: worker.turn_score, audio(1600), LoadedModels(LengthWhisper()))
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("audio_request", "expected"),
    [
        (Request("op", {"rate_hz": 8000}, bytes(320)), "rate_hz is 8000; expected 16000"),
        (Request("op", {"rate_hz": 16000}, bytes(3)), "expected PCM16"),
        (Request("op", {"rate_hz": 16000}), "expected PCM16"),
    ],
    ids=["rate", "half a sample", "nothing"],
)
def test_audio_that_does_not_fit_is_refused_with_what_was_expected(
    audio_request: Request, expected: str
) -> None:
    loaded = LoadedModels(LengthWhisper(), turn=LengthTurn())
    for handler in (lambda worker: worker.transcribe, lambda worker: worker.turn_score):
        with pytest.raises(ValueError, match=expected):
            answer(handler, audio_request, loaded)


def test_audio_longer_than_whisper_hears_is_refused() -> None:
    with pytest.raises(ValueError, match=r"31\.0 s of audio; expected at most 30 s"):
        answer(lambda worker: worker.transcribe, audio(31 * 16000), LoadedModels(LengthWhisper()))


@pytest.mark.parametrize(
    ("first_s", "other_s", "hot_words", "shared"),
    [(1, 4, "", True), (6, 9, "", True), (2, 12, "", False), (12, 2, "", False), (2, 2, "Baker", False)],
)
def test_a_short_utterance_does_not_share_a_run_with_a_long_one(
    first_s: int, other_s: int, hot_words: str, shared: bool
) -> None:
    first = Utterance(np.zeros(first_s * 16000, np.float32), "")
    other = Utterance(np.zeros(other_s * 16000, np.float32), hot_words)
    assert share_a_run(first, other) is shared
