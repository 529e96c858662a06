"""What the words of a turn so far say about whether more will come. Pure; English telephone speech as Whisper writes it."""

from __future__ import annotations

import enum
import re
from typing import Final

_CLOCK_TIME: Final = re.compile(r"\b\d{1,2}[:.]\d{2}\b")
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")

_UNFINISHED_LAST_WORDS: Final = frozenset(
    "a an the and or but so because if when that which who whose whether to of in on at by from with into for near "
    "about between during until since without against per than as next "
    "is are was were am i i'm i'd i'll i've he he's she she's we we'd we'll we've they they're they've it's there's "
    "that's my your his our their um uh er erm hmm would could should can will may has had does very really".split()
)
"""After these a speaker goes on (articles, prepositions, conjunctions, subjects, auxiliaries, hesitations)."""

_OBJECT_WANTED: Final = frozenset(
    "need needs needed want wants wanted prefer have get make take bring book find send buy move change see know ask "
    "say says said tell told let mean means".split()
)
"""Verbs that seldom end a statement: something is needed, asked, said."""

_AUXILIARIES: Final = frozenset(
    "am are can could did do does had has have is may might must shall should was were will would".split()
)
_QUESTION_WORDS: Final = frozenset("what which who where when how why whether".split())
_PRONOUNS: Final = frozenset("i you he she it we they there".split())
_SUBORDINATORS: Final = frozenset(
    "if when whenever before after because while unless although until once".split()
)
_OPENERS: Final = frozenset(
    "so well actually basically maybe perhaps listen look ah uh um er erm hmm let me see think check i mean you know".split()
)
"""Words that a speaker gains time with; a turn of nothing else has not begun."""
_OPENERS_MAX: Final = 4

_DIGIT_WORDS: Final = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_DICTATION_MIN: Final = 2
_CLOCK_DIGITS: Final = 2
_TELEPHONE_NUMBER_DIGITS: Final = 7
_SPELLED_MIN: Final = 2
_CAPITALS_LIMIT: Final = 5
_DIGITS_MISHEARD: Final = re.compile(r"[ol]*\d[\dol]*")
"""Digits, with an oh or a one heard as a letter."""

_ACKNOWLEDGEMENTS: Final = frozenset(
    "mm mhm mmhmm mm-hmm hm hmm uh-huh uhuh huh aha ah oh right okay ok yeah yep yes sure exactly "
    "i-see got-it all-right alright of-course good great fine cool thanks".split()
)
"""What a listener says while the other goes on (Yngve 1970), without wanting the turn."""
_ACKNOWLEDGEMENT_WORDS: Final = 4
_GREETINGS: Final = frozenset("hello hi hey good morning afternoon evening yes there".split())
_TWO_WORD_SIGNS: Final = frozenset({"mm-hmm", "uh-huh", "i-see", "got-it", "all-right", "of-course"})


_FORMULA: Final = re.compile(
    r"(?:(?:oh|okay|ok|well|right|great|perfect|lovely|no|yes|yeah) )?"
    r"(?:(?:no|yes)(?: please| thanks| thank you)?"
    r"|(?:thank you|thanks|many thanks)(?: (?:very|so) much| a lot| indeed)?(?: (?:good)?bye)?"
    r"|(?:that is|that's) (?:all|it|everything)(?: (?:thank you|thanks))?(?: (?:good)?bye)?"
    r"|(?:good)?bye(?: bye| now)?)"
)


class Completeness(enum.Enum):
    """How finished the words of a turn sound."""

    SILENT = "silent"
    """No words."""
    QUESTION = "question"
    COMPLETE = "complete"
    FORMULA = "formula"
    """Thanks, a goodbye, a bare yes or no: nothing more belongs to it."""
    UNFINISHED = "unfinished"
    """Breaks off: "I would like to", "and", "on the"."""
    DICTATING = "dictating"
    """Digits or letters one by one, fewer than expected or than a telephone number has."""


def words(text: str) -> list[str]:
    """Return the words of a transcript in lower case, punctuation dropped."""
    return _WORD.findall(text.lower().replace("’", "'"))


def same_words(one: str, other: str) -> bool:
    """Say whether two transcripts hold the same words, whatever their punctuation and case."""
    return words(one) == words(other)


def completeness(text: str, *, expected_digits: int = 0) -> Completeness:
    """Judge how finished ``text`` sounds. With ``expected_digits`` a number of so many digits is whole."""
    spoken = words(text)
    if not spoken:
        return Completeness.SILENT
    if expected_digits and (count := _expected_count(spoken)):
        return Completeness.COMPLETE if count >= expected_digits else Completeness.DICTATING
    if _FORMULA.fullmatch(" ".join(spoken)):
        return Completeness.FORMULA
    if text.rstrip().endswith(("...", "…", "-", ",")) or _breaks_off(text, spoken):
        return Completeness.UNFINISHED
    if text.rstrip().endswith("?"):
        return Completeness.QUESTION
    digits = _digits_at_end(spoken) if not _CLOCK_TIME.search(text) else []
    if _is_dictated(digits) or _is_spelled(text, spoken):
        return Completeness.DICTATING
    return Completeness.COMPLETE


def _breaks_off(text: str, spoken: list[str]) -> bool:
    """Say whether the grammar of these words asks for more."""
    if len(spoken) <= _OPENERS_MAX and all(word in _OPENERS for word in spoken):
        return True
    if len(spoken) == 1:
        return False
    wants_more = spoken[-1] in _UNFINISHED_LAST_WORDS or spoken[-1] in _OBJECT_WANTED
    if text.rstrip().endswith("?"):
        # "Where is it at?", "Is it for that?" are whole, "Can I speak with?" and "Could you?" are not.
        if spoken[0] not in _AUXILIARIES or not _QUESTION_WORDS.isdisjoint(spoken):
            return spoken[-1] == "whether"
        bare = len(spoken) == 2 and spoken[-1] in _PRONOUNS
        return bare or (wants_more and spoken[-1] not in _AUXILIARIES and spoken[-1] != "that")
    # "If it is possible" has its main clause still to come, "Before noon" is an answer.
    leads_up = spoken[0] in _SUBORDINATORS and spoken[1] in _PRONOUNS and "," not in text
    return wants_more or leads_up


def is_acknowledgement(text: str) -> bool:
    """Say whether these are only a listener's words ("mm-hmm", "right, okay"), or none."""
    spoken = _joined(words(text))
    return len(spoken) <= _ACKNOWLEDGEMENT_WORDS and all(word in _ACKNOWLEDGEMENTS for word in spoken)


def is_greeting(text: str) -> bool:
    """Say whether the caller only says hello, as people do when they hear that somebody answers."""
    spoken = words(text)
    return bool(spoken) and len(spoken) <= 3 and all(word in _GREETINGS for word in spoken)


def _joined(spoken: list[str]) -> list[str]:
    """Join what two words say together: "uh huh" is one sign."""
    joined: list[str] = []
    for word in spoken:
        if joined and f"{joined[-1]}-{word}" in _TWO_WORD_SIGNS:
            joined[-1] = f"{joined[-1]}-{word}"
        else:
            joined.append(word)
    return joined


def _digits_at_end(spoken: list[str]) -> list[str]:
    taken: list[str] = []
    for word in reversed(spoken):
        if not word.isdigit() and word not in _DIGIT_WORDS:
            break
        taken.append(word)
    return taken[::-1]


def _expected_count(spoken: list[str]) -> int:
    """Return how many digits were said where a number was asked for: "O2O" and "5.09" are digits, too."""
    return sum(_digit_count(word) for word in spoken)


def _digit_count(word: str) -> int:
    if word in _DIGIT_WORDS:
        return 1
    return len(word) if _DIGITS_MISHEARD.fullmatch(word) else 0


def _is_dictated(digits: list[str]) -> bool:
    """Say whether these are digits spoken one by one; a single "10" or "25th" is a time or a day."""
    count = sum(_digit_count(digit) for digit in digits)
    return _DICTATION_MIN <= count < _TELEPHONE_NUMBER_DIGITS and (len(digits) > 1 or count > _CLOCK_DIGITS)


def _is_spelled(text: str, spoken: list[str]) -> bool:
    """Say whether the words end in letters, "B A K" or "S-M", or are nothing but capitals, "ROB": they may go on."""
    letters = 0
    for word in reversed(spoken):
        if len(word) != 1 or not word.isalpha():
            break
        letters += 1
    last = _WORD.findall(text)[-1]
    capitals = last.isalpha() and last.isupper() and last != "OK" and 1 < len(last) < _CAPITALS_LIMIT
    return letters >= _SPELLED_MIN or (capitals and (len(spoken) == 1 or "spel" in text))
