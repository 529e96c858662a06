"""The evaluation's figures, on outcomes small enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.evaluation import Question, evaluate, load_questions
from kb.types import Passage

BOOK = {
    "first": [Passage("yes it is", "a.md", "A", 0.9)],
    "second": [Passage("no", "b.md", "B", 0.6), Passage("yes it is", "a.md", "A", 0.5)],
    "lost": [Passage("no", "a.md", "A", 0.3)],
    "foreign": [Passage("no", "b.md", "B", 0.55)],
    "empty": [],
}


def test_figures() -> None:
    questions = [Question(name, "a.md", "YES") for name in ("first", "second", "lost")]
    questions += [Question("foreign"), Question("empty")]
    result = evaluate(lambda text, limit: BOOK[text][:limit], questions)
    assert [outcome.rank for outcome in result.outcomes] == [1, 2, 0, 0, 0]
    assert result.hit_rate(1) == pytest.approx(1 / 3)
    assert result.hit_rate(2) == pytest.approx(2 / 3)
    assert result.mean_reciprocal_rank() == pytest.approx(0.5)
    at_half = result.at_threshold(0.5)
    assert at_half.false_answers == pytest.approx(0.5)
    assert at_half.false_refusals == pytest.approx(1 / 3)
    assert result.calibrate(0.0).threshold == pytest.approx(0.56)
    assert result.calibrate(0.5).threshold == pytest.approx(0.01)


def test_nothing_answerable_is_an_error() -> None:
    with pytest.raises(KnowledgeError, match="at least one answerable"):
        evaluate(lambda text, limit: BOOK[text][:limit], [Question("foreign")]).hit_rate(1)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "a"}\n{"qestion": "b"}\n', encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"q.jsonl, line 2: .*expected question, source"):
        load_questions([path])
