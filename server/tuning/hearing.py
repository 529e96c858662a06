"""What the real models say about each silence of a recording: the words so far, and the turn detector every 100 ms.

Answers are kept by the content of the audio and the model's name, so that only the first replay of a recording pays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.agent.resampling import Resampler
from server.tuning.front_end import Silence
from server.tuning.recordings import Recording
from server.tuning.replay import SCORE_DECIDED, HeardSilence
from server.turns.endpointing import smoothed

_MODEL_RATE_HZ: Final = 16_000
_PAD_MS: Final = 160
"""As the call session adds before and after what it has transcribed."""
_JUDGED_MS: Final = 1_700
"""How far into a silence the turn detector is heard; no strategy of ours waits longer."""

Pcm = NDArray[np.int16]


class AnswerCache:
    """A JSON Lines file of answers. Lines that a stopped run left half written are passed over."""

    def __init__(self, path: Path | None) -> None:
        """Read ``path``; None keeps answers in memory only."""
        self._path = path
        self._answers: dict[str, Any] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    key, answer = json.loads(line)
                except ValueError:
                    continue
                self._answers[key] = answer

    def get(self, model: str, pcm: Pcm, ask: Callable[[], Any]) -> Any:
        """Return the answer of ``model`` to ``pcm``; ``ask`` it where it is not known."""
        key = hashlib.sha256(model.encode() + b"\0" + pcm.astype("<i2").tobytes()).hexdigest()
        if key not in self._answers:
            self._answers[key] = ask()
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, self._answers[key]]) + "\n")
        return self._answers[key]


class Hearing:
    """The recogniser and the turn detector, as plain functions of 16 kHz audio."""

    def __init__(
        self,
        transcribe: Callable[[Pcm], str],
        score: Callable[[Pcm], float],
        cache: AnswerCache,
        *,
        names: tuple[str, str],
    ) -> None:
        """Take the two models; ``names`` tell their answers from those of others in the cache."""
        self._transcribe, self._score, self._cache = transcribe, score, cache
        self._stt_name, self._turn_name = names

    def hear(self, recording: Recording, silence: Silence, *, interval_ms: int) -> HeardSilence:
        """Return the silence with the words so far and the scores until speech goes on, 1.7 s at most."""
        wide = _wide(recording)
        spoken = _cut(wide, silence.turn_began_ms - _PAD_MS, silence.stopped_ms + _PAD_MS)
        words = self._cache.get(self._stt_name, spoken, partial(self._transcribe, spoken))
        until_ms = min(
            silence.stopped_ms + _JUDGED_MS,
            silence.resumed_noticed_ms or len(wide) * 1000 // _MODEL_RATE_HZ,
        )
        scores: list[float] = []
        together: float | None = None
        for at_ms in range(silence.noticed_ms, until_ms, interval_ms):
            sound = _cut(wide, silence.turn_began_ms, at_ms)
            score = self._cache.get(self._turn_name, sound, partial(self._score, sound))
            scores.append(round(float(score), 4))
            together = smoothed(together, scores[-1])
            if together >= SCORE_DECIDED:
                break
        return HeardSilence(
            silence.stopped_ms,
            silence.noticed_ms,
            silence.resumed_ms,
            silence.resumed_noticed_ms,
            str(words),
            tuple(scores),
        )


def _wide(recording: Recording) -> Pcm:
    pcm = Resampler(recording.rate_hz, _MODEL_RATE_HZ).feed(
        recording.samples.astype("<i2").tobytes(), final=True
    )
    return np.frombuffer(pcm, "<i2").astype(np.int16)


def _cut(wide: Pcm, begin_ms: int, end_ms: int) -> Pcm:
    step = _MODEL_RATE_HZ // 1000
    return wide[max(0, begin_ms) * step : max(0, end_ms) * step]
