"""A seeded bad network in front of a sender: loss, jitter and reordering of datagrams in real time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REORDER_DELAY_MS: Final = 45


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """How bad it is; shares go from 0 to 1."""

    seed: int = 1
    loss: float = 0.0
    reorder: float = 0.0
    """Share of datagrams that are overtaken by the next two."""
    jitter_ms: float = 0.0
    """Each datagram is delayed by 0 to this, evenly."""


class BadNetwork:
    """Passes datagrams on, or late, or never."""

    def __init__(self, conditions: NetworkConditions) -> None:
        """The same seed loses the same datagrams."""
        self._conditions = conditions
        self._random = random.Random(conditions.seed)
        self.dropped = 0

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver one datagram as badly as the conditions say."""
        conditions = self._conditions
        lost = self._random.random() < conditions.loss
        overtaken = self._random.random() < conditions.reorder
        delay_ms = self._random.random() * conditions.jitter_ms + (REORDER_DELAY_MS if overtaken else 0)
        if lost:
            self.dropped += 1
        elif delay_ms:
            asyncio.get_running_loop().call_later(delay_ms / 1000, deliver)
        else:
            deliver()
