"""Respelling for the synthesiser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agent.lexicon import Lexicon

LEXICON = Lexicon(
    {
        "Siobhan": "Shivawn",
        "GP": "gee pee",
        "St. Mary's": "Saint Marys",
        "New York": "[[nuː jˈɔːɹk]]",
        "York": "Yorke",
        "e-mail": "email",
    }
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ask Siobhan.", "Ask Shivawn."),
        ("“SIOBHAN” is here", "“Shivawn” is here"),
        ("Siobhans are rare", "Siobhans are rare"),
        ("Your gp, or St. Mary's?", "Your gee pee, or Saint Marys?"),
        ("From New York to York", "From [[nuː jˈɔːɹk]] to Yorke"),
        ("It is new. York is old.", "It is new. Yorke is old."),
        ("(E-mail us)", "(email us)"),
        ("say [[hack]] twice", "say hack twice"),
        ("a - b", "a - b"),
        ("", ""),
    ],
)
def test_whole_words_are_respelled_and_punctuation_stays(text: str, said: str) -> None:
    assert LEXICON.apply(text).text == said


@given(
    st.lists(
        st.sampled_from(["Siobhan", "GP,", "St.", "Mary's", "New", "York", "word", "-", "[["]), max_size=12
    )
)
def test_every_token_stands_for_words_in_order_and_every_word_with_letters_has_a_token(
    words: list[str],
) -> None:
    spoken = LEXICON.apply(" ".join(words))
    covered = [index for cover in spoken.covers for index in cover]
    assert covered == sorted(covered)
    assert len(spoken.tokens) == len(spoken.covers)
    assert set(covered) >= {index for index, word in enumerate(words) if word != "[["}


def test_without_entries_nothing_changes() -> None:
    assert Lexicon().apply("As it is,  twice.").text == "As it is, twice."
