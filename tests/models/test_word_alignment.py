"""Words of a text against the phonemes that were spoken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.word_alignment import word_ends


def ends(words: str, spoken: str) -> list[int] | None:
    """Words are divided by bars; every spoken symbol takes 10."""
    return word_ends(
        [list(word) for word in words.split("|")], spoken, [10 * (i + 1) for i in range(len(spoken))]
    )


@pytest.mark.parametrize(
    ("words", "spoken", "expected"),
    [
        ("pɹˈaɪs|ʌv|ðə|kˈeɪk", "pɹˈaɪs ʌvðə kˈeɪk.", [60, 90, 110, 170]),
        ("ˈeɪt|θˈɜːɾi ˈaʊɚz", "ˈeɪt θˈɜːɾi ˈaʊɚz", [40, 170]),
        ("ðiː|ˈænd|ˈaɪ", "ðə ənd aɪ", [20, 60, 90]),
        ("wˈʌn||tˈuː", "wˈʌn, tˈuː.", [40, 40, 90]),
    ],
    ids=["two in one group", "one in two groups", "reduced vowels", "a dash"],
)
def test_each_word_ends_where_its_last_sound_does(words: str, spoken: str, expected: list[int]) -> None:
    assert ends(words, spoken) == expected


def test_a_sound_that_no_word_has_belongs_to_a_neighbour() -> None:
    assert ends("viː|oʊpən", "viːj oʊpən") in ([40, 100], [30, 100])


def test_what_does_not_fit_is_said_so() -> None:
    assert ends("", "abc") is None
    assert word_ends([["a"]], [], []) == [0]


@given(st.lists(st.text(alphabet="abdeikmnostu", min_size=1, max_size=7), min_size=1, max_size=40))
def test_words_spoken_as_written_end_exactly_where_they_end(words: list[str]) -> None:
    spoken = " ".join(words)
    position, expected = -1, []
    for word in words:
        position += len(word) + 1
        expected.append(10 * position)
    assert ends("|".join(words), spoken) == expected


@given(st.text(alphabet="abeiou |", max_size=60), st.text(alphabet="abeiou ", max_size=60))
def test_ends_never_fall_and_never_pass_the_last_sound(words: str, spoken: str) -> None:
    found = ends(words, spoken)
    if found is not None:
        assert found == sorted(found)
        assert max(found) <= 10 * len(spoken)
