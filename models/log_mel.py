"""Log-mel spectra as Whisper defines them: frames of 25 ms every 10 ms, Slaney mel bands, eight decades of range.

Both Whisper and the turn detector hear through this. Pure: samples in, an array out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE_HZ: Final = 16000
HOP: Final = 160
"""Samples from one frame to the next."""
FRAME: Final = 400
"""Samples of a frame."""
_POWER_FLOOR: Final = 1e-10
_DECADES: Final = 8.0


class LogMel:
    """Mel bands of 16 kHz audio."""

    def __init__(self, bands: int = 80) -> None:
        self.bands = bands
        # Nearly all weights are zero. A sparse product is faster than a dense one and, unlike it, wakes no pool of
        # threads, which on a busy machine takes milliseconds.
        self._filters = scipy.sparse.csr_array(_filters(bands))
        self._window = np.hanning(FRAME + 1)[:-1].astype(np.float32)

    def decades(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log10 of the mel power, ``[bands, frames]``, of every whole frame of ``samples``."""
        frames = sliding_window_view(samples, FRAME)[::HOP]
        spectrum = np.fft.rfft(frames * self._window, axis=-1)
        power = np.ascontiguousarray((np.square(spectrum.real) + np.square(spectrum.imag)).T)
        mel: NDArray[np.float32] = np.asarray(self._filters @ power, np.float32)
        decades: NDArray[np.float32] = np.log10(np.maximum(mel, np.float32(_POWER_FLOOR)))
        return decades


def scaled(decades: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut what lies eight decades below the loudest, and scale to about [-1, 1], as Whisper was trained with."""
    floor = np.float32(decades.max() - _DECADES)
    cut: NDArray[np.float32] = (np.maximum(decades, floor) + np.float32(4)) / np.float32(4)
    return cut


def silence_decades() -> float:
    """Return what :meth:`LogMel.decades` holds for a frame of zeros."""
    return float(np.log10(np.float32(_POWER_FLOOR)))


def _filters(bands: int) -> NDArray[np.float32]:
    """Triangles of equal area between 0 and 8 kHz (Slaney's Auditory Toolbox): ``[bands, 201]``."""
    edges = _hertz(np.linspace(0.0, float(_mel(RATE_HZ / 2)), bands + 2))
    bins = np.linspace(0.0, RATE_HZ / 2, FRAME // 2 + 1)
    slopes = edges[:, None] - bins[None, :]
    widths = np.diff(edges)
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.asarray(weights, np.float32)


_LINEAR_HZ_PER_MEL: Final = 200.0 / 3
_LOG_FROM_HZ: Final = 1000.0
_LOG_FROM_MEL: Final = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = np.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    return float(_LOG_FROM_MEL + np.log(hertz / _LOG_FROM_HZ) / _LOG_STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mels - _LOG_FROM_MEL))
    return np.where(mels >= _LOG_FROM_MEL, logarithmic, mels * _LINEAR_HZ_PER_MEL)
