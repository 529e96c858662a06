"""A client's audio as a gapless stream that counts time, whatever the size and pace of its messages. Sans-I/O.

TCP keeps order and loses nothing, so there is nothing to put in order; what remains of the work of
:mod:`sip.reorder` is the clock. Audio goes on at once. When none comes (a client that suppresses silence, or stalls)
silence is put in by the clock, a patience behind it. What is sent ahead of real time waits for its time, but for a lead
that is let through.
"""

from __future__ import annotations

from typing import Final

from sip.reorder import PATIENCE_MS
from sip.websocket.wire import POLICY_VIOLATION, WireError

LEAD_MS: Final = 1_000
MAX_WAITING_S: Final = 30
DRIFT_WINDOW_NS: Final = 5_000_000_000


class CallerAudio:
    """Messages of one leg in, PCM16 by the sample clock out."""

    def __init__(self, rate_hz: int, start_ns: int, frame_samples: int) -> None:
        """The sample clock is 0 at ``start_ns``; silence is put in by whole frames."""
        self._rate_hz = rate_hz
        self._frame_samples = frame_samples
        self._patience = rate_hz * PATIENCE_MS // 1000
        self._lead = rate_hz * LEAD_MS // 1000
        self._origin_ns = start_ns
        self._waiting = bytearray()
        self._taken = 0
        self._filled = True
        """The last thing put in was silence: audio that comes now begins now."""
        self._window_ends_ns = start_ns + DRIFT_WINDOW_NS
        self._least_lag: int | None = None

    @property
    def offset(self) -> int:
        """Sample offset of the first sample that :meth:`take` will return."""
        return self._taken

    def push(self, pcm: bytes, now_ns: int) -> None:
        """Take in one message's audio; raises :class:`WireError` where far too much was sent ahead."""
        samples = len(pcm) // 2
        if samples == 0:
            return
        if len(self._waiting) // 2 + samples > MAX_WAITING_S * self._rate_hz:
            raise WireError(
                POLICY_VIOLATION,
                "too_fast",
                f"more than {MAX_WAITING_S} s of audio sent ahead of real time; expected it as it is spoken",
            )
        if self._filled:
            # Its last sample was spoken now, so that what lies before its first one was silence.
            silence = self._expected(now_ns) - samples - self._taken
            self._waiting += bytes(2 * max(0, silence))
            self._filled = False
        self._waiting += pcm
        self._follow_slow_clock(now_ns)

    def take(self, now_ns: int) -> tuple[int, bytes]:
        """Return the sample offset and the audio that is due at ``now_ns``; call it once a tick."""
        expected = self._expected(now_ns)
        due = min(len(self._waiting) // 2, max(0, expected + self._lead - self._taken))
        pcm = bytes(self._waiting[: 2 * due])
        del self._waiting[: 2 * due]
        missing = expected - self._patience - self._taken - due
        if not self._waiting and missing >= self._frame_samples:
            pcm += bytes(2 * (missing // self._frame_samples * self._frame_samples))
            self._filled = True
        offset, self._taken = self._taken, self._taken + len(pcm) // 2
        return offset, pcm

    def _expected(self, now_ns: int) -> int:
        return (now_ns - self._origin_ns) * self._rate_hz // 1_000_000_000

    def _follow_slow_clock(self, now_ns: int) -> None:
        """Shift our clock by the least lag of a window, so that a slow sender never comes to be filled up."""
        lag = self._expected(now_ns) - self._taken - len(self._waiting) // 2
        if self._least_lag is None or lag < self._least_lag:
            self._least_lag = lag
        if now_ns >= self._window_ends_ns:
            self._origin_ns += max(0, self._least_lag) * 1_000_000_000 // self._rate_hz
            self._window_ends_ns, self._least_lag = now_ns + DRIFT_WINDOW_NS, None
