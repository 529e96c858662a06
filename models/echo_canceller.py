"""Echo cancellation with WebRTC's AEC3 (``pywebrtc-audio``, Apache-2.0): reference and capture in, cleaned capture out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pywebrtc_audio import AudioProcessor


class WebRtcEchoCanceller:
    """Satisfies :class:`models.protocols.EchoCanceller`. Holds about 1 MB and uses no thread of its own."""

    def __init__(self, rate_hz: int) -> None:
        """Make one for a stream at 8000 or 16000 Hz (inside it works at 16000)."""
        if rate_hz not in (8000, 16000):
            raise ValueError(f"rate_hz {rate_hz}; expected 8000 or 16000")
        self.frame_samples = rate_hz // 100
        self._processor = AudioProcessor(sample_rate=rate_hz, echo_cancellation=True)

    def cancel(self, capture: NDArray[np.int16], reference: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return ``capture`` without the echo of ``reference``."""
        if len(capture) != len(reference) or len(capture) % self.frame_samples:
            raise ValueError(
                f"{len(capture)} and {len(reference)} samples; expected the same multiple of {self.frame_samples}"
            )
        return self._processor.process(capture, reference)
