"""The sample clinic's documents, searched with the real embedding model and labelled questions.

The ``tuning`` half of the questions chose the weights and the thresholds; the assertions stand on the other half.
``python -m tests.kb.test_retrieval_quality`` prints the figures.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb import CONFIDENCE_THRESHOLD, READ_ALOUD_SCORE, KnowledgeBase, best_sentences
from kb.evaluation import Evaluation, Question, evaluate, load_questions

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
DOCUMENTS = ROOT / "server" / "samples" / "clinic" / "documents"
QUESTIONS = load_questions([DATA / "clinic_answerable.jsonl", DATA / "clinic_unanswerable.jsonl"])


def minilm_directory() -> Path:
    """Return where the model cache has MiniLM."""
    base = os.environ.get("LANDLINE_CACHE_DIRECTORY") or (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "landline"
    )
    return Path(base) / "models" / "minilm"


class MiniLm:
    """The real model, from its folder, without the network; remembers vectors."""

    def __init__(self) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(minilm_directory()), device="cpu", local_files_only=True)
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            rows = self._model.encode(new, normalize_embeddings=True, show_progress_bar=False)
            self._known.update(zip(new, np.asarray(rows, dtype=np.float32), strict=True))
        return np.stack([self._known[text] for text in texts])


class Searched:
    """The clinic's index and the model that made it."""

    def __init__(self, base: KnowledgeBase, embed: MiniLm) -> None:
        self.base = base
        self.embed = embed

    def evaluated(self, split: str) -> Evaluation:
        """Ask the questions of one half."""
        chosen = [question for question in QUESTIONS if question.split == split]
        return evaluate(lambda text, limit: self.base.query("clinic", text, limit), chosen)

    def read_out(self, split: str) -> tuple[float, float, float]:
        """Return shares: answerable read out rightly, read out wrongly, unanswerable read out."""
        right = wrong = false = 0
        chosen = [question for question in QUESTIONS if question.split == split]
        for question in chosen:
            outcome = self._read(question)
            right += outcome is True and bool(question.source)
            wrong += outcome is False and bool(question.source)
            false += outcome is not None and not question.source
        answerable = sum(1 for question in chosen if question.source)
        return right / answerable, wrong / answerable, false / (len(chosen) - answerable)

    def _read(self, question: Question) -> bool | None:
        passages = self.base.query("clinic", question.question, 3)
        found = best_sentences(question.question, passages, self.embed)
        if found is None or found.score < READ_ALOUD_SCORE or passages[0].score < CONFIDENCE_THRESHOLD:
            return None
        return question.phrase.lower() in found.text.lower() and found.passage.source == question.source


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    embed = MiniLm()
    with KnowledgeBase.open(tmp_path_factory.mktemp("index"), embed, model="minilm") as base:
        report = base.add("clinic", [DOCUMENTS])
        assert report.failed == ()
        yield Searched(base, embed)


def test_the_set_of_questions_is_large_enough_and_fits_the_documents() -> None:
    answerable = [question for question in QUESTIONS if question.source]
    assert len(answerable) >= 60
    assert len(QUESTIONS) - len(answerable) >= 25
    assert {question.source for question in answerable} == {path.name for path in DOCUMENTS.iterdir()}
    for question in answerable:
        text = " ".join((DOCUMENTS / question.source).read_text(encoding="utf-8").split())
        assert question.phrase.lower() in text.lower(), question


@pytest.mark.model
def test_answers_are_among_the_best_passages(searched: Searched) -> None:
    result = searched.evaluated("held_out")
    assert result.hit_rate(1) >= 0.9
    assert result.hit_rate(3) >= 0.98
    assert result.mean_reciprocal_rank() >= 0.94


@pytest.mark.model
def test_the_threshold_is_the_calibrated_one_and_holds_on_other_questions(searched: Searched) -> None:
    assert searched.evaluated("tuning").calibrate(0.05).threshold == pytest.approx(CONFIDENCE_THRESHOLD)
    rates = searched.evaluated("held_out").at_threshold(CONFIDENCE_THRESHOLD)
    assert rates.false_answers <= 0.1
    assert rates.false_refusals <= 0.08


@pytest.mark.model
def test_what_is_read_out_is_right(searched: Searched) -> None:
    right, wrong, false = searched.read_out("held_out")
    assert right >= 0.8
    assert wrong <= 0.06
    assert false <= 0.05


@pytest.mark.model
@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What are your opening hours on Saturday?", "nine in the morning to one in the afternoon"),
        ("Can you tell me when you're open on Saturday?", "nine in the morning to one in the afternoon"),
        ("How late are you open on Friday?", "eight in the morning to six in the evening"),
        ("Are you open on Sunday?", "On Sunday the clinic is closed"),
    ],
)
def test_the_hours_of_a_day_are_read_out(searched: Searched, question: str, says: str) -> None:
    found = best_sentences(question, searched.base.query("clinic", question, 3), searched.embed)
    assert found is not None
    assert says in found.text
    assert found.score >= READ_ALOUD_SCORE


def main() -> None:
    """Print the figures."""
    embed = MiniLm()
    embed(["warm up"])
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.open(Path(folder), embed, model="minilm") as base,
    ):
        begun = time.perf_counter()
        report = base.add("clinic", [DOCUMENTS])
        print(
            f"add: {report.passages} passages of {len(report.added)} documents in {time.perf_counter() - begun:.2f} s"
        )
        begun = time.perf_counter()
        base.add("clinic", [DOCUMENTS])
        print(f"add again, unchanged: {(time.perf_counter() - begun) * 1000:.1f} ms")
        times = {"query": [], "query, question embedded already": []}  # type: dict[str, list[float]]
        for question in QUESTIONS:
            for spent in times.values():
                begun = time.perf_counter()
                base.query("clinic", question.question)
                spent.append((time.perf_counter() - begun) * 1000)
        for name, spent in times.items():
            print(f"{name}: median {np.median(spent):.1f} ms, P95 {np.percentile(spent, 95):.1f} ms")
        searched = Searched(base, embed)
        for split in ("tuning", "held_out"):
            result = searched.evaluated(split)
            rates = result.at_threshold(CONFIDENCE_THRESHOLD)
            print(
                f"{split}: hit@1 {result.hit_rate(1):.3f}, hit@3 {result.hit_rate(3):.3f},"
                f" MRR {result.mean_reciprocal_rank():.3f}; at {CONFIDENCE_THRESHOLD}: false answers"
                f" {rates.false_answers:.3f}, false refusals {rates.false_refusals:.3f}"
            )
            right, wrong, false = searched.read_out(split)
            print(
                f"{split}: read out rightly {right:.3f}, wrongly {wrong:.3f}, unanswerable read out {false:.3f}"
            )


if __name__ == "__main__":
    main()
