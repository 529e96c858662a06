"""PCM16 mono from one rate to another, as a stream (soxr)."""

from __future__ import annotations

import numpy as np
import soxr


class Resampler:
    """Streaming resampler; HQ, which is what a telephone band needs and no more."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._same = source_hz == target_hz
        self._stream = soxr.ResampleStream(source_hz, target_hz, 1, dtype="int16", quality="HQ")

    def feed(self, pcm: bytes, *, final: bool) -> bytes:
        """Return what is ready; with ``final`` also the tail."""
        if self._same:
            return pcm
        samples = np.frombuffer(pcm, dtype="<i2")
        ready: np.ndarray[tuple[int], np.dtype[np.int16]] = self._stream.resample_chunk(samples, last=final)
        return ready.astype("<i2").tobytes()
