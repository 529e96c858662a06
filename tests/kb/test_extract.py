"""What is read out stands word for word in the passage and answers the question."""

from __future__ import annotations

import pytest

from kb import Passage, best_sentences
from tests.kb.word_embedding import WordEmbedding

PARKING = Passage(
    "You can park behind the building. Parking costs three dollars an hour. Bicycles are free of charge.",
    "parking.md",
    "Parking",
    0.6,
)
HOURS = Passage("On Saturday the clinic is open from nine to one.", "hours.md", "Hours > Saturday", 0.58)


@pytest.mark.parametrize(
    ("question", "text", "source"),
    [
        ("What does parking cost?", "Parking costs three dollars an hour.", "parking.md"),
        ("Is it free for bicycles?", "Bicycles are free of charge.", "parking.md"),
        ("Are you open on Saturday?", "On Saturday the clinic is open from nine to one.", "hours.md"),
    ],
    ids=["middle", "last", "other-passage"],
)
def test_the_answering_sentence_is_chosen(question: str, text: str, source: str) -> None:
    found = best_sentences(question, [PARKING, HOURS], WordEmbedding(), limit=1)
    assert found is not None
    assert (found.text, found.passage.source) == (text, source)
    assert 0 < found.score <= 1


def test_what_is_read_is_a_contiguous_piece_within_the_limit() -> None:
    for limit in (1, 2, 3):
        found = best_sentences(
            "parking building dollars hour behind", [PARKING], WordEmbedding(), limit=limit
        )
        assert found is not None
        assert found.text in PARKING.text
        assert 1 <= len(found.sentences) <= limit


def test_neighbours_that_belong_to_it_come_along() -> None:
    passage = Passage(
        "Do not eat before the blood test. You may drink water before the blood test. Bring your card.",
        "b.md",
        "Blood test",
        0.7,
    )
    found = best_sentences("eat or drink before the blood test", [passage], WordEmbedding())
    assert found is not None
    assert found.text == "Do not eat before the blood test. You may drink water before the blood test."


def test_an_unrelated_question_scores_below_a_related_one() -> None:
    related = best_sentences("what does parking cost", [PARKING], WordEmbedding())
    unrelated = best_sentences("who won the football match", [PARKING], WordEmbedding())
    assert related is not None
    assert unrelated is not None
    assert unrelated.score < 0.3 < related.score


def test_a_passage_far_behind_the_best_is_not_read() -> None:
    far = Passage("Parking costs nothing on the moon.", "moon.md", "Moon", 0.2)
    found = best_sentences("Parking costs on the moon", [PARKING, far], WordEmbedding())
    assert found is not None
    assert found.passage is PARKING


def test_no_passages_no_extract() -> None:
    embed = WordEmbedding()
    assert best_sentences("anything", [], embed) is None
    assert embed.embedded == []
