"""The turn machine: the one owner of who speaks in a call. Sans-I/O.

It is told what happened and when (``handle_input``, ``handle_timeout``), answers with what to do
(``outputs``) and when to be woken (``deadline``). Times are monotonic nanoseconds.

States follow the conversation, not the frames, because with silence suppression the frames stop::

    LISTENING ──speech──▶ CALLER_SPEAKING ──silence──▶ ENDPOINTING ──commit──▶ THINKING
        ▲                        ▲─────────speech──────────┘ ▲──speech (reopen)───┘ │
        │                                                                           ▼
        └───────────────────────────── reply played ──────────────────────────── SPEAKING
                                                        no words: resume ▲──────────┤ speech
                                    words: stop, commit ◀── PAUSED ──────┴──────────┘

A *segment* is the caller's speech since the turn opened; each pause in it makes a *revision* that is
transcribed before it is known whether the turn is over.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from server.turns.endpointing import required_silence_ms, words
from server.turns.messages import (
    CallUp,
    CancelReply,
    DropTranscript,
    EffectStarted,
    Farewell,
    FarewellReason,
    Greet,
    HandOffFailed,
    HangUpNow,
    HoldChange,
    KeyPress,
    LegGone,
    PausePlayout,
    PromptSilence,
    ReplyAudible,
    ReplyCloses,
    ReplyDone,
    ResumePlayout,
    SpeakHandOffFailure,
    SpeechStart,
    SpeechStop,
    StartReply,
    StopPlayout,
    Transcribe,
    TranscriptFailed,
    TranscriptReady,
    TurnInput,
    TurnOutput,
)
from server.turns.settings import TurnSettings

MS: Final = 1_000_000

_MUMBLE_MS: Final = 600
"""Speech at least this long without a word is answered ("I did not catch that"); shorter is a noise."""

_TRANSCRIPT_FAILURES_LIMIT: Final = 2


class State(enum.Enum):
    """Where the conversation is."""

    IDLE = "idle"
    LISTENING = "listening"
    CALLER_SPEAKING = "caller_speaking"
    ENDPOINTING = "endpointing"
    THINKING = "thinking"
    SPEAKING = "speaking"
    PAUSED = "paused"
    CLOSING = "closing"
    ENDED = "ended"


@dataclass(slots=True)
class _Segment:
    """The caller's speech since the turn opened."""

    start: int
    """Sample offset."""
    began_at: int
    stop: int | None = None
    """Sample offset where speech last ended; ``None`` while it goes on."""
    stopped_at: int = 0
    revision: int = 0
    """Revision asked for since the last stop; 0 for none yet."""
    asked_at: int = 0
    transcript: str | None = None
    confidence: float = 0.0


class TurnMachine:
    """One call's turn machine."""

    def __init__(self, settings: TurnSettings, *, rate_hz: int = 8000, last_turn: int = 0) -> None:
        self.state = State.IDLE
        self.turn = last_turn
        """Number of the running or last reply; the greeting is reply 1."""
        self._settings = settings
        self._rate_hz = rate_hz
        self._outputs: list[TurnOutput] = []
        self._segment: _Segment | None = None
        self._last_revision = 0
        self._transcript_failures = 0
        self._reply = _Reply()
        self._caller_turns = 0
        self._up_at = 0
        self._quiet_since = 0
        self._next_prompt_at = 0
        self._closing_since = 0
        self._digits = ""
        self._digit_at = 0
        self._held = False
        self._paused = False
        """Playout is paused: by speech over the agent, or by hold."""

    # ── the shape of a core ──────────────────────────────────────────────────────────────────────

    def outputs(self) -> list[TurnOutput]:
        """Return and forget what is to be done."""
        drained, self._outputs = self._outputs, []
        return drained

    def handle_input(self, event: TurnInput, now: int) -> None:
        """Take in what happened at ``now``."""
        if self.state is State.ENDED:
            return
        match event:
            case CallUp(resumed=resumed):
                self._call_up(resumed, now)
            case SpeechStart(offset=offset):
                self._speech_start(offset, now)
            case SpeechStop(offset=offset, at=at):
                self._speech_stop(offset, at, now)
            case TranscriptReady() | TranscriptFailed():
                self._transcript(event, now)
            case ReplyAudible() | EffectStarted() | ReplyDone() | ReplyCloses():
                self._reply_progress(event, now)
            case HandOffFailed():
                self._hand_off_failed(now)
            case KeyPress(digit=digit):
                self._key_press(digit, now)
            case HoldChange(held=held):
                self._hold(held, now)
            case LegGone():
                self._leg_gone()
            case _:
                assert_never(event)

    def deadline(self) -> int | None:
        """Return when :meth:`handle_timeout` has to be called, or ``None``."""
        return min(self._deadlines(), default=None)

    def handle_timeout(self, now: int) -> None:
        """Do what is due at ``now``."""
        if self.state in (State.IDLE, State.ENDED):
            return
        if self.state is State.CLOSING:
            if now >= self._closing_since + self._settings.closing_limit_ms * MS:
                self._outputs.append(HangUpNow())
                self._closing_since = now
            return
        if now >= self._up_at + self._settings.max_call_s * 1000 * MS:
            self._farewell(FarewellReason.DURATION, now)
            return
        if self._held:
            return
        if self._digits and now >= self._digit_at + self._settings.dtmf_gap_ms * MS:
            self._commit_digits(now)
            return
        self._state_timeout(now)

    # ── deadlines, state by state ────────────────────────────────────────────────────────────────

    def _deadlines(self) -> list[int]:
        settings = self._settings
        if self.state in (State.IDLE, State.ENDED):
            return []
        if self.state is State.CLOSING:
            return [self._closing_since + settings.closing_limit_ms * MS]
        due = [self._up_at + settings.max_call_s * 1000 * MS]
        if self._held:
            return due
        if self._digits:
            due.append(self._digit_at + settings.dtmf_gap_ms * MS)
        if self._segment is not None:
            due.append(self._segment_deadline(self._segment))
        if self.state is State.LISTENING:
            due += [self._next_prompt_at, self._quiet_since + settings.silence_farewell_ms * MS]
        if self.state is State.THINKING:
            due.append(self._reply.began_at + settings.reply_limit_ms * MS)
        return due

    def _segment_deadline(self, segment: _Segment) -> int:
        settings = self._settings
        if segment.stop is None:
            return segment.began_at + settings.utterance_limit_ms * MS
        if not segment.revision:
            return segment.stopped_at + settings.early_transcribe_ms * MS
        if segment.transcript is None:
            return segment.asked_at + settings.transcribe_limit_ms * MS
        return segment.stopped_at + required_silence_ms(segment.transcript, settings) * MS

    def _state_timeout(self, now: int) -> None:
        if self._segment is not None and now >= self._segment_deadline(self._segment):
            self._segment_timeout(self._segment, now)
        elif self.state is State.LISTENING:
            if now >= self._quiet_since + self._settings.silence_farewell_ms * MS:
                self._farewell(FarewellReason.SILENCE, now)
            elif now >= self._next_prompt_at:
                self._begin_reply(now, reopenable=False)
                self._reply.is_prompt = True
                self._outputs.append(PromptSilence(self.turn))
        elif (
            self.state is State.THINKING and now >= self._reply.began_at + self._settings.reply_limit_ms * MS
        ):
            self._farewell(FarewellReason.NO_REPLY, now)

    def _segment_timeout(self, segment: _Segment, now: int) -> None:
        if segment.stop is None:
            # Whoever speaks longer than the recogniser takes is answered on what was said so far.
            elapsed = (now - segment.began_at) // MS * self._rate_hz // 1000
            segment.stop, segment.stopped_at = segment.start + elapsed, now
            if self.state is State.CALLER_SPEAKING:
                self.state = State.ENDPOINTING
        if not segment.revision:
            self._ask_transcript(segment, now)
        elif segment.transcript is None:
            self._transcript(TranscriptFailed(segment.revision), now)
        else:
            self._endpoint(segment, now)

    # ── the caller ───────────────────────────────────────────────────────────────────────────────

    def _call_up(self, resumed: bool, now: int) -> None:
        if self.state is not State.IDLE:
            return
        self._up_at = now
        self._begin_reply(now, reopenable=False)
        self._outputs.append(Greet(self.turn, resumed))

    def _speech_start(self, offset: int, now: int) -> None:
        if self._held:
            return
        match self.state:
            case State.LISTENING:
                self._open_segment(offset, now)
                self.state = State.CALLER_SPEAKING
            case State.ENDPOINTING:
                self._go_on()
                self.state = State.CALLER_SPEAKING
            case State.THINKING:
                self._speech_while_thinking(offset, now)
            case State.SPEAKING:
                self._open_segment(offset, now)
                self._pause()
                self.state = State.PAUSED
            case State.PAUSED:
                self._go_on()
            case State.CALLER_SPEAKING | State.IDLE | State.CLOSING | State.ENDED:
                pass
            case _:
                assert_never(self.state)

    def _speech_while_thinking(self, offset: int, now: int) -> None:
        """Reopen the turn where nothing was done yet; else hold the reply back and listen."""
        if self._reply.reopenable and self._reply.segment is not None:
            self._outputs.append(CancelReply(self.turn, reopen=True))
            self._reply.running = False
            self._segment = self._reply.segment
            self._caller_turns -= 1
            self._go_on()
            self.state = State.CALLER_SPEAKING
        else:
            self._open_segment(offset, now)
            self._pause()
            self.state = State.PAUSED

    def _open_segment(self, offset: int, now: int) -> None:
        self._segment = _Segment(start=offset, began_at=now)

    def _go_on(self) -> None:
        """The caller speaks again within the segment: what was transcribed is out of date."""
        segment = self._segment
        assert segment is not None
        if segment.revision and segment.transcript is None:
            self._outputs.append(DropTranscript(segment.revision))
        segment.stop, segment.revision, segment.transcript = None, 0, None

    def _speech_stop(self, offset: int, at: int, now: int) -> None:
        segment = self._segment
        if segment is None or segment.stop is not None or self._held:
            return
        segment.stop, segment.stopped_at = max(offset, segment.start), min(at, now)
        if self.state is State.CALLER_SPEAKING:
            self.state = State.ENDPOINTING
        if now >= self._segment_deadline(segment):
            self._segment_timeout(segment, now)

    def _ask_transcript(self, segment: _Segment, now: int) -> None:
        assert segment.stop is not None
        self._last_revision += 1
        segment.revision, segment.asked_at = self._last_revision, now
        self._outputs.append(Transcribe(segment.revision, segment.start, segment.stop))

    def _transcript(self, event: TranscriptReady | TranscriptFailed, now: int) -> None:
        segment = self._segment
        if segment is None or segment.revision != event.revision or segment.transcript is not None:
            return
        if isinstance(event, TranscriptReady):
            self._transcript_failures = 0
            segment.transcript, segment.confidence = event.text, event.confidence
        else:
            self._transcript_failures += 1
            self._outputs.append(DropTranscript(event.revision))
            if self._transcript_failures >= _TRANSCRIPT_FAILURES_LIMIT:
                self._abandon_reply()
                self._farewell(FarewellReason.SPEECH, now)
                return
            segment.transcript = ""
        if now >= self._segment_deadline(segment):
            self._endpoint(segment, now)

    def _endpoint(self, segment: _Segment, now: int) -> None:
        """The caller's turn is over: answer it, or go back to what was before it if it held no words."""
        assert segment.stop is not None
        text = segment.transcript or ""
        self._segment = None
        if self.state is State.PAUSED:
            if not words(text):
                self._resume()
                self.state = State.SPEAKING if self._reply.audible else State.THINKING
                self._finish_if_done(now)
                return
            self._abandon_reply()
        elif not words(text) and (segment.stop - segment.start) * 1000 < _MUMBLE_MS * self._rate_hz:
            self._listen(now, since=self._quiet_since)
            return
        self._commit(text, "speech", segment, now)

    def _commit(
        self, text: str, source: Literal["speech", "dtmf"], segment: _Segment | None, now: int
    ) -> None:
        if self._caller_turns >= self._settings.max_turns:
            self._farewell(FarewellReason.TURNS, now)
            return
        self._caller_turns += 1
        self._begin_reply(now, reopenable=segment is not None, segment=segment)
        confidence = segment.confidence if segment else 1.0
        stopped_at = segment.stopped_at if segment else now
        self._outputs.append(StartReply(self.turn, text, source, confidence, stopped_at))

    # ── the agent ────────────────────────────────────────────────────────────────────────────────

    def _pause(self) -> None:
        self._outputs.append(PausePlayout())
        self._paused = True

    def _resume(self) -> None:
        if self._paused:
            self._outputs.append(ResumePlayout())
            self._paused = False

    def _begin_reply(self, now: int, *, reopenable: bool, segment: _Segment | None = None) -> None:
        self._resume()
        self.turn += 1
        self._reply = _Reply(running=True, began_at=now, reopenable=reopenable, segment=segment)
        self._segment = None
        self.state = State.THINKING

    def _abandon_reply(self) -> None:
        """Drop what is being said, if anything is."""
        if self._reply.running:
            self._outputs += [CancelReply(self.turn, reopen=False), StopPlayout()]
            self._reply.running = False
            self._paused = False

    def _reply_progress(
        self, event: ReplyAudible | EffectStarted | ReplyDone | ReplyCloses, now: int
    ) -> None:
        if event.turn != self.turn or not self._reply.running:
            return
        match event:
            case ReplyAudible():
                self._reply.audible, self._reply.reopenable = True, False
                if self.state is State.THINKING:
                    self.state = State.SPEAKING
            case EffectStarted():
                self._reply.reopenable = False
            case ReplyDone():
                self._reply.done = True
                self._finish_if_done(now)
            case ReplyCloses():
                self._resume()
                self._close(now)
            case _:
                assert_never(event)

    def _finish_if_done(self, now: int) -> None:
        if not self._reply.done or self.state is State.CLOSING:
            return
        if self.state is State.PAUSED:
            # Nothing is left to pause: what the caller says now is an ordinary turn.
            self._reply.running = False
            self._resume()
            assert self._segment is not None
            self.state = State.CALLER_SPEAKING if self._segment.stop is None else State.ENDPOINTING
            return
        self._reply.running = False
        self._listen(now, since=self._quiet_since if self._reply.is_prompt else now)

    def _listen(self, now: int, *, since: int) -> None:
        self.state = State.LISTENING
        self._quiet_since = since
        self._next_prompt_at = now + self._settings.silence_prompt_ms * MS

    def _farewell(self, reason: FarewellReason, now: int) -> None:
        self._abandon_reply()
        self._begin_reply(now, reopenable=False)
        self._close(now)
        self._outputs.append(Farewell(self.turn, reason))

    def _close(self, now: int) -> None:
        self._segment = None
        self._digits = ""
        self._closing_since = now
        self.state = State.CLOSING

    def _hand_off_failed(self, now: int) -> None:
        if self.state is not State.CLOSING:
            return
        self._begin_reply(now, reopenable=False)
        self._outputs.append(SpeakHandOffFailure(self.turn))

    # ── keys, hold, end ──────────────────────────────────────────────────────────────────────────

    def _key_press(self, digit: str, now: int) -> None:
        if self.state in (State.IDLE, State.CLOSING) or self._held:
            return
        if digit != "#":
            self._digits += digit
            self._digit_at = now
        if digit == "#" and self._digits:
            self._commit_digits(now)

    def _commit_digits(self, now: int) -> None:
        digits, self._digits = self._digits, ""
        if self._segment is not None and self._segment.revision and self._segment.transcript is None:
            self._outputs.append(DropTranscript(self._segment.revision))
        self._abandon_reply()
        self._commit(digits, "dtmf", None, now)

    def _hold(self, held: bool, now: int) -> None:
        if held == self._held:
            return
        self._held = held
        if held:
            self._pause()
            return
        self._segment = None
        self._resume()
        if self.state in (State.CALLER_SPEAKING, State.ENDPOINTING, State.LISTENING):
            self._listen(now, since=now)
        elif self.state is State.PAUSED:
            self.state = State.SPEAKING if self._reply.audible else State.THINKING
            self._finish_if_done(now)
        self._reply.began_at = now

    def _leg_gone(self) -> None:
        if self._reply.running:
            self._outputs.append(CancelReply(self.turn, reopen=False))
        if self._segment is not None and self._segment.revision and self._segment.transcript is None:
            self._outputs.append(DropTranscript(self._segment.revision))
        self._segment = None
        self.state = State.ENDED


@dataclass(slots=True)
class _Reply:
    """What the agent is saying or about to say."""

    running: bool = False
    began_at: int = 0
    reopenable: bool = False
    """Nothing was heard of it and nothing was done for it yet."""
    audible: bool = False
    done: bool = False
    is_prompt: bool = False
    segment: _Segment | None = None
    """The caller's speech that it answers, kept in case the turn is reopened."""
