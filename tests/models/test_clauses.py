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


def capped(text: str, step: int = 1) -> list[str]:
    splitter = ClauseSplitter(first_words=3, first_limit=6)
    result: list[str] = []
    for start in range(0, len(text), step):
        result += splitter.feed(text[start : start + step])
    return result + splitter.flush()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("I hope you are keeping dry.", "I hope you are keeping dry."),
        ("Yes, of course, I can do that for you.", "Yes, of course,"),
        ("I am sorry to hear that you are nervous.", "I am sorry"),
        ("We look forward very much to seeing you soon.", "We look forward very much"),
        ("Please do not hesitate calling Doctor Smith tomorrow morning.", "Please do not hesitate calling Doctor"),
        ("It would be good if you could bring it.", "It would be good"),
        ("Somebody will certainly call you at the latest tomorrow.", "Somebody will certainly call"),
        ("Bring warm clothes, please, because it snows.", "Bring warm clothes,"),
        ("Hello.  How are you doing on this fine day?", "Hello."),
        ("I and you and we and they are", "I and you and we and"),
    ],
)  # fmt: skip
def test_the_first_clause_is_short_and_ends_where_a_phrase_does(text: str, first: str) -> None:
    assert capped(text)[0] == first
    assert " ".join(capped(text)).split() == text.split()


@given(st.text(alphabet="ab.,!? 19\nM:", max_size=60) | st.lists(
    st.sampled_from(["I", "the", "car", "to", "see,", "if", "you.", "Dr.", "and", "2", "p.m.", "rain"]), max_size=14
).map(" ".join), st.integers(1, 9))  # fmt: skip
def test_a_short_first_clause_loses_nothing_either(text: str, step: int) -> None:
    whole = capped(text)
    assert capped(text, step) == whole
    assert not whole or len(whole[0].split()) <= 6
    spoken = [letter for letter in text if letter.isalnum()]
    assert [letter for clause in whole for letter in clause if letter.isalnum()] == spoken
