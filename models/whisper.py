"""Whisper through its short encoder path: an utterance costs its own length, not 30 seconds.

``transcribe`` of faster-whisper always encodes 3000 mel frames. Here the audio is padded to 1000 frames or its own
length and one second, whichever is more. Under 1000 frames short clips make the decoder loop; the floor, a limit of
tokens a second and a second decoding without repeated triples keep it from that. Utterances of a batch share one run.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.log_mel import FRAME, HOP, RATE_HZ, LogMel, scaled, silence_decades
from models.protocols import Transcript

MAX_AUDIO_S: Final = 30

_FRAMES_MIN: Final = 1000
_FRAMES_TAIL: Final = 100
_FRAMES_MAX: Final = 3000
_TOKENS_MIN: Final = 16
_TOKENS_PER_S: Final = 12
"""Fast English speech stays below 7 tokens a second."""
_TOKENS_MAX: Final = 200
_HOT_WORD_TOKENS_MAX: Final = 64
_SILENCE_RMS: Final = 0.0008
"""Loudest 100 ms of the clip below -62 dBFS: nobody spoke into this line."""
_NO_SPEECH_LIMIT: Final = 0.6
_LOG_PROBABILITY_LIMIT: Final = -1.0
_COMPRESSION_LIMIT: Final = 2.4
_INVENTED: Final = frozenset(
    {"", "you", "thank you", "thanks for watching", "thank you for watching", "bye", "so", "the", "okay"}
)
"""What Whisper writes where nobody speaks; believed only when it is sure that somebody did."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    mean_log_probability: float
    no_speech: float


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
        self._bands: int = self._model.model.n_mels
        self._mel = LogMel(self._bands)
        self._tokenizer: Any = Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, task="transcribe", language=language
        )

    def transcribe(
        self,
        clips: Sequence[NDArray[np.float32]],
        hot_words: str = "",
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Transcript]:
        """Transcribe 16 kHz clips in [-1, 1] of up to 30 s in one run.

        ``wanted`` is asked between encoder and decoder; where the answer is no the result is empty.
        """
        began = time.monotonic()
        spoken = [index for index, clip in enumerate(clips) if not is_silent(clip)]
        decoded: dict[int, _Decoded] = {}
        if spoken:
            results = self._decode([clips[index] for index in spoken], hot_words, wanted)
            decoded = dict(zip(spoken, results, strict=True))
        inference_ms = (time.monotonic() - began) * 1000
        return [
            _transcript(decoded.get(index), len(clip) * 1000 // RATE_HZ, inference_ms)
            for index, clip in enumerate(clips)
        ]

    def _decode(
        self, clips: Sequence[NDArray[np.float32]], hot_words: str, wanted: Callable[[], bool]
    ) -> list[_Decoded]:
        samples = max(len(clip) for clip in clips)
        encoded = self._model.encode(self._features(clips, samples))
        if not wanted():
            return [_Decoded("", 0.0, 1.0)] * len(clips)
        prompt = self._prompt(hot_words)
        limit = len(prompt) + min(_TOKENS_MAX, _TOKENS_MIN + math.ceil(samples / RATE_HZ * _TOKENS_PER_S))
        results = self._generate(encoded, [prompt] * len(clips), limit, no_repeat=0)
        looping = [index for index, result in enumerate(results) if is_looping(result.text)]
        if looping:
            again = self._generate(encoded, [prompt] * len(clips), limit, no_repeat=3)
            for index in looping:
                results[index] = again[index]
        return results

    def _features(self, clips: Sequence[NDArray[np.float32]], samples: int) -> NDArray[np.float32]:
        """Log-mel of the clips, padded with silence to one common length: ``[B, mels, frames]``."""
        frames = min(_FRAMES_MAX, max(_FRAMES_MIN, math.ceil(samples / HOP) + _FRAMES_TAIL))
        decades = np.full((len(clips), self._bands, frames), silence_decades(), np.float32)
        for row, clip in zip(decades, clips, strict=True):
            # Only frames that touch the clip are computed; the silence behind it is known.
            padded = np.pad(np.pad(clip[: frames * HOP], (0, FRAME)), (FRAME // 2, 0), mode="reflect")
            heard = self._mel.decades(padded)[:, :frames]
            row[:, : heard.shape[1]] = heard
        return np.stack([scaled(row) for row in decades])

    def _prompt(self, hot_words: str) -> list[int]:
        prompt: list[int] = []
        if hot_words.strip():
            tokens = self._tokenizer.encode(" " + hot_words.strip())[:_HOT_WORD_TOKENS_MAX]
            prompt = [self._tokenizer.sot_prev, *tokens]
        return [*prompt, *self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]

    def _generate(
        self, encoded: Any, prompts: list[list[int]], limit: int, *, no_repeat: int
    ) -> list[_Decoded]:
        results = self._model.model.generate(
            encoded,
            prompts,
            beam_size=1,
            max_length=limit,
            no_repeat_ngram_size=no_repeat,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
        )
        return [
            _Decoded(
                self._tokenizer.decode(result.sequences_ids[0]).strip(),
                result.scores[0] * len(result.sequences_ids[0]) / (len(result.sequences_ids[0]) + 1),
                result.no_speech_prob,
            )
            for result in results
        ]


def is_silent(clip: NDArray[np.float32]) -> bool:
    """Say whether even the loudest 100 ms of the clip hold nothing."""
    step = RATE_HZ // 10
    whole = len(clip) // step * step
    if not whole:
        return True
    return bool(np.sqrt(np.mean(np.square(clip[:whole].reshape(-1, step)), axis=1)).max() < _SILENCE_RMS)


def is_looping(text: str) -> bool:
    """Say whether the decoder repeats itself: such text compresses far better than speech does."""
    data = text.encode()
    return len(data) > 40 and len(data) / len(zlib.compress(data)) > _COMPRESSION_LIMIT


def is_invented(text: str, mean_log_probability: float, no_speech: float) -> bool:
    """Say whether the words are rather the model's than the caller's."""
    if no_speech > _NO_SPEECH_LIMIT and mean_log_probability < _LOG_PROBABILITY_LIMIT:
        return True
    bare = "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").strip()
    return bare in _INVENTED and (
        no_speech > _NO_SPEECH_LIMIT or mean_log_probability < _LOG_PROBABILITY_LIMIT
    )


def _transcript(decoded: _Decoded | None, audio_ms: int, inference_ms: float) -> Transcript:
    if decoded is None:
        return Transcript("", confidence=0.0, no_speech=1.0, audio_ms=audio_ms, inference_ms=inference_ms)
    invented = is_invented(decoded.text, decoded.mean_log_probability, decoded.no_speech)
    looping = is_looping(decoded.text)
    return Transcript(
        "" if invented or looping else decoded.text,
        confidence=min(1.0, math.exp(decoded.mean_log_probability)),
        no_speech=decoded.no_speech,
        audio_ms=audio_ms,
        inference_ms=inference_ms,
    )
