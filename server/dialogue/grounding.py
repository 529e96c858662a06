"""Answers from passages: which sentence to read aloud, and whether made words stay within what the passage says. Sans-I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kb.sentences import split_sentences
from server.dialogue.knowledge import Passage
from server.dialogue.triggers import normalise
from server.dialogue.understanding.numbers import cardinals

_STOP: Final = frozenset(
    """
    a about all also am an and any anything are as at be been before being but by can could did do does doing for from
    get give go going got had has have having hello hi how i i'd i'll i'm if in into is it it's its just know like
    little long many may maybe me more much my need needs no not now of off ok okay on one or our out please really
    right say she should so some something sorry still take tell than thank thanks that that's the their them then there
    these they thing this to too uh um us very want wanted was we well were what what's when where which who why will
    with wonder wondering would yeah yes you your
    """.split()
)
_QUESTION: Final = re.compile(
    r"^(?:(?:and|but|so|well|okay|ok|um|uh|er|hi|hello|yes|yeah|no|sorry|please|actually|also|then|right|alright|good morning) )*"
    r"(?:what|what's|whats|when|where|where's|which|who|who's|why|how|how's|do|does|did|is|are|am|can|could|will|would|"
    r"should|may|must|have|has|was|were|shall|isn't|aren't|don't|doesn't|can't|any)\b"
)
_ASKING: Final = re.compile(
    r"\b(?:tell me|i wonder|i was wondering|wondering|i want to know|i'd like to know|i need to know|i have a question|"
    r"do you|can i|could i|is there|are there|do i|what about|how about|how much|how long|information|explain|"
    r"describe|i'd like to ask|what's|what is|where is)\b"
)
_READ_CHARS: Final = 260
_FOLLOWING_SHARE: Final = 0.25
_TITLE_WEIGHT: Final = 0.8
"""A word that only stands in the heading over the sentence."""
_RANK_COST: Final = 0.08
"""Off for each place behind the passage that retrieval found best."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Sentences of a passage that answer word for word."""

    text: str
    source: str
    share: float
    """Share of the question's words that they hold."""


def is_question(text: str) -> bool:
    """Return whether somebody asks for information, as far as the words tell."""
    words = normalise(text)
    return (
        text.rstrip().endswith("?") or _QUESTION.match(words) is not None or _ASKING.search(words) is not None
    )


def stems(text: str) -> set[str]:
    """Return the words that carry meaning, without their endings."""
    return {_stem(word) for word in normalise(text).replace("'s", "").split() if word not in _STOP}


def _stem(word: str) -> str:
    for ending, least in (
        ("ibility", 4),
        ("ability", 4),
        ("ible", 4),
        ("able", 4),
        ("ations", 4),
        ("ation", 4),
        ("ings", 3),
        ("ing", 3),
        ("ies", 3),
        ("ied", 3),
        ("ed", 3),
        ("es", 3),
        ("s", 3),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= least:
            word = word[: -len(ending)]
            break
    word = word[:-1] if word.endswith(("e", "y")) and len(word) > 3 else word
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def best_reading(question: str, passages: Sequence[Passage]) -> Reading | None:
    """Return the sentence that shares most with the question, and the next where it goes on with the matter."""
    asked = stems(question)
    if not asked:
        return None
    best: Reading | None = None
    for rank, passage in enumerate(passages):
        titled = stems(passage.title.replace(">", " "))
        sentences = split_sentences(passage.text)
        for index, sentence in enumerate(sentences):
            held = asked & stems(sentence)
            share = (len(held) + _TITLE_WEIGHT * len((asked & titled) - held)) / len(asked)
            share -= _RANK_COST * rank
            if best is None or share > best.share + 1e-9:
                text = _in_context(sentences, index, asked)
                best = Reading(text, passage.source, share)
    return best


def _in_context(sentences: Sequence[str], index: int, asked: set[str]) -> str:
    """Return the sentence with those before it, which say when it holds, and the next where it goes on."""
    text = sentences[index]
    for before in reversed(sentences[:index]):
        if len(before) + len(text) >= _READ_CHARS:
            break
        text = f"{before} {text}"
    for after in sentences[index + 1 : index + 2]:
        related = len(asked & stems(after)) / len(asked) >= _FOLLOWING_SHARE or len(text) < 50
        if related and len(text) + len(after) < _READ_CHARS:
            text = f"{text} {after}"
    return text


def invents_numbers(clause: str, *supplied: str) -> bool:
    """Return whether a clause speaks a number that neither the passage nor the question holds."""
    known = set().union(*(cardinals(text) for text in supplied))
    return bool(cardinals(clause) - known - {1})


_IGNORANCE: Final = re.compile(
    r"\b(?:i don't know|i do not know|i'm not sure|i am not sure|not (?:mentioned|stated|specified|given|provided)|"
    r"(?:does not|doesn't|do not|don't) (?:say|mention|specify|contain|hold|have (?:that|this|any|the) information)|"
    r"no information|cannot answer|can't answer)\b"
)


def admits_ignorance(clause: str) -> bool:
    """Return whether the model says that the passage does not answer."""
    return _IGNORANCE.search(clause.lower().replace("’", "'")) is not None


_CLAIM: Final = re.compile(
    r"\b(?:i have|i've|i'll|i will|is|are|was|been|now)\b[^.?]*\b(?:booked|cancell?ed|rescheduled|moved|confirmed|arranged|"
    r"scheduled|transferred|noted|sent|updated|booking|cancel|reschedule)\b"
)


def claims_effect(clause: str) -> bool:
    """Return whether words pretend that something was done, which only a tool can do."""
    return _CLAIM.search(clause.lower().replace("’", "'")) is not None


def adds_nothing(clause: str, passage: str, question: str) -> bool:
    """Return whether an answer only gives the question back ("Yes, we sell bicycles"), without the passage's words."""
    return not (stems(clause) & stems(passage)) - stems(question)
