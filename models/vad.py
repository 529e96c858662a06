"""Silero voice activity detector: every stream of the node in one run of the ONNX model.

The model takes a window preceded by the end of the window before it (32 samples at 8 kHz, 64 at 16 kHz) and a
recurrent state ``[2, B, 128]``. Both are kept per stream in one flat vector, so that streams come and go freely.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.errors import ModelFileError

_STATE_SHAPE: Final = (2, 128)
_STATE_SIZE: Final = 2 * 128


class SileroVad:
    """Satisfies :class:`models.protocols.VoiceActivityDetector`."""

    def __init__(self, path: Path, *, rate_hz: int = 8000, threads: int = 1) -> None:
        """Load the model. Raises :class:`models.errors.ModelFileError` when it is not one."""
        if rate_hz not in (8000, 16000):
            raise ValueError(f"rate_hz {rate_hz}; expected 8000 or 16000")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread pool would take the core that the media process needs.
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
        self._rate = np.array(rate_hz, np.int64)
        self._context = 32 if rate_hz == 8000 else 64
        self.window_samples = 256 if rate_hz == 8000 else 512

    def initial_state(self) -> NDArray[np.float32]:
        """Return the state of a fresh stream: ``[256 + context]``."""
        return np.zeros(_STATE_SIZE + self._context, np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map ``[B, window_samples]`` in [-1, 1] and ``[B, 256 + context]`` to ``[B]`` and the next states."""
        count = len(windows)
        if windows.shape != (count, self.window_samples) or states.shape != (
            count,
            _STATE_SIZE + self._context,
        ):
            raise ValueError(
                f"windows {windows.shape} and states {states.shape};"
                f" expected [B, {self.window_samples}] and [B, {_STATE_SIZE + self._context}]"
            )
        if count == 0:
            return np.zeros(0, np.float32), states
        recurrent = states[:, :_STATE_SIZE].reshape(count, *_STATE_SHAPE).transpose(1, 0, 2)
        outputs = self._session.run(
            None,
            {
                "input": np.concatenate((states[:, _STATE_SIZE:], windows), axis=1, dtype=np.float32),
                "state": np.ascontiguousarray(recurrent, np.float32),
                "sr": self._rate,
            },
        )
        following = np.concatenate(
            (outputs[1].transpose(1, 0, 2).reshape(count, _STATE_SIZE), windows[:, -self._context :]),
            axis=1,
            dtype=np.float32,
        )
        return outputs[0][:, 0], following
