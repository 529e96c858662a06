"""The last seconds of a leg's caller audio, addressed by sample offset, and when each was heard."""

from __future__ import annotations


class AudioHistory:
    """Bounded history of PCM16 mono with the leg's sample clock."""

    def __init__(self, *, rate_hz: int, limit_ms: int = 30_000) -> None:
        self.rate_hz = rate_hz
        self._limit = rate_hz * limit_ms // 1000
        self._pcm = bytearray()
        self._start = 0
        self._end_at = 0

    @property
    def end(self) -> int:
        """Sample offset just after the newest sample."""
        return self._start + len(self._pcm) // 2

    def append(self, offset: int, pcm: bytes, at: int) -> None:
        """Add audio that ends at time ``at`` (ns). A gap before it is filled with silence."""
        if not self._pcm or not 0 <= offset - self.end <= self._limit:
            self._pcm.clear()
            self._start = offset
        self._pcm += b"\0\0" * (offset - self.end)
        self._pcm += pcm
        self._end_at = at
        surplus = len(self._pcm) // 2 - self._limit
        # Trimmed a second at a time: a byte move a tick for every leg would be the tick's main work.
        if surplus > self.rate_hz:
            del self._pcm[: 2 * surplus]
            self._start += surplus

    def slice(self, start: int, stop: int) -> bytes:
        """Return the samples from ``start`` to ``stop``, as far as they are still here."""
        first = max(0, start - self._start)
        last = max(first, min(stop, self.end) - self._start)
        return bytes(self._pcm[2 * first : 2 * last])

    def heard_at(self, offset: int) -> int:
        """Return when sample ``offset`` was heard (ns)."""
        return self._end_at - (self.end - offset) * 1_000_000_000 // self.rate_hz
