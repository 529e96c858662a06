"""How long this caller pauses within a turn, learned from the turns heard so far. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SHORTEST_MS: Final = 120
"""Shorter gaps belong to articulation (Heldner & Edlund 2010 count pauses from 180 ms; stops close for 50 to 150)."""
_LONGEST_MS: Final = 3_000
"""Longer ones were no hesitation but a thought; they teach nothing about the rhythm."""
_WEIGHT: Final = 0.3
_DEVIATIONS: Final = 1.5


@dataclass(frozen=True, slots=True)
class PauseHabit:
    """Running mean and mean deviation of one caller's pauses, as RFC 6298 keeps a round-trip time."""

    mean_ms: float = 0.0
    deviation_ms: float = 0.0
    count: int = 0

    def learn(self, pause_ms: int) -> PauseHabit:
        """Return the habit with one more pause after which the caller went on."""
        if not _SHORTEST_MS <= pause_ms <= _LONGEST_MS:
            return self
        if not self.count:
            return PauseHabit(float(pause_ms), pause_ms / 4, 1)
        error = pause_ms - self.mean_ms
        return PauseHabit(
            self.mean_ms + _WEIGHT * error,
            self.deviation_ms + _WEIGHT * (abs(error) - self.deviation_ms),
            self.count + 1,
        )

    @property
    def bound_ms(self) -> int:
        """Silence that this caller's pauses seldom exceed; 0 while nothing is known."""
        return round(self.mean_ms + _DEVIATIONS * self.deviation_ms) if self.count else 0
