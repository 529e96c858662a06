"""How long a silence has to last before it ends the caller's turn. Pure, pluggable.

A strategy is asked again whenever one of its cues changes: words come, the turn detector scores the silence anew,
which it does every 100 ms, so that one wrong score delays a turn by 100 ms and never by seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, assert_never

from server.turns.pauses import PauseHabit
from server.turns.settings import TurnSettings
from server.turns.transcript_cues import Completeness, completeness


@dataclass(frozen=True, slots=True)
class Expected:
    """What kind of answer the agent's last question asks for."""

    digits: int = 0
    """Digits of a number that was asked for; 0: no number."""
    brief: bool = False
    """A yes, a no or one word is a whole answer."""


@dataclass(frozen=True, slots=True)
class Cues:
    """What is known while a silence lasts."""

    transcript: str | None = None
    """Words of the turn so far; None until they are there."""
    score: float | None = None
    """The turn detector's latest probability that the turn is over; None where none came."""
    expected: Expected = field(default_factory=Expected)
    habit: PauseHabit = field(default_factory=PauseHabit)


class Endpointing(Protocol):
    """One way to decide. Strategies hold no state of a call."""

    def required_silence_ms(self, cues: Cues, /) -> int:
        """Return the silence after which the turn is over, as far as these cues tell."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSilence:
    """Every silence of one length ends the turn: what simple voice bots do."""

    silence_ms: int

    def required_silence_ms(self, _cues: Cues, /) -> int:
        """Return the one length."""
        return self.silence_ms


@dataclass(frozen=True, slots=True)
class TranscriptSilence:
    """Only the words decide: two lengths."""

    finished_ms: int
    unfinished_ms: int

    def required_silence_ms(self, cues: Cues, /) -> int:
        """Return the longer one for a turn that breaks off or is being dictated."""
        match completeness(cues.transcript or "", expected_digits=cues.expected.digits):
            case Completeness.UNFINISHED | Completeness.DICTATING:
                return self.unfinished_ms
            case _:
                return self.finished_ms


@dataclass(frozen=True, slots=True)
class FusedSilence:
    """Words, sound, the question asked and the caller's own rhythm together.

    The words set two lengths, one for a turn that sounds over and one for a turn that does not; the turn detector's
    score moves between them. A caller who is known to pause gets the length of those pauses unless the sound is sure.
    """

    quick_ms: int = 240
    question_ms: int = 200
    """For a question, and for a brief answer that was asked for."""
    doubtful_ms: int = 900
    """Words that sound finished in a voice that does not."""
    unfinished_quick_ms: int = 700
    unfinished_ms: int = 1_500
    dictating_quick_ms: int = 900
    dictating_ms: int = 1_600
    unscored: float = 0.45
    """Score taken where the turn detector says nothing."""
    sure: float = 0.85
    """From this score on the caller's habit of pausing is not waited for."""
    habit_limit_ms: int = 1_000

    def required_silence_ms(self, cues: Cues, /) -> int:
        """Return the silence between the two lengths that the words set."""
        score = self.unscored if cues.score is None else cues.score
        quick_ms, slow_ms = self._lengths(cues)
        required = round(slow_ms + (quick_ms - slow_ms) * _certainty(score))
        if score < self.sure and not cues.expected.brief:
            required = max(required, min(self.habit_limit_ms, cues.habit.bound_ms))
        return required

    def _lengths(self, cues: Cues) -> tuple[int, int]:
        found = completeness(cues.transcript or "", expected_digits=cues.expected.digits)
        match found:
            case Completeness.QUESTION:
                return self.question_ms, self.doubtful_ms
            case Completeness.COMPLETE:
                return (self.question_ms if cues.expected.brief else self.quick_ms), self.doubtful_ms
            case Completeness.UNFINISHED:
                return self.unfinished_quick_ms, self.unfinished_ms
            case Completeness.DICTATING:
                return self.dictating_quick_ms, self.dictating_ms
            case Completeness.SILENT:
                return self.quick_ms, self.doubtful_ms
            case _:
                assert_never(found)


def _certainty(score: float) -> float:
    """Map the detector's score to a weight: it seldom means what it says between 0.2 and 0.8, so that part is steep."""
    return min(1.0, max(0.0, (score - 0.15) / 0.55))


_STRATEGIES: Final = ("fused", "transcript", "fixed")


def endpointing(settings: TurnSettings) -> Endpointing:
    """Return the strategy that the settings name. Raises ``ValueError`` for a name that is none."""
    match settings.endpointing:
        case "fixed":
            return FixedSilence(settings.endpoint_silence_ms)
        case "transcript":
            return TranscriptSilence(settings.endpoint_silence_ms, settings.unfinished_silence_ms)
        case "fused":
            return fused(settings)
        case other:
            raise ValueError(f"endpointing {other!r}; expected one of {', '.join(_STRATEGIES)}")


def fused(settings: TurnSettings, **changed: float) -> FusedSilence:
    """Return the fused strategy of these settings; ``patience`` stretches all of its lengths."""
    base = FusedSilence()
    lengths: Mapping[str, int] = {
        name: round(getattr(base, name) * settings.patience)
        for name in (
            "quick_ms", "question_ms", "doubtful_ms", "unfinished_quick_ms", "unfinished_ms",
            "dictating_quick_ms", "dictating_ms",
        )
    }  # fmt: skip
    return FusedSilence(**{**lengths, **changed})  # type: ignore[arg-type]
