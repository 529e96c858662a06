"""The listening half of the turn machine: what is asked of the models about the caller's turn, and when. Sans-I/O.

It keeps one :class:`CallerTurn`, numbers what it asks for, drops what has become useless, and says how long a silence
has to last. Who has the floor is the machine's business.
"""

from __future__ import annotations

from typing import Final

from server.turns.caller_turn import CallerTurn
from server.turns.endpointing import Cues, Expected, endpointing, smoothed
from server.turns.messages import (
    DropPartial,
    DropScore,
    DropTranscript,
    PartialReady,
    ScoreTurn,
    Transcribe,
    TranscribePartial,
    TranscriptFailed,
    TranscriptReady,
    TurnOutput,
    TurnScored,
)
from server.turns.pauses import PauseHabit
from server.turns.settings import TurnSettings

MS: Final = 1_000_000

_SCORE_DECIDED: Final = 0.9
"""From this score on the turn detector is not asked again about the same silence."""
_SCORE_HEAD_START_MS: Final = 90
"""Longest wait of the first transcription of a silence for the first score."""


class Listener:
    """What is known of the caller's running turn."""

    def __init__(self, settings: TurnSettings, *, rate_hz: int, outputs: list[TurnOutput]) -> None:
        """Append requests to ``outputs``, which the machine drains. Raises ``ValueError`` for an unknown strategy."""
        self.turn: CallerTurn | None = None
        self.habit = PauseHabit()
        self.expected = Expected()
        """What the agent's last question asks for."""
        self.speculation = self.partials = True
        """What the models have room for."""
        self._settings = settings
        self._rate_hz = rate_hz
        self._outputs = outputs
        self._endpointing = endpointing(settings)
        self._last_revision = self._last_probe = self._last_partial = 0

    # ── speech ───────────────────────────────────────────────────────────────────────────────────

    def open(self, offset: int, now: int) -> None:
        """Begin a turn at sample ``offset``."""
        partial_at = now + self._settings.partial_interval_ms * MS
        self.turn = CallerTurn(offset, now, resumed=offset, resumed_at=now, partial_due_at=partial_at)

    def reopen(self, turn: CallerTurn) -> None:
        """Take up a turn again that seemed to be over."""
        turn.reopened += 1
        self.turn = turn

    def go_on(self, offset: int, at: int, now: int) -> None:
        """The caller, who had paused, speaks again."""
        turn = self.turn
        assert turn is not None
        if turn.stop is not None:
            self.habit = self.habit.learn((at - turn.stopped_at) // MS)
        self._drop_asked(turn)
        turn.go_on(offset, now)

    def begin_anew(self) -> None:
        """What came before the last pause has been answered for good: only what was said since is a turn."""
        turn = self.turn
        if turn is not None and turn.extends:
            self._drop_asked(turn)
            turn.begin_anew()

    def stop(self, offset: int, at: int, now: int) -> bool:
        """The caller paused ``at``; return False where no speech was going on."""
        turn = self.turn
        if turn is None or turn.stop is not None:
            return False
        turn.stop, turn.stopped_at = max(offset, turn.start), min(at, now)
        turn.score_due_at = now
        self._drop_partial(turn)
        return True

    def cut(self, turn: CallerTurn, now: int) -> None:
        """Whoever speaks longer than the recogniser takes is answered on what was said so far."""
        elapsed = (now - turn.began_at) // MS * self._rate_hz // 1000
        self.stop(turn.start + elapsed, now, now)

    def close(self) -> CallerTurn | None:
        """Forget the turn and all that was asked about it; return it."""
        turn, self.turn = self.turn, None
        if turn is not None:
            self._drop_asked(turn)
            self._drop_partial(turn)
        return turn

    def _drop_asked(self, turn: CallerTurn) -> None:
        if turn.revision and turn.transcript is None:
            self._outputs.append(DropTranscript(turn.revision))
            turn.revision = 0
        if turn.probe:
            self._outputs.append(DropScore(turn.probe))
            turn.probe = 0

    def _drop_partial(self, turn: CallerTurn) -> None:
        if turn.partial:
            self._outputs.append(DropPartial(turn.partial))
            turn.partial = 0

    # ── what the models say ──────────────────────────────────────────────────────────────────────

    def take_transcript(self, event: TranscriptReady | TranscriptFailed) -> bool:
        """Take the words of the turn; return False where they are of an earlier revision."""
        turn = self.turn
        if (
            turn is None
            or not turn.revision
            or turn.revision != event.revision
            or turn.transcript is not None
        ):
            return False
        if isinstance(event, TranscriptReady):
            turn.transcript, turn.confidence = event.text, event.confidence
        else:
            self._outputs.append(DropTranscript(event.revision))
            turn.transcript, turn.confidence = "", 0.0
        return True

    def take_score(self, event: TurnScored, now: int) -> bool:
        """Take the turn detector's verdict; return False where it is of an earlier silence."""
        turn = self.turn
        if turn is None or not turn.probe or turn.probe != event.probe:
            return False
        turn.probe = 0
        turn.score_due_at = max(now, turn.score_due_at)
        if event.score is not None:
            turn.score = smoothed(turn.score, event.score)
        return True

    def take_partial(self, event: PartialReady, now: int) -> bool:
        """Take words of a turn that goes on; return False where they are out of date."""
        turn = self.turn
        if turn is None or not turn.partial or turn.partial != event.partial:
            return False
        turn.partial = 0
        turn.partial_due_at = now + self._settings.partial_interval_ms * MS
        return True

    # ── when ─────────────────────────────────────────────────────────────────────────────────────

    def over_at(self, turn: CallerTurn) -> int:
        """Return when the silence will have lasted long enough, as far as the cues tell now."""
        cues = Cues(turn.transcript, turn.score, self.expected, self.habit)
        return turn.stopped_at + self._endpointing.required_silence_ms(cues) * MS

    def speculate_at(self, turn: CallerTurn) -> int:
        """Return when a reply is worth preparing."""
        return self.over_at(turn) - self._settings.speculation_lead_ms * MS

    def deadline(self, turn: CallerTurn, *, scoring: bool) -> int:
        """Return when something is to be asked, or a request is given up, or the silence has lasted."""
        settings = self._settings
        if turn.stop is None:
            limit = turn.began_at + settings.utterance_limit_ms * MS
            return min(limit, turn.partial_due_at) if self._wants_partial(turn) else limit
        due = [self._words_due_at(turn)]
        if scoring and self._wants_score(turn):
            due.append(turn.score_due_at)
        return min(due)

    def _words_due_at(self, turn: CallerTurn) -> int:
        if not turn.revision:
            early_at = turn.stopped_at + self._settings.early_transcribe_ms * MS
            if turn.probe and turn.score is None:
                # Side by side on the same cores both would come later than one after the other, the short one first.
                early_at = max(early_at, turn.probe_asked_at + _SCORE_HEAD_START_MS * MS)
            return early_at if self.speculation else max(early_at, self.over_at(turn))
        if turn.transcript is None:
            return turn.asked_at + self._settings.transcribe_limit_ms * MS
        return self.over_at(turn)

    def _wants_score(self, turn: CallerTurn) -> bool:
        if turn.revision and turn.transcript is None:
            return False  # what the score costs the recogniser now is more than it can tell
        decided = turn.score is not None and turn.score >= _SCORE_DECIDED
        return bool(self._settings.score_interval_ms) and not turn.probe and not decided

    def _wants_partial(self, turn: CallerTurn) -> bool:
        return bool(self._settings.partial_interval_ms) and self.partials and not turn.partial

    def ask(self, turn: CallerTurn, now: int, *, scoring: bool) -> TranscriptFailed | None:
        """Ask the models for what is due; return the failure of a transcript that did not come in time."""
        if turn.stop is None:
            if self._wants_partial(turn) and now >= turn.partial_due_at:
                self._last_partial += 1
                turn.partial = self._last_partial
                self._outputs.append(TranscribePartial(turn.partial, turn.start))
            return None
        if scoring and self._wants_score(turn) and now >= turn.score_due_at:
            self._last_probe += 1
            turn.probe, turn.probe_asked_at = self._last_probe, now
            turn.score_due_at = now + self._settings.score_interval_ms * MS
            self._outputs.append(ScoreTurn(turn.probe, turn.start))
        if not turn.revision:
            if now >= self._words_due_at(turn):
                self._last_revision += 1
                turn.revision, turn.asked_at = self._last_revision, now
                final = now >= self.over_at(turn)
                self._outputs.append(Transcribe(turn.revision, turn.start, turn.stop, final))
        elif turn.transcript is None and now >= turn.asked_at + self._settings.transcribe_limit_ms * MS:
            return TranscriptFailed(turn.revision)
        return None
