"""Whisper on CTranslate2 for utterances of calls: several in one run, each at the cost of its own length.

``transcribe`` of faster-whisper always encodes 30 seconds; :mod:`models.short_decoding` says what is done instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.log_mel import RATE_HZ, LogMel
from models.protocols import Transcript
from models.short_decoding import NOTHING, decode
from models.transcript_guards import Decoded, believed, is_silent, voiced_ms

MAX_AUDIO_S: Final = 30

_HOT_WORD_TOKENS_MAX: Final = 64


class ShortWhisper:
    """A CTranslate2 Whisper model. Not thread-safe: one thread uses it."""

    def __init__(self, path: Path, *, device: str, compute_type: str, threads: int, language: str) -> None:
        """Load the folder at ``path``. Raises :class:`models.errors.ModelFileError` when it does not hold a model."""
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        for name in ("model.bin", "config.json", "tokenizer.json"):
            if not (path / name).is_file():
                raise ModelFileError(f"{path / name} is missing; run: landline models fetch")
        try:
            self._model: Any = WhisperModel(
                str(path),
                device=device,
                compute_type=compute_type,
                cpu_threads=threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"{path} cannot be loaded: {error}") from error
        self._mel = LogMel(self._model.model.n_mels)
        self._tokenizer: Any = Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, task="transcribe", language=language
        )

    def transcribe(
        self,
        clips: Sequence[NDArray[np.float32]],
        hot_words: str = "",
        *,
        go_on: Callable[[], bool] = lambda: True,
    ) -> list[Transcript]:
        """Transcribe 16 kHz clips in [-1, 1] of up to 30 s in one run.

        ``go_on`` is asked between encoder and decoder; where the answer is no the result is empty.
        """
        began = time.monotonic()
        decoded = [NOTHING] * len(clips)
        spoken = [index for index, clip in enumerate(clips) if not is_silent(clip)]
        if spoken:
            results = decode(self, self._mel, [clips[index] for index in spoken], hot_words.strip(), go_on)
            for index, result in zip(spoken, results, strict=True):
                decoded[index] = result
        inference_ms = (time.monotonic() - began) * 1000
        return [
            _transcript(result, voiced_ms(clip), len(clip) * 1000 // RATE_HZ, inference_ms)
            for result, clip in zip(decoded, clips, strict=True)
        ]

    def encode(self, features: NDArray[np.float32]) -> Any:
        """Map ``[B, bands, frames]`` to what :meth:`generate` takes."""
        return self._model.encode(features)

    def _prompt(self, hot_words: str) -> list[int]:
        prompt: list[int] = []
        if hot_words:
            tokens = self._tokenizer.encode(" " + hot_words)[:_HOT_WORD_TOKENS_MAX]
            prompt = [self._tokenizer.sot_prev, *tokens]
        return [*prompt, *self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]

    def generate(
        self, encoded: Any, count: int, tokens: int, hot_words: str, *, no_repeat: int = 0
    ) -> list[Decoded]:
        """Decode greedily; see :class:`models.short_decoding.Engine`."""
        prompt = self._prompt(hot_words)
        results = self._model.model.generate(
            encoded,
            [prompt] * count,
            beam_size=1,
            max_length=len(prompt) + tokens,
            no_repeat_ngram_size=no_repeat,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
        )
        return [
            Decoded(
                self._tokenizer.decode(result.sequences_ids[0]).strip(),
                result.scores[0] * len(result.sequences_ids[0]) / (len(result.sequences_ids[0]) + 1),
                result.no_speech_prob,
            )
            for result in results
        ]


def _transcript(decoded: Decoded, voiced: int, audio_ms: int, inference_ms: float) -> Transcript:
    return Transcript(
        believed(decoded, voiced),
        confidence=min(1.0, math.exp(decoded.mean_log_probability)),
        no_speech=decoded.no_speech,
        audio_ms=audio_ms,
        inference_ms=inference_ms,
    )
