"""Yes, no, or neither. Sans-I/O."""

from __future__ import annotations

import re
from typing import Literal

from server.dialogue.triggers import normalise

Answer = Literal["yes", "no", "unclear"]

_YES = re.compile(
    r"\b(?:yes|yeah|yep|yup|yah|ya|aye|sure|correct|right|exactly|absolutely|definitely|certainly|indeed|perfect|"
    r"please do|go ahead|of course|ok|okay|alright|all right|sounds good|sounds great|sounds fine|"
    r"that(?:'s| is)? (?:fine|good|great|perfect|right|correct|works)|that works|works for me|do it|"
    r"book it|i do|i would|i'd like that|i'd love to|yes please|very good|great|lovely|fine|good|uh huh|mm hmm|mhm)\b"
)
_NO = re.compile(
    r"\b(?:no|nope|nah|not really|not quite|not right|not correct|incorrect|wrong|don't|do not|never mind|"
    r"i'd rather not|not yet|not at all|nothing else|that's all|that is all|not that|isn't|wasn't|negative)\b"
)
_STRONG_YES = re.compile(
    r"^(?:oh |um |uh |er |well |and |so )*(?:yes|yeah|yep|yup|sure|correct|exactly|absolutely|definitely|certainly|of course|okay|ok|perfect)\b"
)
_SOFT_NO = re.compile(r"\b(?:no problem|no worries|why not|don't worry|no doubt|no no no problem)\b")


def yes_or_no(text: str) -> Answer:
    """Return what was answered; ``unclear`` where it is neither or both."""
    words = _SOFT_NO.sub("yes", normalise(text))
    no = _NO.search(words)
    yes = _YES.search(_NO.sub(" ", words))
    if no and yes:
        if no.start() == 0 or re.match(r"^(?:oh|um|uh|er|well|sorry) no\b", words):
            return "no"
        return "unclear"
    if no:
        return "no"
    return "yes" if yes else "unclear"


def starts_with_yes(text: str) -> bool:
    """Return whether the first word agrees: "yes, but …" too."""
    return _STRONG_YES.match(normalise(text)) is not None
