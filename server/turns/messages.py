"""What the turn machine is told and what it asks for: two closed unions of plain values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Literal

from server.turns.endpointing import Expected

# ── inputs ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CallUp:
    """The caller can hear us. ``resumed`` when an earlier agent already spoke in this call."""

    resumed: bool = False


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """The caller began to speak at sample ``offset``, heard at ``at`` (ns)."""

    offset: int
    at: int


@dataclass(frozen=True, slots=True)
class SpeechStop:
    """The caller's speech ended at sample ``offset``, heard at ``at`` (ns), which is some windows ago."""

    offset: int
    at: int


@dataclass(frozen=True, slots=True)
class TranscriptReady:
    """The words of one revision; ``text`` is empty where there were none."""

    revision: int
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    """Speech recognition gave up on one revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class PartialReady:
    """Words of a turn that goes on; empty where none came of it."""

    partial: int
    text: str


@dataclass(frozen=True, slots=True)
class TurnScored:
    """The turn detector's verdict on one probe; None where it gave none."""

    probe: int
    score: float | None


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """What the models have room for. Final work always goes on."""

    speculation: bool
    partials: bool


@dataclass(frozen=True, slots=True)
class ReplyAudible:
    """Something of the running reply begins to be heard, after silence. ``content``: not only a filler."""

    turn: int
    content: bool = True


@dataclass(frozen=True, slots=True)
class ReplyQuiet:
    """All that the running reply has said so far was played, and more is to come."""

    turn: int


@dataclass(frozen=True, slots=True)
class ReplyAsks:
    """What the running reply is waiting for, told when the words that ask for it begin to be heard."""

    turn: int
    expected: Expected = field(default_factory=Expected)
    question: bool = True
    """It is put as a question, to which "mm-hmm" is an answer."""


@dataclass(frozen=True, slots=True)
class EffectStarted:
    """The running reply has begun something that cannot be undone: the turn may not be reopened."""

    turn: int


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The running reply is complete and all of it was played (or there was nothing to play)."""

    turn: int


@dataclass(frozen=True, slots=True)
class ReplyCloses:
    """The running reply will end the call or hand it over once it was played."""

    turn: int


@dataclass(frozen=True, slots=True)
class HandOffFailed:
    """The transfer was refused or never answered; the conversation goes on with a spoken outcome."""


@dataclass(frozen=True, slots=True)
class KeyPress:
    """A DTMF digit."""

    digit: str


@dataclass(frozen=True, slots=True)
class HoldChange:
    """The far end put us on hold, or took us back."""

    held: bool


@dataclass(frozen=True, slots=True)
class LegGone:
    """The call is over."""


TurnInput = (
    CallUp | SpeechStart | SpeechStop | TranscriptReady | TranscriptFailed | PartialReady | TurnScored | ModelLoad
    | ReplyAudible | ReplyQuiet | ReplyAsks | EffectStarted | ReplyDone | ReplyCloses | HandOffFailed | KeyPress | HoldChange | LegGone
)  # fmt: skip


# ── outputs ──────────────────────────────────────────────────────────────────────────────────────


class FarewellReason(enum.StrEnum):
    """Why the agent ends the call by itself."""

    SILENCE = "silence_timeout"
    DURATION = "duration_limit"
    TURNS = "turn_limit"
    SPEECH = "speech_error"
    NO_REPLY = "llm_error"


@dataclass(frozen=True, slots=True)
class Greet:
    """Play the greeting (or, resumed, say that we are back) as reply ``turn``."""

    turn: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Transcribe samples ``start`` to ``stop``. ``final``: the turn is over as far as its sound tells."""

    revision: int
    start: int
    stop: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class DropTranscript:
    """The caller went on: the result of this revision is no longer wanted."""

    revision: int


@dataclass(frozen=True, slots=True)
class TranscribePartial:
    """Transcribe what was said since sample ``start``, while it goes on: worth less than any other work."""

    partial: int
    start: int


@dataclass(frozen=True, slots=True)
class DropPartial:
    """The result of this partial transcription is no longer wanted."""

    partial: int


@dataclass(frozen=True, slots=True)
class ScoreTurn:
    """Have the turn detector judge the sound since sample ``start`` up to now."""

    probe: int
    start: int


@dataclass(frozen=True, slots=True)
class DropScore:
    """The caller speaks again: the verdict on this probe is no longer wanted."""

    probe: int


@dataclass(frozen=True, slots=True)
class StartReply:
    """Answer the caller. ``speech_stop_at`` (ns) is when the last speech was heard, for the ledger.

    ``speculative``: prepare the answer without letting anything of it be heard or take effect until
    :class:`CommitReply`.
    """

    turn: int
    text: str
    source: Literal["speech", "dtmf"]
    confidence: float
    speech_stop_at: int
    over_at: int = 0
    """When the silence had lasted long enough to end the turn."""
    speculative: bool = False
    reopened: int = 0
    """How often this turn of the caller was reopened."""


@dataclass(frozen=True, slots=True)
class CommitReply:
    """The turn is over: let the prepared reply be heard and do what it does."""

    turn: int
    confidence: float
    speech_stop_at: int
    over_at: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop working on a reply. ``reopen``: undo it in the dialogue, the same turn will be said anew."""

    turn: int
    reopen: bool


@dataclass(frozen=True, slots=True)
class PausePlayout:
    """The caller speaks over us."""


@dataclass(frozen=True, slots=True)
class ResumePlayout:
    """It was no interruption."""


@dataclass(frozen=True, slots=True)
class StopPlayout:
    """It was one: drop the rest."""


@dataclass(frozen=True, slots=True)
class FillSilence:
    """Reply ``turn`` keeps the caller waiting: say that it is being worked on."""

    turn: int


@dataclass(frozen=True, slots=True)
class PromptSilence:
    """Ask whether the caller is still there, as reply ``turn``."""

    turn: int


@dataclass(frozen=True, slots=True)
class SpeakHandOffFailure:
    """Say that nobody could be reached, as reply ``turn``."""

    turn: int


@dataclass(frozen=True, slots=True)
class Farewell:
    """Say goodbye as reply ``turn``, then hang up."""

    turn: int
    reason: FarewellReason


@dataclass(frozen=True, slots=True)
class HangUpNow:
    """End the call without waiting for anything."""


TurnOutput = (
    Greet | Transcribe | DropTranscript | TranscribePartial | DropPartial | ScoreTurn | DropScore | StartReply
    | CommitReply | CancelReply | PausePlayout | ResumePlayout | StopPlayout | FillSilence | PromptSilence
    | SpeakHandOffFailure | Farewell | HangUpNow
)  # fmt: skip
