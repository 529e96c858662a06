"""Caller audio of all legs into VAD windows, judged in one batch. No clock, no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.protocols import VoiceActivityDetector


@dataclass(slots=True)
class _Stream:
    state: NDArray[np.float32]
    pending: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    offset: int = 0
    """Sample offset of the first pending sample."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Speech probability of one window of one leg."""

    leg_id: int
    offset: int
    probability: float


class VoiceActivity:
    """Streams of all legs; every call of :meth:`judge` runs the network once per round of windows."""

    def __init__(self, vad: VoiceActivityDetector) -> None:
        self._vad = vad
        self._streams: dict[int, _Stream] = {}

    def open(self, leg_id: int, offset: int = 0) -> None:
        """Begin a stream whose next sample is ``offset``."""
        self._streams[leg_id] = _Stream(self._vad.initial_state(), offset=offset)

    def close(self, leg_id: int) -> None:
        """Forget a stream."""
        self._streams.pop(leg_id, None)

    def feed(self, leg_id: int, offset: int, pcm: bytes) -> None:
        """Append audio. A jump of the offset (audio the door had to drop) begins a new window there."""
        stream = self._streams.get(leg_id)
        if stream is None:
            return
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0
        if stream.offset + len(stream.pending) != offset:
            stream.pending, stream.offset = np.empty(0, dtype=np.float32), offset
        stream.pending = np.concatenate((stream.pending, samples))

    def judge(self) -> list[Judgement]:
        """Judge every complete window, in order of time for each leg."""
        window = self._vad.window_samples
        judgements: list[Judgement] = []
        while ready := [(key, s) for key, s in self._streams.items() if len(s.pending) >= window]:
            windows = np.stack([stream.pending[:window] for _, stream in ready])
            states = np.stack([stream.state for _, stream in ready])
            probabilities, following = self._vad.probabilities(windows, states)
            for row, (leg_id, stream) in enumerate(ready):
                judgements.append(Judgement(leg_id, stream.offset, float(probabilities[row])))
                stream.state = following[row]
                stream.pending = stream.pending[window:]
                stream.offset += window
        return judgements
