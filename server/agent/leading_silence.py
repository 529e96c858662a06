"""Cuts the silence with which a synthesiser begins, because the caller waits through it. No clock.

Piper begins a sentence with about a tenth of a second of near-silence; that is as long as five packets.
"""

from __future__ import annotations

import numpy as np

_LEVEL = 32768 * 10 ** (-50 / 20)
_KEPT_MS = 10
"""Kept before the first audible sample: the soft edge of a consonant."""


class LeadingSilence:
    """Streaming cutter for one utterance of PCM16 mono."""

    def __init__(self, rate_hz: int) -> None:
        self._kept = rate_hz * _KEPT_MS // 1000
        self._held = b""
        self._over = False
        self.cut = 0
        """Samples left out so far."""

    def feed(self, pcm: bytes) -> bytes:
        """Return what is to be played of ``pcm``."""
        if self._over:
            return pcm
        pcm = self._held + pcm
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.int32)
        audible = np.flatnonzero(np.abs(samples) > _LEVEL)
        if len(audible):
            self._over, self._held = True, b""
            silent = max(0, int(audible[0]) - self._kept)
            self.cut += silent
            return pcm[2 * silent :]
        self._held = pcm[max(0, len(pcm) - 2 * self._kept) :]
        self.cut += (len(pcm) - len(self._held)) // 2
        return b""
