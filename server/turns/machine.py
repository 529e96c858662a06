"""The turn machine: the one owner of who speaks in a call. Sans-I/O.

It is told what happened and when (``handle_input``, ``handle_timeout``), answers with what to do
(``outputs``) and when to be woken (``deadline``). Times are monotonic nanoseconds.

States follow the conversation, not the frames, because with silence suppression the frames stop::

    LISTENING ──speech──▶ CALLER_SPEAKING ──silence──▶ ENDPOINTING ──commit──▶ THINKING
        ▲                        ▲─────────speech──────────┘ ▲──speech (reopen)───┘ │
        │                                                                           ▼
        └───────────────────────────── reply played ──────────────────────────── SPEAKING
                          noise, "mm-hmm": resume ▲─────────────────────────────────┤ speech
                 words: stop, ENDPOINTING ◀── PAUSED ──────────────────────────────┘

While ENDPOINTING a reply may already be prepared (``StartReply(speculative=True)``): it is heard and takes effect
only after ``CommitReply``, and is dropped or used again when the caller goes on.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, assert_never

from server.turns.caller_turn import AgentReply, CallerTurn
from server.turns.endpointing import Expected
from server.turns.listener import MS, Listener
from server.turns.messages import (
    CallUp,
    CancelReply,
    CommitReply,
    EffectStarted,
    Farewell,
    FarewellReason,
    FillSilence,
    Greet,
    HandOffFailed,
    HangUpNow,
    HoldChange,
    KeyPress,
    LegGone,
    ModelLoad,
    PartialReady,
    PausePlayout,
    PromptSilence,
    ReplyAsks,
    ReplyAudible,
    ReplyCloses,
    ReplyDone,
    ReplyQuiet,
    ResumePlayout,
    SpeakHandOffFailure,
    SpeechStart,
    SpeechStop,
    StartReply,
    StopPlayout,
    TranscriptFailed,
    TranscriptReady,
    TurnInput,
    TurnOutput,
    TurnScored,
)
from server.turns.settings import TurnSettings
from server.turns.transcript_cues import is_acknowledgement, is_greeting, same_words, words

__all__ = ["MS", "State", "TurnMachine"]

_MUMBLE_MS: Final = 600
"""Speech at least this long without a word is answered ("I did not catch that"); shorter is a noise."""

_TRANSCRIPT_FAILURES_LIMIT: Final = 2
_INTERRUPTING_WORDS: Final = 2
"""Words of a partial transcript that are certainly an interruption: one may still be misheard."""


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


class TurnMachine:
    """One call's turn machine."""

    def __init__(self, settings: TurnSettings, *, rate_hz: int = 8000, last_turn: int = 0) -> None:
        """Raises ``ValueError`` where the settings name no known endpointing."""
        self.state = State.IDLE
        self.turn = last_turn
        """Number of the running or last reply; the greeting is reply 1."""
        self._settings = settings
        self._rate_hz = rate_hz
        self._outputs: list[TurnOutput] = []
        self._listener = Listener(settings, rate_hz=rate_hz, outputs=self._outputs)
        self._transcript_failures = 0
        self._reply = AgentReply()
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
        drained = self._outputs[:]
        self._outputs.clear()
        return drained

    def handle_input(self, event: TurnInput, now: int) -> None:
        """Take in what happened at ``now``."""
        if self.state is State.ENDED:
            return
        match event:
            case CallUp(resumed=resumed):
                self._call_up(resumed, now)
            case SpeechStart(offset=offset, at=at):
                self._speech_start(offset, at, now)
            case SpeechStop(offset=offset, at=at):
                self._speech_stop(offset, at, now)
            case TranscriptReady() | TranscriptFailed() | PartialReady() | TurnScored() | ModelLoad():
                self._models(event, now)
            case ReplyAudible() | ReplyQuiet() | ReplyAsks() | EffectStarted() | ReplyDone() | ReplyCloses():
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
        if (turn := self._listener.turn) is not None:
            self._listen_on(turn, now)
        if self.state in (State.LISTENING, State.THINKING, State.SPEAKING):
            self._waiting(now)

    # ── deadlines ────────────────────────────────────────────────────────────────────────────────

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
        if (turn := self._listener.turn) is not None:
            due.append(self._listener.deadline(turn, scoring=self.state is State.ENDPOINTING))
            if self._reply.speculative and turn.stop is None:
                due.append(turn.resumed_at + settings.speculation_keep_ms * MS)
            if self._may_speculate(turn):
                due.append(self._listener.speculate_at(turn))
        if self.state is State.LISTENING:
            due += [self._next_prompt_at, self._quiet_since + settings.silence_farewell_ms * MS]
        if self._is_waited_for():
            due += [self._dead_air_at(), self._reply.progress_at + settings.reply_limit_ms * MS]
        return due

    def _is_waited_for(self) -> bool:
        """Say whether the caller hears nothing because the agent works."""
        if self.state is State.SPEAKING:
            return self._reply.quiet_since is not None
        return self.state is State.THINKING

    def _dead_air_at(self) -> int:
        reply = self._reply
        since = max(reply.began_at, reply.filled_at, reply.quiet_since or 0)
        return since + self._settings.dead_air_ms * MS

    def _waiting(self, now: int) -> None:
        """Nobody speaks: ask a silent caller, or tell a waiting one that work goes on, within limits."""
        if self.state is State.LISTENING:
            if now >= self._quiet_since + self._settings.silence_farewell_ms * MS:
                self._farewell(FarewellReason.SILENCE, now)
            elif now >= self._next_prompt_at:
                self._begin_reply(now)
                self._reply.is_prompt = True
                self._outputs.append(PromptSilence(self.turn))
        elif self._is_waited_for():
            if now >= self._reply.progress_at + self._settings.reply_limit_ms * MS:
                self._farewell(FarewellReason.NO_REPLY, now)
            elif now >= self._dead_air_at():
                self._reply.filled_at = now
                self._outputs.append(FillSilence(self.turn))

    # ── the caller ───────────────────────────────────────────────────────────────────────────────

    def _call_up(self, resumed: bool, now: int) -> None:
        if self.state is not State.IDLE:
            return
        self._up_at = now
        self._begin_reply(now)
        self._reply.is_greeting = not resumed
        self._outputs.append(Greet(self.turn, resumed))

    def _speech_start(self, offset: int, at: int, now: int) -> None:
        if self._held:
            return
        match self.state:
            case State.LISTENING:
                self._listener.open(offset, now)
                self.state = State.CALLER_SPEAKING
            case State.ENDPOINTING:
                self._listener.go_on(offset, at, now)
                self.state = State.CALLER_SPEAKING
            case State.THINKING:
                self._speech_while_thinking(offset, at, now)
            case State.SPEAKING:
                self._speech_over_agent(offset, at, now)
            case State.PAUSED:
                turn = self._listener.turn
                if turn is not None and turn.stop is not None:
                    self._listener.go_on(offset, at, now)
            case State.CALLER_SPEAKING | State.IDLE | State.CLOSING | State.ENDED:
                pass
            case _:
                assert_never(self.state)

    def _speech_while_thinking(self, offset: int, at: int, now: int) -> None:
        """Reopen the turn where nothing was done yet; else hold the reply back and listen."""
        reply = self._reply
        if not reply.reopenable or reply.caller_turn is None:
            self._listener.open(offset, now)
            self._pause()
            self.state = State.PAUSED
            return
        self._outputs.append(CancelReply(self.turn, reopen=True))
        self._take_up_again(reply.caller_turn)
        self._listener.go_on(offset, at, now)
        self.state = State.CALLER_SPEAKING

    def _speech_over_agent(self, offset: int, at: int, now: int) -> None:
        """Be silent at once; whether it was an interruption, the words will tell."""
        reply = self._reply
        heard_ns = now - (reply.audible_at if reply.audible_at is not None else now)
        if (
            reply.reopenable
            and reply.caller_turn is not None
            and heard_ns <= self._settings.reopen_audible_ms * MS
        ):
            reply.caller_turn.extends = True
            self._listener.turn = reply.caller_turn
            self._listener.go_on(offset, at, now)
        else:
            self._listener.open(offset, now)
        self._pause()
        self.state = State.PAUSED

    def _take_up_again(self, turn: CallerTurn) -> None:
        """The turn that was answered goes on."""
        self._reply.running = False
        self._listener.expected = self._reply.expected_before
        self._caller_turns -= 1
        turn.extends = False
        self._listener.reopen(turn)

    def _speech_stop(self, offset: int, at: int, now: int) -> None:
        if self._held or not self._listener.stop(offset, at, now):
            return
        if self.state is State.CALLER_SPEAKING:
            self.state = State.ENDPOINTING
        turn = self._listener.turn
        assert turn is not None
        self._listen_on(turn, now)

    def _listen_on(self, turn: CallerTurn, now: int) -> None:
        """Ask the models what is due about the caller's turn, and act on what is known of it."""
        if turn.stop is None:
            if now >= turn.began_at + self._settings.utterance_limit_ms * MS:
                self._listener.cut(turn, now)
                if self.state is State.CALLER_SPEAKING:
                    self.state = State.ENDPOINTING
            elif self._reply.speculative and now >= turn.resumed_at + self._settings.speculation_keep_ms * MS:
                self._drop_speculation()
        failed = self._listener.ask(turn, now, scoring=self.state is State.ENDPOINTING)
        if failed is not None:
            self._models(failed, now)
        elif turn.stop is not None and turn.transcript is not None:
            self._words_known(turn, now)

    # ── what the models say ──────────────────────────────────────────────────────────────────────

    def _models(
        self, event: TranscriptReady | TranscriptFailed | PartialReady | TurnScored | ModelLoad, now: int
    ) -> None:
        match event:
            case TranscriptReady() | TranscriptFailed():
                if not self._listener.take_transcript(event):
                    return
                failed = isinstance(event, TranscriptFailed)
                self._transcript_failures = self._transcript_failures + 1 if failed else 0
                if self._transcript_failures >= _TRANSCRIPT_FAILURES_LIMIT:
                    self._farewell(FarewellReason.SPEECH, now)
                    return
            case PartialReady(text=text):
                if self._listener.take_partial(event, now) and self.state is State.PAUSED:
                    self._partial_over_agent(text)
                return
            case TurnScored():
                if not self._listener.take_score(event, now):
                    return
                self._ask_models(now)
            case ModelLoad(speculation=speculation, partials=partials):
                self._listener.speculation, self._listener.partials = speculation, partials
            case _:
                assert_never(event)
        turn = self._listener.turn
        if turn is not None and turn.transcript is not None and not self._held:
            self._words_known(turn, now)

    def _ask_models(self, now: int) -> None:
        """Ask for what waited for an answer that has come."""
        turn = self._listener.turn
        if turn is not None and turn.stop is not None and turn.transcript is None and not self._held:
            self._listener.ask(turn, now, scoring=self.state is State.ENDPOINTING)

    def _words_known(self, turn: CallerTurn, now: int) -> None:
        """The pause has its words: commit, prepare a reply, or go on waiting."""
        if self.state is State.PAUSED:
            self._judge_interruption(turn, now)
        if self.state is not State.ENDPOINTING:
            return
        text = turn.transcript or ""
        if self._reply.speculative and not same_words(self._reply.text, text):
            self._drop_speculation()
        if now >= self._listener.over_at(turn):
            self._endpoint(text, now)
        elif self._may_speculate(turn) and now >= self._listener.speculate_at(turn):
            self._begin_reply(now, answers=turn, text=text, speculative=True)
            self._outputs.append(
                StartReply(self.turn, text, "speech", turn.confidence, turn.stopped_at, speculative=True)
            )

    def _may_speculate(self, turn: CallerTurn) -> bool:
        return (
            self.state is State.ENDPOINTING
            and self._listener.speculation
            and not self._reply.speculative
            and bool(turn.transcript and words(turn.transcript))
            and self._caller_turns < self._settings.max_turns
        )

    def _judge_interruption(self, turn: CallerTurn, now: int) -> None:
        """Speech over the agent has its words: no interruption, the caller's turn, or more of the one before."""
        text, reply = turn.transcript or "", self._reply
        if turn.extends:
            meant = bool(words(text)) and not same_words(text, reply.text)
        elif is_acknowledgement(text):
            meant = reply.asks and bool(words(text))
        else:
            meant = not (reply.is_greeting and is_greeting(text))
        if not meant:
            self._listener.close()
            self._resume()
            self.state = State.SPEAKING if reply.audible_at is not None else State.THINKING
            self._finish_if_done(now)
            return
        self._interrupted(turn)
        self.state = State.ENDPOINTING
        turn.score_due_at = now
        self._listener.ask(turn, now, scoring=True)

    def _partial_over_agent(self, text: str) -> None:
        """Words enough for an interruption, while the caller still speaks: what was being said is over."""
        turn = self._listener.turn
        if turn is None or turn.stop is not None or turn.extends:
            return
        if len(words(text)) >= _INTERRUPTING_WORDS and not is_acknowledgement(text) and not is_greeting(text):
            self._interrupted(turn)
            self.state = State.CALLER_SPEAKING

    def _interrupted(self, turn: CallerTurn) -> None:
        """The caller takes the turn, or goes on with the last one."""
        if turn.extends and self._reply.running:
            self._outputs += [CancelReply(self.turn, reopen=True), StopPlayout()]
            self._paused = False
            self._take_up_again(turn)
        else:
            self._abandon_reply()

    # ── the turn is over ─────────────────────────────────────────────────────────────────────────

    def _endpoint(self, text: str, now: int) -> None:
        """Answer the caller's turn, or go back to listening where it held nothing."""
        turn = self._listener.close()
        assert turn is not None
        if not words(text) and turn.speech_samples * 1000 < _MUMBLE_MS * self._rate_hz:
            self._drop_speculation()
            self._listen(now, since=self._quiet_since)
            return
        self._commit(text, "speech", turn, now)

    def _commit(
        self, text: str, source: Literal["speech", "dtmf"], turn: CallerTurn | None, now: int
    ) -> None:
        if self._caller_turns >= self._settings.max_turns:
            self._farewell(FarewellReason.TURNS, now)
            return
        self._caller_turns += 1
        over_at = self._listener.over_at(turn) if turn is not None else now
        if self._reply.speculative and turn is not None:
            reply = self._reply
            reply.speculative, reply.began_at, reply.progress_at = False, now, now
            self._floor_taken(reply)
            self._outputs.append(
                CommitReply(self.turn, turn.confidence, turn.stopped_at, over_at, turn.reopened)
            )
            return
        self._begin_reply(now, answers=turn, text=text)
        confidence, stopped_at, reopened = (
            (turn.confidence, turn.stopped_at, turn.reopened) if turn else (1.0, now, 0)
        )
        self._outputs.append(
            StartReply(self.turn, text, source, confidence, stopped_at, over_at, reopened=reopened)
        )

    # ── the agent ────────────────────────────────────────────────────────────────────────────────

    def _pause(self) -> None:
        if not self._paused:
            self._outputs.append(PausePlayout())
            self._paused = True

    def _resume(self) -> None:
        if self._paused:
            self._outputs.append(ResumePlayout())
            self._paused = False

    def _begin_reply(
        self, now: int, *, answers: CallerTurn | None = None, text: str = "", speculative: bool = False
    ) -> None:
        self._resume()
        self.turn += 1
        self._reply = AgentReply(
            running=True,
            began_at=now,
            progress_at=now,
            speculative=speculative,
            text=text,
            caller_turn=answers,
            reopenable=answers is not None,
        )
        if not speculative:
            self._listener.close()
            self._floor_taken(self._reply)

    def _floor_taken(self, reply: AgentReply) -> None:
        """It is the agent's turn: what the last question expected is answered, or taken up again with the turn."""
        reply.expected_before, self._listener.expected = self._listener.expected, Expected()
        self.state = State.THINKING

    def _drop_speculation(self) -> None:
        if self._reply.speculative:
            self._outputs.append(CancelReply(self.turn, reopen=True))
            self._reply = AgentReply()

    def _abandon_reply(self) -> None:
        """Drop what is being said or prepared, if anything is."""
        self._drop_speculation()
        if self._reply.running:
            self._outputs += [CancelReply(self.turn, reopen=False), StopPlayout()]
            self._reply.running = False
            self._paused = False

    def _reply_progress(
        self,
        event: ReplyAudible | ReplyQuiet | ReplyAsks | EffectStarted | ReplyDone | ReplyCloses,
        now: int,
    ) -> None:
        reply = self._reply
        if event.turn != self.turn or not reply.running:
            return
        if reply.speculative:
            return
        match event:
            case ReplyAudible(content=content):
                reply.audible_at = now if reply.audible_at is None else reply.audible_at
                reply.quiet_since = None
                reply.progress_at = now if content else reply.progress_at
                if self.state is State.THINKING:
                    self.state = State.SPEAKING
            case ReplyQuiet():
                reply.quiet_since = now
            case ReplyAsks(expected=expected, question=question):
                reply.asks, self._listener.expected = question, expected
            case EffectStarted():
                reply.reopenable = False
                self._listener.begin_anew()
            case ReplyDone():
                reply.done = True
                self._finish_if_done(now)
            case ReplyCloses():
                self._resume()
                self._close(now)
            case _:
                assert_never(event)

    def _finish_if_done(self, now: int) -> None:
        if not self._reply.done or self.state is State.CLOSING:
            return
        self._reply.running = False
        if self.state is State.PAUSED:
            # Nothing is left to pause: what the caller says now is an ordinary turn.
            self._resume()
            turn = self._listener.turn
            assert turn is not None
            self._listener.begin_anew()
            self.state = State.CALLER_SPEAKING if turn.stop is None else State.ENDPOINTING
            return
        self._listen(now, since=self._quiet_since if self._reply.is_prompt else now)

    def _listen(self, now: int, *, since: int) -> None:
        self.state = State.LISTENING
        self._quiet_since = since
        self._next_prompt_at = now + self._settings.silence_prompt_ms * MS

    def _farewell(self, reason: FarewellReason, now: int) -> None:
        self._abandon_reply()
        self._begin_reply(now)
        self._close(now)
        self._outputs.append(Farewell(self.turn, reason))

    def _close(self, now: int) -> None:
        self._listener.close()
        self._digits = ""
        self._closing_since = now
        self.state = State.CLOSING

    def _hand_off_failed(self, now: int) -> None:
        if self.state is not State.CLOSING:
            return
        self._begin_reply(now)
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
        self._abandon_reply()
        self._commit(digits, "dtmf", None, now)

    def _hold(self, held: bool, now: int) -> None:
        if held == self._held:
            return
        self._held = held
        if held:
            self._drop_speculation()
            self._pause()
            return
        self._listener.close()
        self._resume()
        if self.state in (State.CALLER_SPEAKING, State.ENDPOINTING, State.LISTENING):
            self._listen(now, since=now)
        elif self.state is State.PAUSED:
            self.state = State.SPEAKING if self._reply.audible_at is not None else State.THINKING
            self._finish_if_done(now)
        self._reply.began_at = self._reply.progress_at = now

    def _leg_gone(self) -> None:
        self._drop_speculation()
        if self._reply.running:
            self._outputs.append(CancelReply(self.turn, reopen=False))
        self._listener.close()
        self.state = State.ENDED
