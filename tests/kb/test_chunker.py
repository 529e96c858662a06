"""Chunks are short enough to be spoken, lose no word and never mix headings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.chunker import chunk_sections
from kb.sentences import count_tokens, split_sentences
from kb.types import Chunk, Section


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("We open at nine. We close at one.", ["We open at nine.", "We close at one."]),
        ("Dr. Lee is in. Ask for St. Mary.", ["Dr. Lee is in.", "Ask for St. Mary."]),
        (
            "Come at 9 a.m. on Monday. It takes 1.5 hours.",
            ["Come at 9 a.m. on Monday.", "It takes 1.5 hours."],
        ),
        ("We open at 8 a.m. Please ring.", ["We open at 8 a.m.", "Please ring."]),
        ("See room No. 4 on the left! Is it far? No.", ["See room No. 4 on the left!", "Is it far?", "No."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("one line\nstill one", ["one line still one"]),
        ("", []),
    ],
    ids=["two", "titles", "times", "time-ends", "number", "quote", "lines", "empty"],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_four_sentences_are_two_and_two() -> None:
    chunks = chunk_sections([Section("T", ("One is. Two is. Three is. Four is.",))])
    assert chunks == [Chunk("One is. Two is.", "T"), Chunk("Three is. Four is.", "T")]


def test_a_chunk_never_crosses_a_heading() -> None:
    chunks = chunk_sections([Section("T > A", ("One.",)), Section("T > B", ("Two.",))])
    assert chunks == [Chunk("One.", "T > A"), Chunk("Two.", "T > B")]


def test_a_lead_in_stays_with_what_it_leads_to() -> None:
    chunks = chunk_sections([Section("T", ("Please bring:", "your card.", "a photo."))])
    assert chunks[0].text == "Please bring: your card. a photo."


_words = st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=12), min_size=1, max_size=150).map(
    " ".join
)
_blocks = st.lists(_words.map(lambda text: text[0].upper() + text[1:] + "."), min_size=1, max_size=8)


@given(_blocks)
def test_chunks_hold_every_word_in_order_within_the_limits(blocks: list[str]) -> None:
    chunks = chunk_sections([Section("T", tuple(blocks))], max_tokens=40)
    assert " ".join(chunk.text for chunk in chunks).split() == " ".join(blocks).split()
    assert all(count_tokens(chunk.text) <= 40 for chunk in chunks)
    assert all(len(split_sentences(chunk.text)) <= 3 for chunk in chunks)
