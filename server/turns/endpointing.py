"""How long a silence has to last before it ends the caller's turn. Pure.

The transcript of the turn so far is the cue: a phrase that breaks off ("I'd like to", "and") or a
number still being dictated gets more time than one that sounds finished.
"""

from __future__ import annotations

import re
from typing import Final

from server.turns.settings import TurnSettings

_CLOCK_TIME: Final = re.compile(r"\b\d{1,2}[:.]\d{2}\b")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")

_UNFINISHED_LAST_WORDS: Final = frozenset(
    "a an the and or but so because if when that which who to of in on at by from with into "
    "is are was were am i i'm i'd i'll we we're they it's my your our his their um uh er erm "
    "hmm would could should can will may has had does very really than as next".split()
)
"""After these a speaker goes on (articles, prepositions, conjunctions, auxiliaries, hesitations)."""

_DIGIT_WORDS: Final = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_DICTATION_MIN: Final = 2
_CLOCK_DIGITS: Final = 2
_TELEPHONE_NUMBER_DIGITS: Final = 7


def words(text: str) -> list[str]:
    """Return the words of a transcript in lower case, punctuation dropped."""
    return _WORD.findall(text.lower())


def sounds_unfinished(text: str) -> bool:
    """Say whether the words break off or are a short row of digits that may go on."""
    spoken = words(text)
    if not spoken:
        return False
    if text.rstrip().endswith(("...", "…", "-", ",")):
        return True
    if text.rstrip().endswith("?"):
        return False
    if spoken[-1] in _UNFINISHED_LAST_WORDS and len(spoken) > 1:
        return True
    # "10:30" is a time, not a row of digits.
    return not _CLOCK_TIME.search(text) and _is_dictating(spoken)


def _is_dictating(spoken: list[str]) -> bool:
    """Say whether the words end in digits spoken one by one; a single "10" or "25th" is a time or a day."""
    groups = digits = 0
    for word in reversed(spoken):
        if not word.isdigit() and word not in _DIGIT_WORDS:
            break
        groups += 1
        digits += len(word) if word.isdigit() else 1
    return _DICTATION_MIN <= digits < _TELEPHONE_NUMBER_DIGITS and (groups > 1 or digits > _CLOCK_DIGITS)


def required_silence_ms(text: str, settings: TurnSettings) -> int:
    """Return the silence after which a turn with this transcript is over."""
    return settings.unfinished_silence_ms if sounds_unfinished(text) else settings.endpoint_silence_ms
