"""VAD probabilities in, starts and stops of speech out. Sans-I/O.

Hysteresis over 32 ms windows: speech starts after ``speech_start_ms`` above one threshold, or with one window that is
sure, and stops after ``speech_stop_ms`` below a lower one. Offsets are samples on the leg's clock and name where
speech really began and ended, not when that was noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.turns.settings import TurnSettings


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """Speech began at ``offset``."""

    offset: int


@dataclass(frozen=True, slots=True)
class SegmentStop:
    """Speech ended at ``offset`` (the end of the last window that held it)."""

    offset: int


class Segmenter:
    """One leg's speech segmenter."""

    def __init__(self, settings: TurnSettings, *, rate_hz: int, window_samples: int) -> None:
        window_ms = 1000 * window_samples / rate_hz
        self._settings = settings
        self._window = window_samples
        self._windows_to_start = max(1, round(settings.speech_start_ms / window_ms))
        self._windows_to_stop = max(1, round(settings.speech_stop_ms / window_ms))
        self._speaking = False
        self._run = 0
        """Windows in a row that speak for the other state."""
        self._run_offset = 0

    def feed(self, offset: int, probability: float) -> SegmentStart | SegmentStop | None:
        """Take the window that begins at sample ``offset``; return what it decided, if anything."""
        if self._speaking:
            return self._feed_speaking(offset, probability)
        return self._feed_silent(offset, probability)

    def _feed_silent(self, offset: int, probability: float) -> SegmentStart | None:
        if probability < self._settings.speech_threshold:
            self._run = 0
            return None
        if self._run == 0:
            self._run_offset = offset
        self._run += 1
        if self._run < self._windows_to_start and probability < self._settings.sure_threshold:
            return None
        self._speaking, self._run = True, 0
        return SegmentStart(self._run_offset)

    def _feed_speaking(self, offset: int, probability: float) -> SegmentStop | None:
        if probability >= self._settings.silence_threshold:
            self._run = 0
            return None
        if self._run == 0:
            self._run_offset = offset
        self._run += 1
        if self._run < self._windows_to_stop:
            return None
        self._speaking, self._run = False, 0
        return SegmentStop(self._run_offset)
