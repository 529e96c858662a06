"""The knowledge base as the dialogue sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. ``score`` is 0 to 1, higher is nearer."""

    text: str
    source: str
    title: str
    score: float


class Knowledge(Protocol):
    """Finds passages."""

    async def query(self, text: str, limit: int) -> Sequence[Passage]:
        """Return at most ``limit`` passages, best first. Raises ``LandlineError`` when it cannot be asked."""
        ...


class NoKnowledge:
    """An agent without documents."""

    async def query(self, text: str, limit: int) -> Sequence[Passage]:  # noqa: ARG002
        """Return nothing."""
        return ()
