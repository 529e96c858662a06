"""Spoken names: ``my name is Maria Lopez``, ``it's Maria``, ``L O P E Z``. Sans-I/O."""

from __future__ import annotations

import difflib
import re
from typing import Final

from server.dialogue.understanding.mention import Mention

_WORD = r"[A-Za-zÀ-ÖØ-öø-ÿ][A-Za-zÀ-ÖØ-öø-ÿ'’\-]*"
_STRONG = re.compile(
    r"\b(?:(?:my|the|her|his|their|patient's|patient) (?:full |last |first )?name(?: is|'s|’s)(?: is)?|"
    r"name(?: is|:)|name's|call me|i'm called|i am called|(?:under|in) the name(?: of)?)[,:]? +",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"\b(?:this is|it's|it’s|it is|that's|that is|i'm|i’m|i am|for|under|here is|speaking is)[,:]? +",
    re.IGNORECASE,
)
_LETTERS = re.compile(
    r"\b(?:(?:that's |spelled |spelt |it's )+)?((?:[A-Za-z](?:[ .,\-]+(?=[A-Za-z]\b)|\b)){3,})(?![A-Za-z'])"
)
_AS_IN = re.compile(r"\b([A-Za-z]) (?:as in|for|like) [A-Za-z]+[,. ]*", re.IGNORECASE)
_LEADING = re.compile(
    r"^(?:(?:yes|yeah|yep|sure|ok|okay|well|so|um|uh|er|oh|hi|hello|please|of course|certainly|no|sorry|actually|and)[,.!]* +)+",
    re.IGNORECASE,
)
_STOP: Final = frozenset(
    """
    a about actually afternoon again all also am an and any anything appointment are as at available bad be because book
    booked booking but by bye call called calling can cancel change come correct could date day december did do doctor
    don't english evening fine first for four friday from fever fine five get go going good got great had has have he
    hello help her here hi his how hurt i i'd i'll i'm i've if ill in interested into is it it's just know last later
    like looking make maybe me minute moment monday morning much my name need new next no noon not nothing now number of
    off oh ok okay old on one only or other our out person phone please possible quite ready really reschedule right
    saturday say second see seven she sick six so some something sorry speak speaking spelled spelt sunday sure surname
    take tell ten thank thanks that that's the their them then there they think this three thursday time to today
    tomorrow too trying tuesday two uh um under us very wait waiting want was we wednesday week well what what's when
    where which who why will with won't wondering would wrong yeah yep yes yet you your zero both half quarter past
    having feeling afraid able unable worried glad happy free open closed done next
    hang repeat nobody somebody someone anyone everything problem question information
    """.split()
)
_TITLES: Final = frozenset(["mr", "mrs", "ms", "miss", "dr", "doctor"])
_AFTERWORDS: Final = ("", "please", "thanks", "thank you", "speaking", "here", "is my name")
MAX_WORDS: Final = 5


def find_name(text: str, *, expected: bool) -> Mention[str] | None:
    """Return the name that was said. A bare name counts only where one was asked for."""
    spelled = _spelled(text)
    without = _LETTERS.sub(" ", _AS_IN.sub(" ", text)) if spelled else text
    named = _spoken(without, expected=expected)
    if named is None:
        known = expected or _STRONG.search(text)
        return Mention(spelled, text.strip(), 0) if spelled and known else None
    if not spelled:
        return named
    return Mention(_with_spelling(named.value, spelled), text.strip(), 0, named.strong)


def _spoken(text: str, *, expected: bool) -> Mention[str] | None:
    for pattern, strong in ((_STRONG, True), (_WEAK, False)):
        for found in reversed(list(pattern.finditer(text))):
            words = _name_words(text[found.end() :], capitalised=not strong and not expected)
            # "It's …" and "for …" introduce a name only with both parts or where one was asked for.
            if words and (strong or expected or len(words) >= 2):
                return _mention(words, text, found.start(), strong=strong)
    if not expected:
        return None
    for sentence in reversed(re.split(r"(?<=\w\w)[.!?] +", text.strip())):
        bare = _LEADING.sub("", sentence + " ").strip(" .,!?")
        words = _name_words(bare, capitalised=False)
        rest = bare[len(" ".join(words)) :].strip(" .,!?").lower() if words else ""
        if words and rest in _AFTERWORDS:
            return _mention(words, text, text.find(words[0]), strong=False)
    return None


def _mention(words: list[str], text: str, start: int, *, strong: bool) -> Mention[str]:
    return Mention(" ".join(_capital(word) for word in words), text.strip(), max(start, 0), strong)


def _capital(word: str) -> str:
    if not word.islower() and not (word.isupper() and len(word) > 1):
        return word
    return "-".join(part[:1].upper() + part[1:].lower() for part in word.split("-"))


def _name_words(text: str, *, capitalised: bool) -> list[str]:
    words: list[str] = []
    for found in re.finditer(rf"({_WORD})([^\w]*)", text.strip()):
        word, gap = found[1], found[2]
        if found.start() and not text.strip()[: found.start()].endswith(tuple(" ,-.")):
            break
        lowered = word.lower().replace("’", "'")
        if lowered in _TITLES and not words:
            continue
        if lowered in _STOP or (capitalised and not word[0].isupper()):
            break
        words.append(word)
        if len(words) == MAX_WORDS or any(mark in gap for mark in "!?;") or ("." in gap and len(word) > 1):
            break
        if "," in gap:
            break
    return words


def _spelled(text: str) -> str:
    if len(pairs := _AS_IN.findall(text)) >= 3:
        return _capital("".join(pairs).lower())
    found = _LETTERS.search(text)
    letters = re.findall(r"[A-Za-z]", found[1]) if found else []
    return _capital("".join(letters).lower()) if len(letters) >= 3 else ""


def _with_spelling(name: str, spelled: str) -> str:
    """Put the spelled word in the place of the heard one that it resembles most; else it is the family name."""
    words = name.split()
    best = max(range(len(words)), key=lambda index: likeness(words[index], spelled))
    if likeness(words[best], spelled) >= 0.4 or len(words) > 1:
        index = best if likeness(words[best], spelled) >= 0.4 else len(words) - 1
        return " ".join([*words[:index], spelled, *words[index + 1 :]])
    return f"{name} {spelled}"


_SOUNDS: Final = (
    ("ph", "f"), ("ck", "k"), ("gh", "g"), ("kn", "n"), ("wr", "r"), ("th", "t"), ("sch", "sh"), ("z", "s"),
    ("c", "k"), ("q", "k"), ("x", "ks"), ("y", "i"), ("j", "i"), ("v", "f"), ("w", "u"), ("h", ""),
)  # fmt: skip


def _sound(name: str) -> str:
    lowered = re.sub(r"[^a-z]", "", name.lower())
    for letters, sound in _SOUNDS:
        lowered = lowered.replace(letters, sound)
    return re.sub(r"(.)\1+", r"\1", lowered)


def likeness(one: str, other: str) -> float:
    """Return 0 to 1: how alike two names sound, since recognition writes "Lopes" for "Lopez"."""
    return difflib.SequenceMatcher(None, _sound(one), _sound(other)).ratio()
