"""The caller's turn under way: its speech, its pauses, and what is asked of the models about it. Plain state."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.turns.endpointing import Expected


@dataclass(slots=True)
class CallerTurn:
    """Speech since the turn opened. Each pause in it makes a revision, transcribed before it is known to be the end.

    Offsets are samples of the leg's clock, times monotonic nanoseconds.
    """

    start: int
    began_at: int
    resumed: int
    """Offset where the speech that goes on, or went on last, began."""
    resumed_at: int
    stop: int | None = None
    """Where speech last ended; None while it goes on."""
    stopped_at: int = 0
    revision: int = 0
    """Transcript asked for since the last stop; 0 for none."""
    asked_at: int = 0
    transcript: str | None = None
    confidence: float = 0.0
    score: float | None = None
    """The turn detector's latest verdict on this silence."""
    probe: int = 0
    """Verdict waited for; 0 for none."""
    probe_asked_at: int = 0
    score_due_at: int = 0
    partial: int = 0
    """Partial transcript waited for; 0 for none."""
    partial_due_at: int = 0
    reopened: int = 0
    extends: bool = False
    """It goes on with a turn whose reply has just begun to be heard."""

    @property
    def speech_samples(self) -> int:
        """Length up to the last stop."""
        return 0 if self.stop is None else self.stop - self.start

    def go_on(self, offset: int, now: int) -> None:
        """The caller speaks again: what was asked about the silence is out of date."""
        self.resumed, self.resumed_at = offset, now
        self.stop, self.revision, self.transcript = None, 0, None
        self.score, self.probe = None, 0

    def begin_anew(self) -> None:
        """Leave out what came before the last pause: it was answered already."""
        self.start, self.began_at, self.extends, self.reopened = self.resumed, self.resumed_at, False, 0
        self.revision, self.transcript = 0, None


@dataclass(slots=True)
class AgentReply:
    """What the agent is saying, about to say, or preparing."""

    running: bool = False
    began_at: int = 0
    speculative: bool = False
    """Prepared unheard: the caller's turn is not known to be over."""
    text: str = ""
    """The caller's words that it answers."""
    caller_turn: CallerTurn | None = None
    """The speech that it answers, kept in case the turn is reopened."""
    reopenable: bool = False
    """It answers speech, and nothing that cannot be undone was done for it yet."""
    audible_at: int | None = None
    """When it was first heard."""
    quiet_since: int | None = None
    """Since when all of it so far is played while more is to come."""
    progress_at: int = 0
    """When it began, or content of it was last begun to be heard."""
    filled_at: int = 0
    done: bool = False
    is_prompt: bool = False
    is_greeting: bool = False
    asks: bool = False
    expected_before: Expected = field(default_factory=Expected)
    """What the question before it expected, in case the turn is reopened."""
