"""What callers say on every line, whatever the agent is for: recognised by pattern, answered by fixed phrases. Sans-I/O."""

from __future__ import annotations

import enum
from typing import Final

from server.dialogue.triggers import matches, normalise


class SmallTalk(enum.StrEnum):
    """What was meant."""

    GOODBYE = "goodbye"
    THANKS = "thanks"
    HELLO = "hello"
    MACHINE = "machine"
    REPEAT = "repeat"
    WAIT = "wait"
    HELP = "help"
    ABANDON = "abandon"


_POLITE = "[please] [thanks] [then] [now] [you] [so] [very] [much]"
_PATTERNS: Final[tuple[tuple[SmallTalk, tuple[str, ...]], ...]] = (
    (
        SmallTalk.MACHINE,
        (
            "are|am you|i ... [talking|speaking] ... robot|machine|computer|human|ai|bot|real|person|recording|automated",
            "is this|it|that ... robot|machine|computer|human|ai|bot|recording|automated|person",
            "you're|are|aren't you ... robot|machine|computer|human|ai|bot|real",
        ),
    ),
    (
        SmallTalk.REPEAT,
        (
            "^ [please] repeat [that|it|this] [again] [please] $",
            "say [that|it] again",
            "say [that|it] [one|once] more [time]",
            "can|could|would|please [you] [please] repeat",
            "^ [i'm] [sorry] [i] didn't|couldn't|did|could [not] catch|hear|get|understand ...",
            "^ pardon|sorry|what|come|excuse|huh|again [me] [again] [on] [please] $",
            "what did you [just] say",
            "what was that",
            "one more time",
        ),
    ),
    (
        SmallTalk.WAIT,
        (
            "^ [okay] [yes] [um] [uh] [just] [please] hang|hold on",
            "^ [okay] [um] [uh] [just] [give] [me] [wait] [a|one] moment|second|minute|sec [please] $",
            "give me a|one moment|second|minute|sec",
            "let me think|check|look|see|get",
            "^ [just] wait [a|one] [moment|second|minute|sec] [please] $",
        ),
    ),
    (
        SmallTalk.ABANDON,
        (
            "never|nevermind mind",
            "^ nevermind",
            "forget it|that|about",
            "leave it|that [for] [now] $",
            "^ [no] [actually] [please] cancel|stop [that|it|this] [please] $",
            "i|i've changed|change ... mind",
            "^ [no] [let's] start again|over",
        ),
    ),
    (
        SmallTalk.GOODBYE,
        (
            "goodbye|bye [bye] $",
            "good bye",
            "^ bye|goodbye",
            "bye bye",
            "have a good|nice|great|lovely day|one|evening|afternoon|weekend",
            "^ [no] [thanks] [thank] [you] [okay] [that's|that|that'll] [is|was|will] [be] all|everything [for] [now] [today] [i] [needed|need] [thanks|thank] [you] $",
            "see you later|then|soon|tomorrow|there $",
            "^ [okay] [great] [thanks] [thank] [you] see you $",
            "^ [okay] [no] [thank|thanks] [you] [i'm] all|that's good|it [thanks|thank] [you] $",
            "^ [please] [you] [can] hang up [now] [please] $",
        ),
    ),
    (
        SmallTalk.THANKS,
        (
            f"^ [okay] [ok] [great] [perfect] [good] [lovely] [all] [right] [alright] [many] thank|thanks|cheers {_POLITE} [for] [your] [help] [that] $",
        ),
    ),
    (
        SmallTalk.HELP,
        (
            "what can|do you do [for] [me] $",
            "what can you help [me] [with]",
            "what can i do|ask|say",
            "what|which are|services ... [my] options",
            "how does this|it work",
        ),
    ),
    (
        SmallTalk.HELLO,
        (
            "^ hello|hi|hey [hello] [there] [good] [morning|afternoon|evening] [again] [how] [are] [you] [today] [is|anyone|anybody|someone] [there] $",
            "^ good morning|afternoon|evening|day $",
            "^ [hello] [hi] how are you [today] [doing] $",
            "^ [hello] can you hear me $",
        ),
    ),
)


def small_talk(text: str) -> SmallTalk | None:
    """Return what kind of small talk this is."""
    words = normalise(text)
    for kind, patterns in _PATTERNS:
        if matches(patterns, words):
            return kind
    return None
