"""Picks the one or two sentences of a passage that answer a question, to be read out word for word.

Sans-I/O: the embedding is handed in. On a small machine this is how an answer that stands in a document reaches
the caller without waiting for the language model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kb.sentences import split_sentences
from kb.types import Embed, Passage

_WORD: Final = re.compile(r"[a-z0-9]+(?:['’][a-z]+)?")
_STOP: Final = frozenset(
    "a about after all am an and any are as at be been before but by can could did do does for from get give had has"
    " have having hello hi how i i'd i'm if in into is it it's its just know like long many may me more much must my"
    " need of on once one or our please should so some such tell than thank thanks that the their them then there"
    " they this to too up us want was we were what what's when where which who why will with would yes you your"
    .split()
)  # fmt: skip
READ_ALOUD_SCORE: Final = 0.55
"""An extract scored at least so may be read out as the answer (calibrated in tests/kb/test_retrieval_quality.py)."""

_WORD_WEIGHT: Final = 0.35
_NEIGHBOUR_SHARE: Final = 0.8
_RUNNER_UP_MARGIN: Final = 0.1
"""A passage scored this much below the best is not considered: the passage knows its heading, the sentence not."""


@dataclass(frozen=True, slots=True)
class Extract:
    """Sentences that stand in the passage word for word."""

    text: str
    sentences: tuple[str, ...]
    passage: Passage
    score: float
    """0 to 1: how well the best sentence matches the question."""


def content_words(text: str) -> frozenset[str]:
    """Return the words that carry meaning, lower case, plural and verb endings cut."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP)


def best_sentences(
    question: str, passages: Sequence[Passage], embed: Embed, *, limit: int = 2
) -> Extract | None:
    """Return the best sentence of ``passages`` and, where it belongs to it, its neighbour.

    One call of ``embed`` with the question and every sentence. ``None`` where there are no passages. The text of
    the result is a contiguous piece of its passage, at most ``limit`` sentences.
    """
    least = max((passage.score for passage in passages), default=0.0) - _RUNNER_UP_MARGIN
    where = [(passage, split_sentences(passage.text)) for passage in passages if passage.score >= least]
    sentences = [sentence for _, found in where for sentence in found]
    if not sentences:
        return None
    titled = [f"{passage.title}. {sentence}" for passage, found in where for sentence in found]
    vectors = embed([question, *sentences, *titled])
    count = len(sentences)
    # A sentence often leaves out what its heading says; the heading alone must not make every sentence fit.
    closeness = np.maximum(vectors[1 : 1 + count] @ vectors[0], vectors[1 + count :] @ vectors[0])
    wanted = content_words(question)
    scores = [
        (1 - _WORD_WEIGHT) * max(0.0, min(1.0, float(near))) + _WORD_WEIGHT * _covered(wanted, sentence)
        for near, sentence in zip(closeness, sentences, strict=True)
    ]
    best = int(np.argmax(scores))
    start = 0
    for passage, found in where:
        if best < start + len(found):
            first, last = _window(scores[start : start + len(found)], best - start, limit)
            chosen = tuple(found[first : last + 1])
            return Extract(" ".join(chosen), chosen, passage, scores[best])
        start += len(found)
    raise AssertionError("the best sentence belongs to a passage")


def _window(scores: Sequence[float], best: int, limit: int) -> tuple[int, int]:
    """Return first and last sentence: the best, and neighbours that match nearly as well."""
    first = last = best
    while last - first + 1 < limit:
        after = scores[last + 1] if last + 1 < len(scores) else 0.0
        before = scores[first - 1] if first else 0.0
        if max(after, before) < _NEIGHBOUR_SHARE * scores[best]:
            break
        if after >= before:
            last += 1
        else:
            first -= 1
    return first, last


def _covered(wanted: frozenset[str], sentence: str) -> float:
    return len(wanted & content_words(sentence)) / len(wanted) if wanted else 0.0


def _stem(word: str) -> str:
    word = word.removesuffix("'s").removesuffix("’s")
    for suffix in ("ings", "ing", "ies", "es", "ed", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix) + ("y" if suffix == "ies" else "")
    return word
