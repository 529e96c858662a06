"""Cuts a stream of text into clauses that can be spoken one by one. Sans-I/O, standard library only.

The first clause may end early, at a comma after a few words, because its first audio is what the caller waits for;
later ones end with a sentence or at a comma far enough in. Abbreviations, decimals, times and initials are not cut.
"""

from __future__ import annotations

import re
from typing import Final

_ABBREVIATIONS: Final = frozenset(
    "mr mrs ms dr prof st sr jr no nos vs etc e.g i.e approx dept ext tel fig inc ltd co corp ave rd blvd apt"
    " jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
    " u.s u.k ph.d".split()
)
_HALVES_OF_DAY: Final = frozenset({"a.m", "p.m"})
_WEEKDAYS: Final = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())
_CONJUNCTIONS: Final = "and|but|because|so|which|while|if|when|unless|although"

_BOUNDARY: Final = re.compile(
    r"""(?P<end>[.!?…]+["'”’)\]]*)(?=\s)      # end of a sentence
      | (?P<soft>[,;:]["'”’)]*|\s[–—-])(?=\s)  # a pause within one
      | (?P<line>\n)""",
    re.VERBOSE,
)
_CONJUNCTION: Final = re.compile(rf"\s(?=(?:{_CONJUNCTIONS})\s)", re.IGNORECASE)
_LAST_WORD: Final = re.compile(r"(\S+)$")


class ClauseSplitter:
    """Text in, speakable clauses out. ``feed`` as it comes, ``flush`` at the end."""

    def __init__(self, *, first_words: int = 4, later_words: int = 9, long_words: int = 18) -> None:
        """A pause ends the first clause after ``first_words`` words and a later one after ``later_words``.

        Without any punctuation a clause of ``long_words`` words is cut before a conjunction.
        """
        self._first_words = first_words
        self._later_words = later_words
        self._long_words = long_words
        self._buffer = ""
        self._given = False

    def feed(self, text: str) -> list[str]:
        """Return the clauses that ``text`` completes."""
        self._buffer += text
        clauses: list[str] = []
        while (position := self._cut()) is not None:
            self._give(self._buffer[:position], clauses)
            self._buffer = self._buffer[position:]
        return clauses

    def flush(self) -> list[str]:
        """Return what is left, cut as usual."""
        clauses = self.feed("\n") if self._buffer.strip() else []
        self._buffer = ""
        return clauses

    def _give(self, text: str, clauses: list[str]) -> None:
        clause = " ".join(text.split())
        if any(letter.isalnum() for letter in clause):
            clauses.append(clause)
            self._given = True

    def _cut(self) -> int | None:
        """Where the first clause of the buffer ends, if that is certain already."""
        words_needed = self._later_words if self._given else self._first_words
        for match in _BOUNDARY.finditer(self._buffer):
            before = self._buffer[: match.start()]
            after = self._buffer[match.end() :].lstrip(" \t")
            if match["line"]:
                return match.end()
            if not after:
                return None  # what follows decides, and has not come yet
            if match["end"] and _ends_sentence(before, match["end"], after):
                return match.end()
            if (
                match["soft"]
                and len(before.split()) >= words_needed
                and _may_pause(before, match["soft"], after)
            ):
                return match.end()
        return self._cut_long()

    def _cut_long(self) -> int | None:
        if len(self._buffer.split()) <= self._long_words:
            return None
        for match in _CONJUNCTION.finditer(self._buffer):
            if len(self._buffer[: match.start()].split()) >= self._later_words:
                return match.end()
        return None


def _ends_sentence(before: str, mark: str, after: str) -> bool:
    """Say whether ``mark`` between ``before`` and ``after`` ends a sentence."""
    if mark[0] != "." or mark.startswith(".."):
        return True
    found = _LAST_WORD.search(before)
    word = found[1].lower().lstrip("(\"'“‘") if found else ""
    if not word or after.startswith("\n"):
        return bool(word)
    if word in _HALVES_OF_DAY:
        return after[0].isupper()
    if word in _ABBREVIATIONS:
        return False
    is_initial = len(word) == 1 and word.isalpha() and word != "i"
    is_numbering = word.isdigit() and len(before.split()) == 1
    return not is_initial and not is_numbering and not after[0].islower()


def _may_pause(before: str, mark: str, after: str) -> bool:
    """Say whether a pause there sounds right: not within a date, a number or an address."""
    found = _LAST_WORD.search(before)
    word = found[1].lower() if found else ""
    if mark[0] == "," and (after[0].isdigit() or word in _WEEKDAYS):
        return False
    return not (mark[0] == ":" and after[0].isdigit())
