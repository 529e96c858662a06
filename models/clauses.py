"""Cuts a stream of text into clauses that can be spoken one by one. Sans-I/O, standard library only.

The first clause may end early, at a comma after a few words, because its first audio is what the caller waits for;
later ones end with a sentence or at a comma far enough in. Abbreviations, decimals, times and initials are not cut.
Where a limit is set the first clause ends without any comma, where a phrase does.
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

_PHRASE_STARTS: Final = frozenset(
    "and but because so which while if when unless although that how what where who why or to for with at in on from of"
    " about after before during until by into as than".split()
)
"""A phrase may begin with these, so the words before them can be spoken."""
_LEANING: Final = frozenset(
    "a an the my your our his her their its this these i you we they he she it is are was were am be do does did can could"
    " will would shall should may might must have has had not no very so and but or because if to for with at in on from of"
    " about after before during until by into as than which that what how where who there i'm you're we're they're it's"
    " i'll you'll we'll i'd you'd we'd i've you've we've don't doesn't can't won't".split()
)
"""Words that lean on the next one: nobody pauses after them."""

_BOUNDARY: Final = re.compile(
    r"""(?P<end>[.!?…]+["'”’)\]]*)(?=\s)      # end of a sentence
      | (?P<soft>[,;:]["'”’)]*|\s[–—-])(?=\s)  # a pause within one
      | (?P<line>\n)""",
    re.VERBOSE,
)
_CONJUNCTION: Final = re.compile(rf"\s(?=(?:{_CONJUNCTIONS})\s)", re.IGNORECASE)
_LAST_WORD: Final = re.compile(r"(\S+)$")
_WHOLE_WORD: Final = re.compile(r"\S+(?=\s)")


class ClauseSplitter:
    """Text in, speakable clauses out. ``feed`` as it comes, ``flush`` at the end."""

    def __init__(
        self, *, first_words: int = 4, first_limit: int = 0, later_words: int = 9, long_words: int = 18
    ) -> None:
        """A pause ends the first clause after ``first_words`` words and a later one after ``later_words``.

        Without any punctuation a clause of ``long_words`` words is cut before a conjunction, and the first one after
        at most ``first_limit`` words, before a new phrase where there is one; 0 sets no such limit.
        """
        self._first_words = first_words
        self._first_limit = first_limit
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
        ends = [end for end in (self._cut_at_pause(), self._cut_short()) if end is not None]
        return min(ends, default=None)

    def _cut_short(self) -> int | None:
        """Where a first clause ends that has become long enough without a pause."""
        if self._given or not self._first_limit:
            return None
        words = list(_WHOLE_WORD.finditer(self._buffer))
        for count in range(self._first_words, min(len(words), self._first_limit + 1)):
            opens, before = _bare(words[count][0]), _bare(words[count - 1][0])
            if opens in _PHRASE_STARTS and before not in _LEANING:
                return words[count].start()
        if len(words) < self._first_limit:
            return None
        upright = [word for word in words[1 : self._first_limit] if _bare(word[0]) not in _LEANING]
        return (upright[-1] if upright else words[self._first_limit - 1]).end()

    def _cut_at_pause(self) -> int | None:
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


def _bare(word: str) -> str:
    return word.strip(".,;:!?\"'“”’()").lower().replace("’", "'")


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
