"""How an utterance is decoded for less than 30 seconds' work, and when a second look is taken.

The encoder gets the clip, a second of silence, and no more than it needs of the 3000 frames it was trained on. With few
frames the decoder sometimes loops or hesitates; such a clip is encoded again with 1000, and what loops even then is
decoded without repeated triples. What it is told to expect (hot words) it also writes where there is nothing but noise or
music, and is sure of it: what leans on those words must be speech without that hint as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.log_mel import FRAME, HOP, RATE_HZ, LogMel, scaled, silence_decades
from models.transcript_guards import (
    GUESSED_LOG_PROBABILITY,
    NO_SPEECH_LIMIT,
    Decoded,
    believed,
    is_looping,
    is_too_fast,
    leans_on_hot_words,
    voiced_ms,
)

FRAMES_SHORT: Final = 800
"""Fewest frames at the first attempt: with 600 some sentences are said two or three times over, with 500 words go wrong."""
FRAMES_SURE: Final = 1000
"""Fewest frames at the second."""
_FRAMES_TAIL: Final = 100
_FRAMES_MAX: Final = 3000
_UNSURE_LOG_PROBABILITY: Final = -0.7
_TOKENS_MIN: Final = 16
_TOKENS_PER_S: Final = 12
"""Fast English speech stays below 7 tokens a second."""
_TOKENS_MAX: Final = 200

NOTHING: Final = Decoded("", -math.inf, 1.0)
"""Of a clip that was not decoded: no words, confidence 0."""

Clip = NDArray[np.float32]


class Engine(Protocol):
    """A Whisper model's two halves."""

    def encode(self, features: NDArray[np.float32]) -> Any:
        """Map ``[B, bands, frames]`` to what :meth:`generate` takes."""
        ...

    def generate(
        self, encoded: Any, count: int, tokens: int, hot_words: str, *, no_repeat: int = 0
    ) -> list[Decoded]:
        """Decode greedily, at most ``tokens`` an utterance; ``no_repeat`` forbids repeated phrases of that length."""
        ...


@dataclass(frozen=True, slots=True)
class _Run:
    """One batch of clips."""

    engine: Engine
    mel: LogMel
    clips: Sequence[Clip]
    hot_words: str

    @property
    def samples(self) -> int:
        return max(len(clip) for clip in self.clips)

    def encode(self, frames: int) -> Any:
        return self.engine.encode(features(self.mel, self.clips, frames))

    def generate(self, encoded: Any, *, hinted: bool = True, no_repeat: int = 0) -> list[Decoded]:
        tokens = min(_TOKENS_MAX, _TOKENS_MIN + math.ceil(self.samples / RATE_HZ * _TOKENS_PER_S))
        hot_words = self.hot_words if hinted else ""
        return self.engine.generate(encoded, len(self.clips), tokens, hot_words, no_repeat=no_repeat)


def decode(
    engine: Engine, mel: LogMel, clips: Sequence[Clip], hot_words: str, go_on: Callable[[], bool]
) -> list[Decoded]:
    """Decode clips of 16 kHz in one run. ``go_on`` is asked before each step that takes long."""
    run = _Run(engine, mel, clips, hot_words)
    frames = frames_of(run.samples, FRAMES_SHORT)
    encoded = run.encode(frames)
    if not go_on():
        return [NOTHING] * len(clips)
    results = run.generate(encoded)
    sure = frames_of(run.samples, FRAMES_SURE)
    voiced = [voiced_ms(clip) for clip in clips]
    unsure = [index for index, result in enumerate(results) if is_unsure(result, voiced[index])]
    if unsure and sure > frames and go_on():
        encoded = run.encode(sure)
        _replace(results, run.generate(encoded), unsure)
    looping = [
        index
        for index, result in enumerate(results)
        if is_looping(result.text) or is_too_fast(result.text, voiced[index])
    ]
    if looping:
        _replace(results, run.generate(encoded, no_repeat=3), looping)
    expected = [index for index, one in enumerate(results) if leans_on_hot_words(one.text, hot_words)]
    if expected:
        plain = run.generate(encoded, hinted=False)
        echoes = [index for index in expected if not believed(plain[index], voiced[index])]
        _replace(results, plain, echoes)
    return results


def is_unsure(decoded: Decoded, voiced: int) -> bool:
    """Say whether a second look is worth its time: the decoder loops, says more than ``voiced`` milliseconds can hold
    (a sentence that comes twice), or hesitates over what may be speech."""
    if is_looping(decoded.text) or is_too_fast(decoded.text, voiced):
        return True
    hesitates = GUESSED_LOG_PROBABILITY < decoded.mean_log_probability < _UNSURE_LOG_PROBABILITY
    return hesitates and decoded.no_speech < NO_SPEECH_LIMIT


def frames_of(samples: int, floor: int) -> int:
    """Return how many mel frames the encoder is given for a clip of ``samples``, at least ``floor``."""
    return min(_FRAMES_MAX, max(floor, math.ceil(samples / HOP) + _FRAMES_TAIL))


def features(mel: LogMel, clips: Sequence[Clip], frames: int) -> NDArray[np.float32]:
    """Return the clips' log-mel, silence behind them up to ``frames``: ``[B, bands, frames]``."""
    decades = np.full((len(clips), mel.bands, frames), silence_decades(), np.float32)
    for row, clip in zip(decades, clips, strict=True):
        # Only frames that touch the clip are computed; the silence behind it is known.
        padded = np.pad(np.pad(clip[: frames * HOP], (0, FRAME)), (FRAME // 2, 0), mode="reflect")
        heard = mel.decades(padded)[:, :frames]
        row[:, : heard.shape[1]] = heard
    return np.stack([scaled(row) for row in decades])


def _replace(results: list[Decoded], others: Sequence[Decoded], indices: Sequence[int]) -> None:
    for index in indices:
        results[index] = others[index]
