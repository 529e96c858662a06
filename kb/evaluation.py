"""How well the knowledge base finds: hit rate, reciprocal rank, and what the confidence threshold lets through.

Questions are labelled by hand: an answerable one names the document, and words of the passage, that answer it; an
unanswerable one has none. A *false answer* is an unanswerable question whose best passage reaches the threshold; a
*false refusal* is an answerable one whose best passage does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kb.errors import KnowledgeError
from kb.types import Passage

Query = Callable[[str, int], list[Passage]]


@dataclass(frozen=True, slots=True)
class Question:
    """One labelled question."""

    question: str
    source: str = ""
    """Document that answers it; empty: none does."""
    phrase: str = ""
    """Words that stand in the passage that answers it."""
    split: str = ""
    """``tuning`` questions may shape weights and threshold, ``held_out`` ones only judge them."""

    def answered_by(self, passage: Passage) -> bool:
        """Whether the passage is one that answers this question."""
        return passage.source == self.source and self.phrase.lower() in passage.text.lower()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question."""

    question: Question
    rank: int
    """Of the first passage that answers it, from 1; 0 for none among those looked at."""
    best_score: float
    """Of the best passage, right or wrong; 0 where nothing was found."""


@dataclass(frozen=True, slots=True)
class ThresholdRates:
    """What a threshold does, as shares of 0 to 1."""

    threshold: float
    false_answers: float
    false_refusals: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcomes of a set of questions."""

    outcomes: tuple[Outcome, ...]

    def hit_rate(self, k: int) -> float:
        """Share of answerable questions with an answering passage among the best ``k``."""
        found = self._answerable()
        return sum(1 <= outcome.rank <= k for outcome in found) / len(found)

    def mean_reciprocal_rank(self) -> float:
        """Mean of 1/rank over the answerable questions, 0 for one not found."""
        found = self._answerable()
        return sum(1 / outcome.rank for outcome in found if outcome.rank) / len(found)

    def at_threshold(self, threshold: float) -> ThresholdRates:
        """Return what ``threshold`` lets through and holds back."""
        found = self._answerable()
        unanswerable = [outcome for outcome in self.outcomes if not outcome.question.source]
        return ThresholdRates(
            threshold,
            sum(outcome.best_score >= threshold for outcome in unanswerable) / max(1, len(unanswerable)),
            sum(outcome.best_score < threshold for outcome in found) / len(found),
        )

    def calibrate(self, max_false_answers: float) -> ThresholdRates:
        """Return the lowest threshold (in steps of 0.01) with at most that share of false answers."""
        for step in range(101):
            rates = self.at_threshold(step / 100)
            if rates.false_answers <= max_false_answers:
                return rates
        return self.at_threshold(1.0)

    def _answerable(self) -> list[Outcome]:
        found = [outcome for outcome in self.outcomes if outcome.question.source]
        if not found:
            raise KnowledgeError("nothing to evaluate; expected at least one answerable question")
        return found


def load_questions(paths: Sequence[Path]) -> list[Question]:
    """Return the questions of JSON Lines files."""
    questions = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                questions.append(Question(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise KnowledgeError(
                    f"{path}, line {number}: {error}; expected question, source, phrase, split"
                ) from error
    return questions


def evaluate(query: Query, questions: Iterable[Question], *, limit: int = 10) -> Evaluation:
    """Ask every question and note where its answer stood."""
    outcomes = []
    for question in questions:
        passages = query(question.question, limit)
        rank = next(
            (place for place, passage in enumerate(passages, start=1) if question.answered_by(passage)), 0
        )
        outcomes.append(Outcome(question, rank, passages[0].score if passages else 0.0))
    return Evaluation(tuple(outcomes))
