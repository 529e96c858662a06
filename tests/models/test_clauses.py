from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.clauses import ClauseSplitter


def clauses(text: str, step: int = 1) -> list[str]:
    splitter = ClauseSplitter()
    result: list[str] = []
    for start in range(0, len(text), step):
        result += splitter.feed(text[start : start + step])
    return result + splitter.flush()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. How can I help?", ["Hello.", "How can I help?"]),
        ("We open at 8:30 a.m. and close at 6 p.m. on Fridays.", ["We open at 8:30 a.m. and close at 6 p.m. on Fridays."]),
        ("We close at 6 p.m. Parking is free.", ["We close at 6 p.m.", "Parking is free."]),
        ("Dr. Smith sees you. Bye.", ["Dr. Smith sees you.", "Bye."]),
        ("It costs $3.50 in all. Fine?", ["It costs $3.50 in all.", "Fine?"]),
        ("J. K. Miller is here. Yes.", ["J. K. Miller is here.", "Yes."]),
        ("Yes, of course, I can do that, no problem.", ["Yes, of course, I can do that,", "no problem."]),
        ("You are booked for Saturday, December 3rd.", ["You are booked for Saturday, December 3rd."]),
        ("Is that right? It is!", ["Is that right?", "It is!"]),
        ("One\nTwo", ["One", "Two"]),
        ("  ...  ", []),
        ("", []),
    ],
)  # fmt: skip
def test_text_is_cut_where_a_speaker_would_pause(text: str, expected: list[str]) -> None:
    assert clauses(text) == expected


def test_a_long_sentence_without_commas_is_cut_before_a_conjunction() -> None:
    text = " ".join(["word"] * 12) + " because " + " ".join(["more"] * 12)
    assert [len(clause.split()) for clause in clauses(text)] == [12, 13]


def test_the_first_clause_is_given_before_the_sentence_ends() -> None:
    assert ClauseSplitter().feed("Yes, I can certainly help, and then ") == ["Yes, I can certainly help,"]


@given(st.text(alphabet="ab.,!? 19\nM:", max_size=60), st.integers(1, 7))
def test_nothing_is_lost_and_the_pieces_of_the_stream_do_not_matter(text: str, step: int) -> None:
    whole = clauses(text)
    assert clauses(text, step) == whole
    spoken = [letter for letter in text if letter.isalnum()]
    assert [letter for clause in whole for letter in clause if letter.isalnum()] == spoken
