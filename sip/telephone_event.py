"""Key presses in RTP: received once each, sent with their end repeated (RFC 4733 §2.3 to §2.5). Sans-I/O."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from sip.rtp import timestamp_distance

DIGITS: Final = "0123456789*#ABCD"
MAX_QUEUED_DIGITS: Final = 64
PRESS_FRAMES: Final = 5
END_PACKETS: Final = 3
GAP_FRAMES: Final = 3
VOLUME: Final = 10

# An end that was lost three times over shows in updates that stop coming.
SILENT_AFTER_NS: Final = 150_000_000
_MAX_DURATION = 0xFFFF
_PAYLOAD = struct.Struct(">BBH")


@dataclass(frozen=True, slots=True)
class Press:
    """One key, pressed and released."""

    digit: str
    duration_ms: int


@dataclass(slots=True)
class _Event:
    """The event now going on."""

    code: int
    first_timestamp: int
    timestamp: int
    duration: int
    heard_ns: int
    earlier: int = 0
    """Duration of full segments before this one (§2.5.1.3)."""


class EventReceiver:
    """Telephone-event payloads in, one :class:`Press` for each key out."""

    def __init__(self, rate_hz: int) -> None:
        """``rate_hz`` is the clock of the timestamps."""
        self._rate_hz = rate_hz
        self._current: _Event | None = None
        self._finished: int | None = None

    def restart(self) -> list[Press]:
        """Take in that the stream is another one; return the press it cut off."""
        presses = self._finish()
        self._finished = None
        return presses

    def receive(self, timestamp: int, payload: bytes, now_ns: int) -> list[Press]:
        """Take in one packet; a payload that is none of ours says nothing."""
        if len(payload) < _PAYLOAD.size:
            return []
        code, flags, duration = _PAYLOAD.unpack_from(payload)
        if code >= len(DIGITS):
            return []
        if self._finished is not None and timestamp_distance(timestamp, self._finished) <= 0:
            return []
        presses: list[Press] = []
        current = self._current
        if current is not None and timestamp != current.timestamp:
            if timestamp_distance(timestamp, current.timestamp) < 0:
                return []
            if not self._continues(current, code, timestamp):
                presses = self._finish()
                current = None
            else:
                current.earlier += current.duration
                current.timestamp, current.duration = timestamp, 0
        if current is None:
            current = self._current = _Event(code, timestamp, timestamp, duration, now_ns)
        current.duration = max(current.duration, duration)
        current.heard_ns = now_ns
        if flags & 0x80:
            presses += self._finish()
        return presses

    def handle_timeout(self, now_ns: int) -> list[Press]:
        """Return the press whose updates have stopped."""
        if self._current is not None and now_ns - self._current.heard_ns >= SILENT_AFTER_NS:
            return self._finish()
        return []

    @staticmethod
    def _continues(current: _Event, code: int, timestamp: int) -> bool:
        return (
            code == current.code
            and current.duration == _MAX_DURATION
            and timestamp_distance(timestamp, current.timestamp) == _MAX_DURATION
        )

    def _finish(self) -> list[Press]:
        current, self._current = self._current, None
        if current is None:
            return []
        self._finished = current.timestamp
        samples = current.earlier + current.duration
        return [Press(DIGITS[current.code], samples * 1000 // self._rate_hz)]


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What takes the place of this tick's audio."""

    timestamp: int
    payload: bytes
    marker: bool


class EventSender:
    """Keys in, one packet a tick out."""

    def __init__(self, frame_samples: int) -> None:
        """``frame_samples`` is a tick in samples."""
        self._frame_samples = frame_samples
        self._digits: deque[str] = deque()
        self._step = 0
        self._timestamp = 0

    @property
    def idle(self) -> bool:
        """Return whether everything was sent."""
        return not self._digits

    def send(self, digits: str) -> None:
        """Queue keys; what is none, or more than ``MAX_QUEUED_DIGITS``, is left out."""
        for digit in digits.upper():
            if digit in DIGITS and len(self._digits) < MAX_QUEUED_DIGITS:
                self._digits.append(digit)

    def clear(self) -> None:
        """Forget what is queued."""
        self._digits.clear()
        self._step = 0

    def next_packet(self, timestamp: int) -> EventPacket | None:
        """Return the packet of the tick at ``timestamp``; None lets the tick carry audio."""
        if not self._digits:
            return None
        step, self._step = self._step, self._step + 1
        if step == 0:
            self._timestamp = timestamp
        last = PRESS_FRAMES + END_PACKETS - 1
        if step < last:
            return self._packet(step)
        if step >= last + GAP_FRAMES:
            self._digits.popleft()
            self._step = 0
        return None

    def _packet(self, step: int) -> EventPacket:
        # The end is sent three times with the same duration (§2.5.1.4).
        ended = step >= PRESS_FRAMES - 1
        frames = min(step + 1, PRESS_FRAMES)
        payload = _PAYLOAD.pack(
            DIGITS.index(self._digits[0]), (0x80 if ended else 0) | VOLUME, frames * self._frame_samples
        )
        return EventPacket(self._timestamp, payload, step == 0)
