"""One clause on its way to the caller's ear, and how much of it was heard. No clock."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from server.dialogue.replies import Role

_UNHEARD_SHARE = 0.4
"""Part of a word that may be missing and it is understood all the same."""
_WORD_LIMIT_MS = 250
"""Longest stretch before the end of a word that is taken for the word and not for a pause before it."""
_MS_PER_WORD = 375
"""Pace that is assumed of a clause whose length and words are not known yet."""


@dataclass(slots=True)
class Utterance:
    """One clause. Times are CLOCK_MONOTONIC in ns."""

    utterance_id: int
    turn: int
    text: str
    role: Role
    rate_hz: int = 8000
    cacheable: bool = False
    """Holds no caller's data: its audio may be kept."""
    samples: int = 0
    """Made so far: at the door, or held."""
    complete: bool = False
    """``samples`` is final."""
    ends: tuple[int, ...] = ()
    """Where its words end, in samples, as far as the voice has told."""
    played: int = 0
    over: bool = False
    """Finished or stopped: ``played`` is final."""
    paused: bool = False
    """It was paused once: its clock no longer tells how much was played, only marks do."""
    said_at: int = 0
    first_audio_at: int = 0
    """When its first audio was ready, be it held or not."""
    released_at: int = 0
    """When it was free to go to the door: ``said_at`` where nothing was held; 0 while held."""
    started_at: int = 0

    def heard(self) -> str:
        """Return the words of it that were heard: played to the end, or nearly. By proportion where no ends are known."""
        if not self.played:
            return ""
        if self.complete and self.played >= self.samples:
            return self.text
        words = self.text.split()
        return " ".join(words[: self._words_played(len(words))])

    def _words_played(self, count: int) -> int:
        if not self.ends:
            # While the clause is still being synthesised its length is not known; its pace is.
            total = self.samples if self.complete else max(self.samples, self._ms(count * _MS_PER_WORD))
            return int(count * self.played / total)
        heard = bisect_right(self.ends, self.played)
        if heard < len(self.ends):
            before = self.ends[heard - 1] if heard else 0
            word = min(self.ends[heard] - before, self._ms(_WORD_LIMIT_MS))
            heard += self.ends[heard] - self.played <= _UNHEARD_SHARE * word
        return heard

    def _ms(self, duration_ms: int) -> int:
        return duration_ms * self.rate_hz // 1000
