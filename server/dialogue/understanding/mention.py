"""A value that somebody said, and the words it was said with. Sans-I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

CORRECTION = re.compile(
    r"\b(?:no|sorry|actually|rather|instead|i mean|i meant|make (?:it|that)|correction|wait)\b"
)
_NEGATED = re.compile(r"\b(?:not|isn't|wasn't|never|except|but not)(?: on| at| for| the| a)*$")


@dataclass(frozen=True, slots=True)
class Mention(Generic[T]):
    """One value found in what was said."""

    value: T
    quote: str
    start: int
    strong: bool = True
    """Whether the words can hardly mean anything else, even where nothing of the kind was asked for."""
    note: str = ""
    """What is doubtful about it: ``weekday`` when weekday and date do not belong together."""


def last_meant(mentions: list[Mention[T]], text: str) -> Mention[T] | None:
    """Return the mention that counts: the last one that is not negated ("not Tuesday, Thursday")."""
    kept = [item for item in mentions if not _NEGATED.search(text[: item.start].rstrip(" ,¦"))]
    return max(kept, key=lambda item: item.start) if kept else None
