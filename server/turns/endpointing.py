"""How long a silence has to last before it ends the caller's turn. Pure, pluggable.

A strategy is asked again whenever one of its cues changes: words come, the turn detector scores the silence anew,
which it does every 100 ms, so that one wrong score delays a turn by 100 ms and never by seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    The numbers were chosen on the tuning half of the pause corpus (``landline tune``).
    """

    quick_ms: int = 350
    doubtful_ms: int = 1_400
    """A statement whose words sound finished in a voice that does not."""
    question_ms: int = 200
    """For a question, and for the brief answer or the whole number that was asked for."""
    question_doubtful_ms: int = 900
    unfinished_quick_ms: int = 1_150
    unfinished_ms: int = 1_570
    dictating_quick_ms: int = 1_570
    dictating_ms: int = 1_680
    unscored: float = 0.95
    """Score taken where there is no turn detector: half way for a statement, all of it for a question."""
    sure: float = 0.9
    """From this score on the caller's habit of pausing is not waited for."""
    habit_limit_ms: int = 1_000
    haste: float = 1.0
    """How far a sure score goes from the longer length to the shorter one; above 1 beyond it."""
    floor_ms: int = 200
    """People answer after so long (Stivers et al. 2009); nothing is waited less for."""

    def required_silence_ms(self, cues: Cues, /) -> int:
        """Return the silence between the two lengths that the words set."""
        score = self.unscored if cues.score is None else cues.score
        quick_ms, slow_ms, sureness = self._lengths(cues)
        required = round(max(self.floor_ms, slow_ms + (quick_ms - slow_ms) * sureness(score) * self.haste))
        if (cues.score is None or score < self.sure) and not cues.expected.brief:
            required = max(required, min(self.habit_limit_ms, cues.habit.bound_ms))
        return required

    def _lengths(self, cues: Cues) -> tuple[int, int, Callable[[float], float]]:
        found = completeness(cues.transcript or "", expected_digits=cues.expected.digits)
        match found:
            case Completeness.QUESTION | Completeness.FORMULA:
                return self.question_ms, self.question_doubtful_ms, _likely
            case Completeness.COMPLETE:
                if cues.expected.brief or cues.expected.digits:
                    return self.question_ms, self.question_doubtful_ms, _likely
                return self.quick_ms, self.doubtful_ms, _sure
            case Completeness.UNFINISHED:
                return self.unfinished_quick_ms, self.unfinished_ms, _sure
            case Completeness.DICTATING:
                return self.dictating_quick_ms, self.dictating_ms, _sure
            case Completeness.SILENT:
                if cues.transcript is not None and cues.expected.digits:
                    return self.dictating_quick_ms, self.dictating_ms, _sure
                # The words decide when they are there; until then the sound may ask for them.
                return self.question_ms, self.question_doubtful_ms, _likely
            case _:
                assert_never(found)


def _likely(score: float) -> float:
    """Weigh the detector's score where the words alone say that the turn is over."""
    return min(1.0, max(0.0, (score - 0.15) / 0.55))


def _sure(score: float) -> float:
    """Weigh it where it carries the decision: it gives over 0.9 to four in ten pauses within a turn, so none is certain."""
    return min(1.0, max(0.0, (score - 0.898) / 0.152))


_SMOOTHING: Final = 0.3


def smoothed(before: float | None, score: float) -> float:
    """Return what a silence's scores say together: one alone jumps by half from one tenth of a second to the next."""
    return score if before is None else before + _SMOOTHING * (score - before)


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


_PATIENCE_MIN: Final = 0.1


def fused(settings: TurnSettings, **changed: float) -> FusedSilence:
    """Return the fused strategy of these settings.

    ``patience`` above 1 stretches all of its lengths. Below 1 only what is sure is answered sooner: hurrying the rest as
    well cuts three times as many turns at the same latency.
    """
    base = FusedSilence()
    stretch = max(1.0, settings.patience)
    lengths: Mapping[str, int] = {
        name: round(getattr(base, name) * stretch)
        for name in (
            "quick_ms", "doubtful_ms", "question_ms", "question_doubtful_ms", "unfinished_quick_ms", "unfinished_ms",
            "dictating_quick_ms", "dictating_ms",
        )
    }  # fmt: skip
    haste = 1 / min(1.0, max(_PATIENCE_MIN, settings.patience))
    return FusedSilence(**{**lengths, "haste": haste, **changed})  # type: ignore[arg-type]
