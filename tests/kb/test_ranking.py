"""Meaning leads, shared words decide between near ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kb.ranking import rank


def test_shared_words_lift_the_passage_that_names_the_day() -> None:
    assert rank({"friday": 0.68, "saturday": 0.66}, {"friday": 1.0, "saturday": 6.0})[0][0] == "saturday"


def test_shared_words_alone_do_not_make_an_answer() -> None:
    assert rank({"near": 0.7, "words": 0.1}, {"words": 50.0})[0][0] == "near"


def test_equal_scores_have_one_order() -> None:
    assert [id for id, _ in rank({"b": 0.5, "a": 0.5}, {})] == ["a", "b"]


@given(
    st.dictionaries(st.text(max_size=3), st.floats(-1, 1)),
    st.dictionaries(st.text(max_size=3), st.floats(0, 1e6)),
)
def test_scores_are_shares_in_falling_order(cosines: dict[str, float], words: dict[str, float]) -> None:
    ranked = rank(cosines, words)
    scores = [score for _, score in ranked]
    assert {id for id, _ in ranked} == set(cosines)
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
