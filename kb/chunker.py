"""Cuts a document's sections into chunks small enough to be spoken. Sans-I/O.

A chunk is one to three whole sentences under one heading. It never crosses a heading, because its heading path
is what tells the passage apart from its neighbours; short paragraphs under the same heading may share one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from kb.sentences import count_tokens, split_sentences
from kb.types import Chunk, Section

MAX_SENTENCES: Final = 3
MAX_TOKENS: Final = 60

_CLAUSE_END: Final = re.compile(r"(?<=[;,:])\s+|\s+(?=[–—]\s)")


def chunk_sections(
    sections: Iterable[Section], *, max_sentences: int = MAX_SENTENCES, max_tokens: int = MAX_TOKENS
) -> list[Chunk]:
    """Return the chunks of ``sections`` in order; together they hold every word of them."""
    chunks: list[Chunk] = []
    for section in sections:
        sentences = [
            piece
            for block in _with_lead_in(section.blocks)
            for sentence in split_sentences(block)
            for piece in _at_most(sentence, max_tokens)
        ]
        chunks.extend(Chunk(text, section.title) for text in _pack(sentences, max_sentences, max_tokens))
    return chunks


def _with_lead_in(blocks: Sequence[str]) -> list[str]:
    """Join a block that ends in a colon to the block after it: neither says anything without the other."""
    joined: list[str] = []
    lead = ""
    for block in blocks:
        text = f"{lead} {block}".strip()
        if block.rstrip().endswith(":"):
            lead = text
        else:
            joined.append(text)
            lead = ""
    if lead:
        joined.append(lead)
    return joined


def _at_most(sentence: str, max_tokens: int) -> list[str]:
    """Cut a sentence that is too long at its clauses, and at its words where a clause is still too long."""
    if count_tokens(sentence) <= max_tokens:
        return [sentence]
    pieces = _join_upto(_CLAUSE_END.split(sentence), max_tokens)
    return [
        part
        for piece in pieces
        for part in ([piece] if count_tokens(piece) <= max_tokens else _join_upto(piece.split(), max_tokens))
    ]


def _join_upto(parts: Sequence[str], max_tokens: int) -> list[str]:
    joined: list[str] = []
    for part in parts:
        if joined and count_tokens(joined[-1]) + count_tokens(part) <= max_tokens:
            joined[-1] += f" {part}"
        else:
            joined.append(part)
    return joined


def _pack(sentences: Sequence[str], max_sentences: int, max_tokens: int) -> list[str]:
    """Fill chunks in order; a last sentence left alone takes its neighbour along (four are 2 + 2, not 3 + 1)."""
    groups: list[list[str]] = []
    tokens = 0
    for sentence in sentences:
        size = count_tokens(sentence)
        if groups and len(groups[-1]) < max_sentences and tokens + size <= max_tokens:
            groups[-1].append(sentence)
            tokens += size
        else:
            groups.append([sentence])
            tokens = size
    if len(groups) > 1 and len(groups[-1]) == 1 and len(groups[-2]) == max_sentences >= 3:
        moved = groups[-2][-1]
        if count_tokens(moved) + count_tokens(groups[-1][0]) <= max_tokens:
            groups[-1].insert(0, groups[-2].pop())
    return [" ".join(group) for group in groups]
