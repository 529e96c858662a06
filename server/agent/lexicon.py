"""How an agent's names are pronounced: words are respelled for the synthesiser and nowhere else. Sans-I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_EDGES: Final = re.compile(r"^(?P<before>[^\w\[]*)(?P<word>.*?)(?P<after>[^\w\]]*)$", re.DOTALL)
_TOKEN: Final = re.compile(r"[^\s\[]*\[\[.*?\]\]\S*|\S+")
"""A word of a respelling; one that is given in phonemes may hold spaces."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the synthesiser is given for a text."""

    text: str
    tokens: tuple[str, ...]
    covers: tuple[range, ...]
    """For each token the words of the original text (``text.split()``) that it stands for."""


class Lexicon:
    """Words and phrases with their respelling, or their phonemes in double square brackets as Piper takes them."""

    def __init__(self, pronunciations: Mapping[str, str] | None = None) -> None:
        self._entries: dict[tuple[str, ...], str] = {
            tuple(phrase.casefold().split()): said for phrase, said in (pronunciations or {}).items()
        }
        self._longest = max((len(phrase) for phrase in self._entries), default=0)

    def apply(self, text: str) -> Spoken:
        """Respell whole words, whatever their case; the longest phrase wins, punctuation around it stays."""
        words = [word.replace("[[", "").replace("]]", "") for word in text.split()]
        tokens: list[str] = []
        covers: list[range] = []
        index = 0
        while index < len(words):
            count, said = self._match(words, index)
            made = _TOKEN.findall(said)
            tokens += made
            if len(made) == count:
                covers += [range(index + i, index + i + 1) for i in range(count)]
            else:
                covers += [range(index, index + count)] * len(made)
            index += count
        return Spoken(" ".join(tokens), tuple(tokens), tuple(covers))

    def _match(self, words: list[str], index: int) -> tuple[int, str]:
        """Return how many words are taken from ``index`` on, and what is said for them."""
        for count in range(min(self._longest, len(words) - index), 0, -1):
            phrase = words[index : index + count]
            first, last = _EDGES.match(phrase[0]), _EDGES.match(phrase[-1])
            assert first is not None
            assert last is not None
            phrase[-1] = phrase[-1][: len(phrase[-1]) - len(last["after"])]
            phrase[0] = phrase[0][len(first["before"]) :]
            said = self._entries.get(tuple(word.casefold() for word in phrase))
            if said is not None:
                return count, f"{first['before']}{said}{last['after']}"
        return 1, words[index]
