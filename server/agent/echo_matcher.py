"""Says whether what a leg hears is what was sent on it, and how late. Pure.

The normalised cross-correlation over all delays of interest, of both signals with their upper band raised: speech has its
energy in few low harmonics, where any two voices look alike for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW_MS: Final = 256
MAX_LAG_MS: Final = 480
"""300 ms of line, and what packets and jitter buffers add both ways."""
_RATE_HZ: Final = 8000
_PRE_EMPHASIS: Final = 0.95
_QUIET_SHARE: Final = 0.02
"""A delay at which the reference is this much quieter than at its loudest says nothing."""

_FEW_LAGS: Final = 64
"""Up to so many delays sums are quicker than transforms."""


@dataclass(frozen=True, slots=True)
class Match:
    """How like the reference the capture is, 0 to 1, and by how many milliseconds it is late."""

    likeness: float
    lag_ms: float


def match(capture: NDArray[np.int16], reference: NDArray[np.int16], rate_hz: int) -> Match:
    """Compare capture (``WINDOW_MS`` of it) with a longer stretch of reference; a lag of 0 has both end together."""
    heard = _emphasised(capture, rate_hz)
    sent = _emphasised(reference, rate_hz)
    count = len(heard)
    energy = np.concatenate((np.zeros(1), np.cumsum(sent * sent)))
    energies = energy[count:] - energy[:-count]
    own = float(heard @ heard)
    if own <= 0 or float(energies.max()) <= 0:
        return Match(0.0, 0.0)
    if len(sent) - count <= _FEW_LAGS:
        products = np.correlate(sent, heard, "valid")
    else:
        size = 1 << (len(sent) + count - 1).bit_length()
        spectrum = np.conj(np.fft.rfft(heard, size)) * np.fft.rfft(sent, size)
        products = np.fft.irfft(spectrum, size)[: len(sent) - count + 1]
    loud = energies > _QUIET_SHARE * float(energies.max())
    likeness = np.where(loud, np.abs(products) / np.sqrt(np.maximum(energies, 1.0) * own), 0.0)
    best = int(likeness.argmax())
    return Match(min(1.0, float(likeness[best])), (len(sent) - count - best) * 1000 / _RATE_HZ)


def _emphasised(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.float64]:
    """Return the samples at 8 kHz with their upper band raised."""
    values = samples.astype(np.float64)
    if rate_hz != _RATE_HZ:
        values = values[len(values) % 2 :].reshape(-1, rate_hz // _RATE_HZ).mean(axis=1)
    raised = values.copy()
    raised[1:] -= _PRE_EMPHASIS * values[:-1]
    return raised
