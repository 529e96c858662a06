"""Caller audio put in order towards recognition, as a gapless stream that counts time. Sans-I/O.

Nothing is delayed that is in order: the delay of a jitter buffer is for bridges between people. A packet ahead of its
turn waits for the missing one until the gap is plainly a loss; when nothing comes at all (silence suppression, RFC 3551
§4.1) silence is put in by the clock, a patience behind it. What comes after its place was filled is late.
"""

from __future__ import annotations

from typing import Final

from sip.rtp import timestamp_distance

PATIENCE_MS: Final = 100
WAITING_PACKETS: Final = 3
MAX_HELD_PACKETS: Final = 64
MAX_JUMP_MS: Final = 1_000
LATE_RUN_PACKETS: Final = 5
DRIFT_WINDOW_PACKETS: Final = 250


class Reorder:
    """Packets of one leg in, PCM16 in order out."""

    def __init__(self, rate_hz: int, start_ns: int, frame_samples: int) -> None:
        """The sample clock is 0 at ``start_ns``; silence is put in by whole frames."""
        self._rate_hz = rate_hz
        self._frame_samples = frame_samples
        self._patience = rate_hz * PATIENCE_MS // 1000
        self._max_jump = rate_hz * MAX_JUMP_MS // 1000
        # When sample 0 would have arrived by the sender's clock and the shortest delay seen.
        self._origin_ns = start_ns
        self._reference: tuple[int, int] | None = None
        self._next = 0
        self._taken = 0
        self._ready: list[bytes] = []
        self._held: dict[int, bytes] = {}
        self._suspect: int | None = None
        self._late_run = 0
        self._late_run_lag = 0
        self._window_packets = 0
        self._window_lag: int | None = None
        self.late = 0

    @property
    def offset(self) -> int:
        """Sample offset of the first sample that :meth:`take` will return."""
        return self._taken

    def restart(self) -> None:
        """Take in that the next packet belongs to another stream, with timestamps of its own."""
        self._reference = None
        self._suspect = None

    def push(self, timestamp: int, pcm: bytes, arrival_ns: int) -> None:
        """Take in the audio of one packet."""
        samples = len(pcm) // 2
        if samples == 0:
            return
        position = self._position(timestamp, samples, arrival_ns)
        if position is None:
            self.late += 1
            return
        if position + samples <= self._next:
            if position in self._held or not self._is_stuck(position, samples):
                self.late += 1
                return
            # The sender's clock stood still while it was silent: it goes on from here.
            self._anchor(timestamp, samples, arrival_ns)
            position = self._position(timestamp, samples, arrival_ns) or self._next
        self._late_run = 0
        self._track(position + samples, arrival_ns)
        self._reference = (timestamp, position)
        if position <= self._next and not self._held:
            self._emit(position, pcm)
        elif len(self._held) < MAX_HELD_PACKETS:
            self._held.setdefault(position, pcm)
        else:
            self.late += 1

    def take(self, now_ns: int) -> tuple[int, bytes]:
        """Return the sample offset and the audio that is ready at ``now_ns``; call it once a tick."""
        expected = self._expected(now_ns)
        while self._held:
            first = min(self._held)
            if first > self._next:
                impatient = expected - self._next >= self._patience
                if len(self._held) < WAITING_PACKETS and not impatient:
                    break
                self._fill(first - self._next)
            self._emit(first, self._held.pop(first))
        missing = min(expected - self._patience - self._next, self._max_jump)
        if not self._held and missing >= self._frame_samples:
            self._fill(missing // self._frame_samples * self._frame_samples)
        offset, self._taken = self._taken, self._next
        pcm = b"".join(self._ready)
        self._ready.clear()
        return offset, pcm

    def _expected(self, now_ns: int) -> int:
        return (now_ns - self._origin_ns) * self._rate_hz // 1_000_000_000

    def _position(self, timestamp: int, samples: int, arrival_ns: int) -> int | None:
        """Return the sample offset of a packet; None where its timestamp is not to be believed yet."""
        if self._reference is None:
            self._anchor(timestamp, samples, arrival_ns)
        assert self._reference is not None
        position = self._reference[1] + timestamp_distance(timestamp, self._reference[0])
        latest = max(self._next, self._expected(arrival_ns)) + self._max_jump
        if self._next - self._max_jump <= position <= latest:
            self._suspect = None
            return position
        # One stray packet is a stray packet; a second one that follows it is a sender that has restarted.
        suspect, self._suspect = self._suspect, timestamp
        if suspect is None or not 0 < timestamp_distance(timestamp, suspect) <= self._max_jump:
            return None
        self._anchor(timestamp, samples, arrival_ns)
        return self._reference[1]

    def _anchor(self, timestamp: int, samples: int, arrival_ns: int) -> None:
        """Place a packet where the clock is now, whatever its timestamp."""
        self._flush_held()
        position = max(self._next, self._expected(arrival_ns) - samples)
        # Nothing of this stream lies before it, so there is nothing to wait for.
        self._fill(position - self._next)
        self._reference = (timestamp, position)
        self._origin_ns = arrival_ns - (position + samples) * 1_000_000_000 // self._rate_hz
        self._suspect = None
        self._late_run = 0
        self._window_packets, self._window_lag = 0, None

    def _flush_held(self) -> None:
        for position in sorted(self._held):
            if position > self._next:
                self._fill(position - self._next)
            self._emit(position, self._held[position])
        self._held.clear()

    def _is_stuck(self, position: int, samples: int) -> bool:
        """Return whether late packets keep coming equally late, unlike a burst after a stall, which catches up."""
        lag = self._next - position - samples
        if self._late_run == 0:
            self._late_run_lag = lag
        self._late_run += 1
        return self._late_run >= LATE_RUN_PACKETS and lag >= self._late_run_lag

    def _track(self, end: int, arrival_ns: int) -> None:
        """Follow the sender's clock: at once where it is early, by the least lag of a window where it is slow."""
        lag = self._expected(arrival_ns) - end
        if lag < 0:
            self._origin_ns += lag * 1_000_000_000 // self._rate_hz
            lag = 0
        if self._window_lag is None or lag < self._window_lag:
            self._window_lag = lag
        self._window_packets += 1
        if self._window_packets >= DRIFT_WINDOW_PACKETS:
            self._origin_ns += self._window_lag * 1_000_000_000 // self._rate_hz
            self._window_packets, self._window_lag = 0, None

    def _emit(self, position: int, pcm: bytes) -> None:
        known = self._next - position
        if known > 0:
            pcm = pcm[2 * known :]
        if pcm:
            self._ready.append(pcm)
            self._next += len(pcm) // 2

    def _fill(self, samples: int) -> None:
        self._ready.append(bytes(2 * samples))
        self._next += samples
