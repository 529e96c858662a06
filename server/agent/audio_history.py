"""The last seconds of a leg's caller audio, addressed by sample offset, and when each was heard."""

from __future__ import annotations

from typing import Final

import numpy as np

_FRAME_MS: Final = 5
_BELOW_LOUDEST_DB: Final = 30.0
_FLOOR_DBFS: Final = -52.0
"""Quieter frames are no speech on a telephone line."""


class AudioHistory:
    """Bounded history of PCM16 mono with the leg's sample clock."""

    def __init__(self, *, rate_hz: int, limit_ms: int = 30_000) -> None:
        self.rate_hz = rate_hz
        self._limit = rate_hz * limit_ms // 1000
        self._pcm = bytearray()
        self._start = 0
        self._end_at = 0

    @property
    def end(self) -> int:
        """Sample offset just after the newest sample."""
        return self._start + len(self._pcm) // 2

    def append(self, offset: int, pcm: bytes, at: int) -> None:
        """Add audio that ends at time ``at`` (ns). A gap before it is filled with silence."""
        if not self._pcm or not 0 <= offset - self.end <= self._limit:
            self._pcm.clear()
            self._start = offset
        self._pcm += b"\0\0" * (offset - self.end)
        self._pcm += pcm
        self._end_at = at
        surplus = len(self._pcm) // 2 - self._limit
        # Trimmed a second at a time: a byte move a tick for every leg would be the tick's main work.
        if surplus > self.rate_hz:
            del self._pcm[: 2 * surplus]
            self._start += surplus

    def slice(self, start: int, stop: int) -> bytes:
        """Return the samples from ``start`` to ``stop``, as far as they are still here."""
        first = max(0, start - self._start)
        last = max(first, min(stop, self.end) - self._start)
        return bytes(self._pcm[2 * first : 2 * last])

    def heard_at(self, offset: int) -> int:
        """Return when sample ``offset`` was heard (ns)."""
        return self._end_at - (self.end - offset) * 1_000_000_000 // self.rate_hz

    def last_audible(self, start: int, stop: int) -> int:
        """Return the offset just after the last audible frame between ``start`` and ``stop``.

        Voice activity detection lags behind the end of speech by some windows; how quiet a frame is tells better, once
        it is known that speech has ended. Audible is what lies within 30 dB of the loudest frame of that stretch.
        Without an audible frame the answer is ``stop``.
        """
        frame = self.rate_hz * _FRAME_MS // 1000
        samples = np.frombuffer(self.slice(start, stop), dtype="<i2").astype(np.float32) / 32768.0
        frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
        if not len(frames):
            return stop
        power = np.mean(np.square(frames), axis=1)
        least = max(10 ** (_FLOOR_DBFS / 10), float(power.max()) * 10 ** (-_BELOW_LOUDEST_DB / 10))
        audible = np.flatnonzero(power >= least)
        return max(start, self._start) + (int(audible[-1]) + 1) * frame if len(audible) else stop
