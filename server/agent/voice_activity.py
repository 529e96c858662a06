"""Caller audio of all legs into VAD windows, judged in one batch. No clock, no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.protocols import VoiceActivityDetector

LegKey = tuple[str, int]
"""Door and leg: a leg's number is unique only within its door."""

_WINDOW_MS = 32


def window_samples(rate_hz: int) -> int:
    """Return how many samples a window has at a rate."""
    return rate_hz * _WINDOW_MS // 1000


@dataclass(slots=True)
class _Stream:
    vad: VoiceActivityDetector
    state: NDArray[np.float32]
    pending: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    offset: int = 0
    """Sample offset of the first pending sample."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Speech probability of one window of one leg."""

    leg: LegKey
    offset: int
    probability: float


class VoiceActivity:
    """Streams of all legs; every call of :meth:`judge` runs the network once per rate and round of windows."""

    def __init__(self, vads: Mapping[int, VoiceActivityDetector]) -> None:
        """``vads``: rate → the network at that rate, since its state at one rate means nothing at another."""
        self._vads = vads
        self._streams: dict[LegKey, _Stream] = {}

    def open(self, leg: LegKey, offset: int = 0, *, rate_hz: int = 8000) -> None:
        """Begin a stream whose next sample is ``offset``."""
        vad = self._vads[rate_hz]
        self._streams[leg] = _Stream(vad, vad.initial_state(), offset=offset)

    def close(self, leg: LegKey) -> None:
        """Forget a stream."""
        self._streams.pop(leg, None)

    def feed(self, leg: LegKey, offset: int, pcm: bytes) -> None:
        """Append audio. A jump of the offset (audio the door had to drop) begins a new window there."""
        stream = self._streams.get(leg)
        if stream is None:
            return
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0
        if stream.offset + len(stream.pending) != offset:
            stream.pending, stream.offset = np.empty(0, dtype=np.float32), offset
        stream.pending = np.concatenate((stream.pending, samples))

    def judge(self) -> list[Judgement]:
        """Judge every complete window, in order of time for each leg."""
        return [judgement for vad in self._vads.values() for judgement in self._judge_rate(vad)]

    def _judge_rate(self, vad: VoiceActivityDetector) -> list[Judgement]:
        window = vad.window_samples
        streams = [(leg, stream) for leg, stream in self._streams.items() if stream.vad is vad]
        judgements: list[Judgement] = []
        while ready := [(leg, stream) for leg, stream in streams if len(stream.pending) >= window]:
            windows = np.stack([stream.pending[:window] for _, stream in ready])
            states = np.stack([stream.state for _, stream in ready])
            probabilities, following = vad.probabilities(windows, states)
            for row, (leg, stream) in enumerate(ready):
                judgements.append(Judgement(leg, stream.offset, float(probabilities[row])))
                stream.state = following[row]
                stream.pending = stream.pending[window:]
                stream.offset += window
        return judgements
