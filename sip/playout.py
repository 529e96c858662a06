"""Utterances queued towards the caller, with marks that say what was really sent. Sans-I/O.

The queue is bounded by ``MAX_QUEUED_MS`` of unplayed audio; beyond it an utterance's further chunks are refused and
:attr:`MarkKind.OVERFLOW` is told once. A mark's ``played`` counts samples sent when it was made: 0 at STARTED.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sip.leg_protocol import MAX_QUEUED_MS, Mark, MarkKind

MAX_UTTERANCES: Final = 256
MAX_REMEMBERED: Final = 256


@dataclass(slots=True)
class _Utterance:
    utterance_id: int
    chunks: deque[bytes] = field(default_factory=deque)
    head: int = 0
    """Bytes of the first chunk that were sent."""
    played: int = 0
    final: bool = False
    refused: bool = False


class Playout:
    """What one leg has still to say."""

    def __init__(self, leg_id: int, rate_hz: int) -> None:
        """Audio is PCM16 mono at ``rate_hz``."""
        self._leg_id = leg_id
        self._max_samples = rate_hz * MAX_QUEUED_MS // 1000
        self._utterances: dict[int, _Utterance] = {}
        self._closed: deque[int] = deque(maxlen=MAX_REMEMBERED)
        self._queued = 0
        self._started: int | None = None
        self._marks: list[Mark] = []
        self.paused = False
        self.newest_id = 0
        """Largest utterance id seen."""
        self.newest_played = 0
        """Samples of it that were sent."""

    @property
    def drained(self) -> bool:
        """Return whether every queued sample was sent."""
        return self._queued == 0

    @property
    def queued_samples(self) -> int:
        """Samples not sent yet."""
        return self._queued

    @property
    def position(self) -> tuple[int, int]:
        """Utterance that has begun and is not finished, and samples of it that were sent; 0, 0 for none."""
        utterance = self._utterances.get(self._started) if self._started is not None else None
        return (0, 0) if utterance is None else (utterance.utterance_id, utterance.played)

    def marks(self) -> list[Mark]:
        """Return and forget the marks made since the last call."""
        marks, self._marks = self._marks, []
        return marks

    def play(self, utterance_id: int, pcm: bytes, final: bool, now_ns: int) -> None:
        """Append a chunk. One that follows the end of its utterance, or a stop, is dropped."""
        if utterance_id in self._closed:
            return
        utterance = self._utterances.get(utterance_id)
        if utterance is None:
            if len(self._utterances) >= MAX_UTTERANCES:
                self._mark(utterance_id, MarkKind.OVERFLOW, 0, now_ns)
                self._closed.append(utterance_id)
                return
            utterance = self._utterances[utterance_id] = _Utterance(utterance_id)
            if utterance_id > self.newest_id:
                self.newest_id, self.newest_played = utterance_id, 0
        if utterance.final:
            return
        samples = len(pcm) // 2
        if utterance.refused or self._queued + samples > self._max_samples:
            # What follows a hole would be other words than those that were meant.
            if not utterance.refused:
                utterance.refused = True
                self._mark(utterance_id, MarkKind.OVERFLOW, utterance.played, now_ns)
        elif samples:
            utterance.chunks.append(pcm[: 2 * samples])
            self._queued += samples
        utterance.final = final
        self._close_played(now_ns)

    def pause(self, now_ns: int) -> None:
        """Send nothing further, keep what is queued."""
        if not self.paused:
            self.paused = True
            self._mark_current(MarkKind.PAUSED, now_ns)

    def resume(self, now_ns: int) -> None:
        """Go on where :meth:`pause` stopped."""
        if self.paused:
            self.paused = False
            self._mark_current(MarkKind.RESUMED, now_ns)

    def close(self, now_ns: int) -> None:
        """Take every utterance as complete and end a pause: whoever spoke is gone, what is queued is played."""
        self.resume(now_ns)
        for utterance in self._utterances.values():
            utterance.final = True
        self._close_played(now_ns)

    def stop(self, now_ns: int) -> None:
        """Drop everything; every utterance that is not finished gets a STOPPED mark. Ends a pause."""
        for utterance in self._utterances.values():
            self._mark(utterance.utterance_id, MarkKind.STOPPED, utterance.played, now_ns)
            self._closed.append(utterance.utterance_id)
        self._utterances.clear()
        self._queued = 0
        self._started = None
        self.paused = False

    def next_frame(self, samples: int, now_ns: int) -> bytes | None:
        """Return the frame that is sent at ``now_ns``, filled up with silence; None for nothing but silence."""
        if self.paused or self._queued == 0:
            return None
        parts: list[bytes] = []
        missing = 2 * samples
        while missing and self._utterances:
            utterance = next(iter(self._utterances.values()))
            if utterance.chunks and self._started != utterance.utterance_id:
                self._started = utterance.utterance_id
                self._mark(utterance.utterance_id, MarkKind.STARTED, 0, now_ns)
            missing -= self._take(utterance, missing, parts)
            if utterance.chunks or not utterance.final:
                # Not final: its next chunk is still to come, and the next utterance waits for it.
                break
            self._finish(utterance, now_ns)
        self._queued -= samples - missing // 2
        if missing:
            parts.append(bytes(missing))
        return b"".join(parts)

    def _take(self, utterance: _Utterance, wanted: int, parts: list[bytes]) -> int:
        """Move up to ``wanted`` bytes of an utterance to ``parts``; return how many."""
        taken = 0
        while taken < wanted and utterance.chunks:
            chunk = utterance.chunks[0]
            piece = chunk[utterance.head : utterance.head + wanted - taken]
            parts.append(piece)
            taken += len(piece)
            utterance.head += len(piece)
            if utterance.head >= len(chunk):
                utterance.chunks.popleft()
                utterance.head = 0
        utterance.played += taken // 2
        if utterance.utterance_id == self.newest_id:
            self.newest_played = utterance.played
        return taken

    def _close_played(self, now_ns: int) -> None:
        """Finish utterances at the head whose end was told only after their last sample was sent."""
        while self._utterances:
            utterance = next(iter(self._utterances.values()))
            if utterance.chunks or not utterance.final:
                return
            self._finish(utterance, now_ns)

    def _finish(self, utterance: _Utterance, now_ns: int) -> None:
        del self._utterances[utterance.utterance_id]
        self._closed.append(utterance.utterance_id)
        self._mark(utterance.utterance_id, MarkKind.FINISHED, utterance.played, now_ns)

    def _mark_current(self, kind: MarkKind, now_ns: int) -> None:
        if self._utterances:
            utterance = next(iter(self._utterances.values()))
            self._mark(utterance.utterance_id, kind, utterance.played, now_ns)

    def _mark(self, utterance_id: int, kind: MarkKind, played: int, now_ns: int) -> None:
        self._marks.append(Mark(self._leg_id, utterance_id, kind, played, now_ns))
