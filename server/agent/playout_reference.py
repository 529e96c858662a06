"""What the door really sent on one leg, sample by sample, on the door's tick clock. Sans-I/O.

Put together from the PCM of ``Play`` messages and from what the door says it sent of them: a ``FINISHED`` mark tells the
length of an utterance, each tick's :class:`sip.leg_protocol.LegAudio` how far the running one has come. Pauses, starved
utterances, holds and key presses need no rule of their own: no sample of an utterance is sent in them.
"""

from __future__ import annotations

from typing import Final

from server.agent.audio_history import AudioHistory
from sip.leg_protocol import MAX_QUEUED_MS, Mark, MarkKind, Play

TICK_MS: Final = 20
_MAX_MISSED_TICKS: Final = 100
_MAX_UTTERANCES: Final = 256


class _Utterance:
    """Samples of one utterance that were given to the door and not sent yet."""

    __slots__ = ("pcm", "sent", "taken")

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.taken = 0
        """Bytes of ``pcm`` that were sent; the buffer is trimmed now and then."""
        self.sent = 0
        """Samples of the utterance that were sent."""

    def advance(self, played: int) -> bytes:
        """Return the samples up to ``played``; silence for what is not known."""
        size = 2 * max(0, played - self.sent)
        self.sent = max(self.sent, played)
        part = bytes(self.pcm[self.taken : self.taken + size])
        self.taken += len(part)
        if 2 * self.taken > len(self.pcm):
            del self.pcm[: self.taken]
            self.taken = 0
        return part.ljust(size, b"\0")


class PlayoutReference:
    """One leg's playout, for an echo canceller to compare with. Times are samples: tick × samples of a tick."""

    def __init__(self, rate_hz: int, *, limit_ms: int = 2_000) -> None:
        """Keep the last ``limit_ms`` of PCM16 at ``rate_hz``."""
        self._frame = rate_hz * TICK_MS // 1000
        self._max_bytes = 2 * rate_hz * MAX_QUEUED_MS // 1000
        self._utterances: dict[int, _Utterance] = {}
        self._waiting = 0
        self._finished: list[bytes] = []
        self._last_tick: int | None = None
        self._history = AudioHistory(rate_hz=rate_hz, limit_ms=limit_ms)
        self.audible_end = 0
        """Time just after the newest sample of an utterance."""

    @property
    def end(self) -> int:
        """Time just after the newest sample."""
        return (self._last_tick or 0) * self._frame

    def slice(self, start: int, stop: int) -> bytes:
        """Return what was sent from ``start`` to ``stop``; silence where it is no longer or not yet known."""
        pcm = self._history.slice(start, stop)
        missing_after = 2 * max(0, stop - max(start, self._history.end))
        return (pcm + bytes(missing_after)).rjust(2 * (stop - start), b"\0")

    def play(self, message: Play) -> None:
        """Take in what the agent gives to the door; more than the door takes is not kept either."""
        utterance = self._utterances.get(message.utterance_id)
        if utterance is None:
            if len(self._utterances) >= _MAX_UTTERANCES:
                return
            utterance = self._utterances[message.utterance_id] = _Utterance()
        if self._waiting + len(message.pcm) <= self._max_bytes:
            utterance.pcm += message.pcm
            self._waiting += len(message.pcm)

    def mark(self, mark: Mark) -> None:
        """Take in a playout mark."""
        if mark.kind not in (MarkKind.FINISHED, MarkKind.STOPPED):
            return
        utterance = self._utterances.pop(mark.utterance_id, None)
        if utterance is not None:
            self._finished.append(self._advance(utterance, mark.played))
            self._waiting -= len(utterance.pcm) - utterance.taken

    def tick(self, tick: int, utterance_id: int, played: int) -> None:
        """Take in that tick number ``tick`` is over, and how far the running utterance has come (0, 0: none runs)."""
        last, self._last_tick = self._last_tick, tick
        missed = 1 if last is None else tick - last
        if missed <= 0:
            return
        utterance = self._utterances.get(utterance_id)
        if utterance is not None:
            self._finished.append(self._advance(utterance, played))
        sent = b"".join(self._finished)
        self._finished.clear()
        if not sent:
            # Silence is what is not in the history.
            return
        start = (tick - min(missed, _MAX_MISSED_TICKS)) * self._frame
        total = 2 * (tick * self._frame - start)
        # A skipped tick sends nothing, so what one frame holds stands in the last; more than that was sent in ticks
        # whose message was dropped on the way.
        begin = max(0, total - max(len(sent), 2 * self._frame))
        sent = sent[-total:]
        self.audible_end = start + (begin + len(sent)) // 2
        self._history.append(start + begin // 2, sent, 0)

    def _advance(self, utterance: _Utterance, played: int) -> bytes:
        before = len(utterance.pcm) - utterance.taken
        part = utterance.advance(played)
        self._waiting -= before - (len(utterance.pcm) - utterance.taken)
        return part
