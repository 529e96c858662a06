"""One score from two signals: closeness in meaning and shared words. Sans-I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORD_WEIGHT: Final = 0.25
"""Most that shared words add to the cosine."""
HALF_BM25: Final = 8.0
"""BM25 weight at which half of that is added."""

CONFIDENCE_THRESHOLD: Final = 0.42
"""Passages scored below it count as not found. The lowest that lets through at most one in twenty of the tuning
questions that have no answer (tests/kb/test_retrieval_quality.py)."""


def rank(
    cosines: Mapping[str, float],
    words: Mapping[str, float],
    *,
    word_weight: float = WORD_WEIGHT,
    half_bm25: float = HALF_BM25,
) -> list[tuple[str, float]]:
    """Return ids with their scores (0 to 1), best first."""
    scored = []
    for id, cosine in cosines.items():
        weight = words.get(id, 0.0)
        score = (1.0 - word_weight) * cosine + word_weight * weight / (weight + half_bm25)
        scored.append((id, max(0.0, min(1.0, score))))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))
