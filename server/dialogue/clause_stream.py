"""Cuts a stream of words into clauses for the synthesiser: the first one early, the others at sentence ends. Sans-I/O."""

from __future__ import annotations

import re
from typing import Final

FIRST_CLAUSE_CHARS: Final = 60
"""Cap of the first clause: it decides when the caller hears anything."""
CLAUSE_CHARS: Final = 160
MIN_CLAUSE_CHARS: Final = 12

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+")
_CLAUSE_END = re.compile(r"(?:[.!?;:][\"')\]]*|,|\s[—–-])\s+")
_NOT_AN_END = re.compile(r"(?:\b(?:dr|mr|mrs|ms|st|no|a\.m|p\.m|e\.g|i\.e)|\b[A-Z])\.\s*$", re.IGNORECASE)
_MARKUP = re.compile(r"[*_`#>|]+|\[(?=[^\]]*\]\()|\]\([^)]*\)")


class ClauseStream:
    """Takes pieces of text, gives complete clauses."""

    def __init__(self) -> None:
        """Begin with nothing held."""
        self._held = ""
        self._first = True

    def feed(self, piece: str) -> list[str]:
        """Return the clauses that are complete now."""
        self._held += piece
        clauses: list[str] = []
        while (cut := self._cut()) > 0:
            self._take(self._held[:cut], clauses)
            self._held = self._held[cut:].lstrip()
        return clauses

    def flush(self) -> list[str]:
        """Return what is left at the end."""
        clauses: list[str] = []
        self._take(self._held, clauses)
        self._held = ""
        return clauses

    def _take(self, text: str, clauses: list[str]) -> None:
        if cleaned := " ".join(_MARKUP.sub("", text).split()):
            clauses.append(cleaned)
            self._first = False

    def _cut(self) -> int:
        pattern = _CLAUSE_END if self._first else _SENTENCE_END
        for found in pattern.finditer(self._held):
            before = self._held[: found.end()]
            if found.start() >= MIN_CLAUSE_CHARS and not _NOT_AN_END.search(before):
                return found.end()
        cap = FIRST_CLAUSE_CHARS if self._first else CLAUSE_CHARS
        return self._held.rfind(" ", MIN_CLAUSE_CHARS, cap) + 1 if len(self._held) > cap else 0
