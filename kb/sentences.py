"""Splits running text into sentences, and counts tokens roughly. Sans-I/O."""

from __future__ import annotations

import re
from typing import Final

_ABBREVIATIONS: Final = frozenset(
    "dr mr mrs ms prof st no nos vs e.g i.e etc approx tel ext a.m p.m jan feb mar apr jun jul aug sep sept oct"
    " nov dec mon tue wed thu fri sat sun inc ltd co fig".split()
)
_END: Final = re.compile(r"[.!?]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-ÖØ-Þ])")
_SPACE: Final = re.compile(r"\s+")
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_LONG_WORD: Final = 8


def squeeze(text: str) -> str:
    """Return the text on one line, single-spaced."""
    return _SPACE.sub(" ", text).strip()


def split_sentences(text: str) -> list[str]:
    """Return the sentences of ``text`` in order; joined by a space they are the squeezed text again."""
    text = squeeze(text)
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if _is_abbreviation(text, start, match.start()):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    if text[start:].strip():
        sentences.append(text[start:].strip())
    return sentences


def _is_abbreviation(text: str, start: int, stop: int) -> bool:
    if text[stop] != ".":
        return False
    before = text[start:stop].rsplit(" ", 1)[-1].lstrip("(\"'“‘").lower()
    following = text[stop + 1 :].lstrip()[:1]
    if before in ("a.m", "p.m", "etc"):
        return following.isdigit() or not following.isupper()
    if before in ("no", "nos"):
        return following.isdigit()
    return before in _ABBREVIATIONS or (len(before) == 1 and before.isalpha() and before != "i")


def count_tokens(text: str) -> int:
    """Return about how many tokens a language model sees: words, punctuation, one more per long word."""
    return sum(1 + (len(token) > _LONG_WORD) for token in _TOKEN.findall(text))
