"""Smart Turn 3: from the sound of a turn's last eight seconds, the probability that its speaker is done.

The model takes Whisper's log-mel of exactly eight seconds: a shorter turn stands at the end, silence before it, and the
whole is brought to mean 0 and variance 1. What is silence before the turn is one frame, computed once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.log_mel import FRAME, HOP, RATE_HZ, LogMel, scaled

WINDOW_S: Final = 8
WINDOW_SAMPLES: Final = WINDOW_S * RATE_HZ
_FRAMES: Final = WINDOW_SAMPLES // HOP
_VARIANCE_EPSILON: Final = 1e-7

_MEL: Final = LogMel(80)


class SmartTurn:
    """The ONNX model on one thread of the caller's."""

    def __init__(self, path: Path) -> None:
        """Load the model. Raises :class:`models.errors.ModelFileError` when it is not one."""
        options = onnxruntime.SessionOptions()
        # Two threads are no faster (46 against 43 ms), and a spinning pool would take the other core from Whisper.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError(
                f"{path} cannot be loaded ({type(error).__name__}); run: landline models fetch"
            ) from error

    def score(self, samples: NDArray[np.int16]) -> float:
        """Return the probability that the turn in ``samples`` (16 kHz, of any length) is over."""
        probabilities = self._session.run(None, {"input_features": turn_features(samples)[None]})[0]
        return float(probabilities[0, 0])


def turn_features(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the log-mel ``[80, 800]`` of the last eight seconds of ``samples`` at 16 kHz."""
    turn = samples[-WINDOW_SAMPLES:].astype(np.float32) / np.float32(32768)
    silent = WINDOW_SAMPLES - len(turn)
    mean = float(turn.sum(dtype=np.float64)) / WINDOW_SAMPLES
    variance = float(np.square(turn, dtype=np.float64).sum()) / WINDOW_SAMPLES - mean**2
    window = np.zeros(WINDOW_SAMPLES, np.float32)
    window[silent:] = turn
    window = (window - np.float32(mean)) / np.float32(np.sqrt(variance + _VARIANCE_EPSILON))
    padded = np.pad(window, FRAME // 2, mode="reflect")
    # Frames that hold nothing of the turn are all alike: one is computed for all of them.
    alike = max(0, (silent - FRAME // 2) // HOP)
    decades = np.empty((80, _FRAMES), np.float32)
    decades[:, alike:] = _MEL.decades(padded[alike * HOP :])[:, : _FRAMES - alike]
    decades[:, :alike] = decades[:, alike, None]
    return scaled(decades)
