"""One call in the agent process: carries the turn machine's decisions out and tells it what happened.

The machine decides who speaks, the dialogue decides what is said, this shell connects them to the
recogniser, the voice, the door and the records. It holds one timer, at most one transcription per
revision and at most one reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, assert_never

from models.errors import ModelError
from models.protocols import SpeechToText, TextToSpeech
from server.agent.audio_history import AudioHistory
from server.agent.config import AgentProcessConfig
from server.agent.head_room import HeadRoom
from server.agent.journal import Journal
from server.agent.ledger import ledger
from server.agent.phrases import PhraseBook
from server.agent.speech_output import SpeechOutput
from server.agent.voice_activity import Judgement, window_samples
from server.dialogue.agent_file import Agent
from server.dialogue.engine import Dialogue, Services
from server.dialogue.replies import EffectStarts, EndCall, HandOff, Heard, Reply, Role, Say, ToolRan
from server.turns import messages as turn
from server.turns.endpointing import required_silence_ms
from server.turns.machine import MS, TurnMachine
from server.turns.segmenter import Segmenter, SegmentStart
from sip import leg_protocol as leg

_REQUEST_TIMEOUT: Final = 408
"""What the door reports where nobody answered the transfer in time."""

_PAD_MS: Final = 160
"""Audio kept before and after speech: the recogniser needs the soft edges of words."""

_END_REASONS: Final = {
    leg.LegEndCause.REMOTE_HANGUP: "caller_hangup",
    leg.LegEndCause.CANCELLED: "caller_hangup",
    leg.LegEndCause.TRANSFERRED: "transferred",
    leg.LegEndCause.MEDIA_TIMEOUT: "media_timeout",
    leg.LegEndCause.AGENT_LOST: "agent_lost",
    leg.LegEndCause.SHUTDOWN: "shutdown",
    leg.LegEndCause.PROTOCOL_ERROR: "interrupted",
    leg.LegEndCause.LOCAL_HANGUP: "completed",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionServices:
    """What every call of a process shares."""

    config: AgentProcessConfig
    door: str
    """Where the call came in."""
    agent: Agent
    dialogue: Services
    handoff_target: str
    """Empty: nobody."""
    voice: str
    stt: SpeechToText
    tts: TextToSpeech
    phrases: PhraseBook
    journal: Journal
    send: Callable[[leg.AgentMessage], None]
    clock: Callable[[], int]
    """CLOCK_MONOTONIC in ns, the clock of the door's marks."""
    today: Callable[[], datetime]
    on_turn: Callable[[str, dict[str, int], bool], None]
    """Told of each finished turn: class, ledger, interrupted (for the metrics)."""
    head_room: HeadRoom
    """Told of all model work; says what must be left out."""


@dataclass(slots=True)
class _Turn:
    """The caller's turn being answered, until it is in the records."""

    number: int
    heard: str = ""
    source: Literal["speech", "dtmf"] = "speech"
    turn_class: str = "fixed"
    sources: list[str] = field(default_factory=list)
    speech_stop_at: int = 0
    silence_over_at: int = 0
    committed_at: int = 0
    after: HandOff | EndCall | None = None
    effects: int = 0
    recorded: bool = False


class CallSession:
    """One call."""

    def __init__(self, offer: leg.Offer, services: SessionServices, *, last_utterance_id: int = 0) -> None:
        self.offer = offer
        self.end_reason = ""
        self._services = services
        self._config = services.config
        self._dialogue = Dialogue(services.agent, services.dialogue, call_id=offer.call_id)
        self._machine = TurnMachine(self._config.turns, rate_hz=offer.rate_hz)
        self._segmenter = Segmenter(
            self._config.turns, rate_hz=offer.rate_hz, window_samples=window_samples(offer.rate_hz)
        )
        self._history = AudioHistory(rate_hz=offer.rate_hz)
        self._output = SpeechOutput(
            offer.leg_id,
            rate_hz=offer.rate_hz,
            tts=services.tts,
            phrases=services.phrases,
            voice=services.voice,
            send=services.send,
            clock=services.clock,
            on_audible=lambda number: self._tell(turn.ReplyAudible(number)),
            on_done=self._reply_done,
            on_failure=self._voice_failed,
            first_utterance_id=last_utterance_id + 1,
        )
        self._transcriptions: dict[int, asyncio.Task[None]] = {}
        self._reply_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._prefill_task: asyncio.Task[None] | None = None
        self._turn = _Turn(0, recorded=True)
        self._pending: Heard | None = None
        """What the caller said and nobody has answered, from before a takeover."""
        self._transfer_failure: Literal["refused", "timeout"] = "refused"
        self._started_at = services.clock()
        self._over = False

    # ── from the door ────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The call was accepted: open the record and greet."""
        offer = self.offer
        self._write(
            "call_started",
            door=self._services.door,
            agent_name=self._services.agent.name,
            agent_version=str(self._services.agent.version),
            caller=offer.caller,
            callee=offer.callee,
            facts=dict(offer.facts),
            codec=offer.facts.get("codec", ""),
        )
        self._tell(turn.CallUp())

    def take_over(self, snapshot: dict[str, Any] | None, sequence: int) -> None:
        """Go on with a call whose agent is gone."""
        self._services.journal.adopt(self.offer.call_id, sequence)
        if snapshot is not None:
            self._dialogue.restore(snapshot["dialogue"])
            self._machine = TurnMachine(
                self._config.turns, rate_hz=self.offer.rate_hz, last_turn=snapshot["turn"]
            )
            if pending := snapshot.get("pending"):
                self._pending = Heard(pending["text"], pending["source"], pending["confidence"])
        self._write("transition", name="takeover", detail={"restored": snapshot is not None})
        self._tell(turn.CallUp(resumed=True))

    def hear(self, audio: leg.LegAudio, at: int) -> None:
        """Keep the caller's audio."""
        self._history.append(audio.offset, audio.pcm, at)

    def judge(self, judgement: Judgement) -> None:
        """Take in the verdict on one VAD window."""
        event = self._segmenter.feed(judgement.offset, judgement.probability)
        if event is None:
            return
        if isinstance(event, SegmentStart):
            self._tell(turn.SpeechStart(event.offset))
        else:
            self._tell(turn.SpeechStop(event.offset, self._history.heard_at(event.offset)))

    def on_mark(self, mark: leg.Mark) -> None:
        """Take in a playout mark."""
        self._output.on_mark(mark)

    def on_dtmf(self, digit: str) -> None:
        """Take in a key press."""
        self._tell(turn.KeyPress(digit))

    def on_hold(self, held: bool) -> None:
        """Take in a change of hold."""
        self._write("transition", name="hold", detail={"held": held})
        self._tell(turn.HoldChange(held))

    def on_transfer(self, progress: leg.TransferProgress) -> None:
        """Take in how a transfer goes. A final success is followed by the end of the leg."""
        self._write(
            "transition", name="transfer", detail={"status": progress.status, "final": progress.final}
        )
        if progress.final and progress.status >= 300:
            self._transfer_failure = "timeout" if progress.status == _REQUEST_TIMEOUT else "refused"
            self._tell(turn.HandOffFailed())

    def on_ended(self, cause: leg.LegEndCause, statistics: dict[str, Any]) -> None:
        """The leg is gone: close the record."""
        self._tell(turn.LegGone())
        self._record_turn(interrupted=True)
        reason = self.end_reason or _END_REASONS[cause]
        if cause is leg.LegEndCause.REMOTE_HANGUP and self.end_reason == "completed":
            reason = "completed"
        elif cause is not leg.LegEndCause.LOCAL_HANGUP:
            reason = _END_REASONS[cause]
        duration_ms = (self._services.clock() - self._started_at) // MS
        self._write("call_ended", end_reason=reason, statistics=statistics, duration_ms=duration_ms)
        self.stop()

    def stop(self) -> None:
        """Give up all work for this call."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (*self._transcriptions.values(), self._reply_task, self._prefill_task):
            if task is not None:
                task.cancel()
        self._output.drop()

    # ── the machine ──────────────────────────────────────────────────────────────────────────────

    def _tell(self, event: turn.TurnInput) -> None:
        if not self._over:
            self._machine.handle_input(event, self._services.clock())
            self._pump()

    def _wake(self) -> None:
        if not self._over:
            self._machine.handle_timeout(self._services.clock())
            self._pump()

    def _pump(self) -> None:
        """Do what the machine asks, then set the one timer."""
        while outputs := self._machine.outputs():
            for output in outputs:
                self._perform(output)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._machine.deadline()
        if deadline is not None:
            delay_s = max(0, deadline - self._services.clock()) / 1e9
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _perform(self, output: turn.TurnOutput) -> None:
        leg_id = self.offer.leg_id
        match output:
            case turn.Greet(turn=number, resumed=resumed):
                self._start(number, self._greet(resumed))
            case turn.Transcribe():
                task = asyncio.create_task(self._transcribe(output))
                self._transcriptions[output.revision] = task
                task.add_done_callback(lambda _: self._transcriptions.pop(output.revision, None))
            case turn.DropTranscript(revision=revision):
                if task_ := self._transcriptions.pop(revision, None):
                    task_.cancel()
            case turn.StartReply():
                self._start_reply(output)
            case turn.CancelReply(reopen=reopen):
                self._cancel_reply(reopen=reopen)
            case turn.PausePlayout():
                self._services.send(leg.Pause(leg_id))
            case turn.ResumePlayout():
                self._services.send(leg.Resume(leg_id))
            case turn.StopPlayout():
                self._services.send(leg.Stop(leg_id))
            case turn.PromptSilence(turn=number):
                self._start(number, self._say_all([self._dialogue.silence_prompt()], Role.PROMPT))
            case turn.SpeakHandOffFailure(turn=number):
                self._start(number, self._run(self._dialogue.transfer_failed(self._transfer_failure)))
            case turn.Farewell(turn=number, reason=reason):
                self._farewell(number, reason)
            case turn.HangUpNow():
                self._services.send(leg.Stop(leg_id))
                self._services.send(leg.HangUp(leg_id))
            case _:
                assert_never(output)

    # ── speech in ────────────────────────────────────────────────────────────────────────────────

    async def _transcribe(self, wanted: turn.Transcribe) -> None:
        pad = _PAD_MS * self.offer.rate_hz // 1000
        pcm = self._history.slice(wanted.start - pad, wanted.stop + pad)
        try:
            transcript = await self._services.stt.transcribe(
                pcm, self.offer.rate_hz, hot_words=" ".join(self._services.agent.hot_words)
            )
        except ModelError as error:
            _log.warning("stt_failed", extra={"error": type(error).__name__, "call": self.offer.call_id})
            self._tell(turn.TranscriptFailed(wanted.revision))
        else:
            self._tell(turn.TranscriptReady(wanted.revision, transcript.text, transcript.confidence))

    # ── replies ──────────────────────────────────────────────────────────────────────────────────

    def _start(self, number: int, work: Coroutine[Any, Any, None], *, told: _Turn | None = None) -> None:
        """Begin reply ``number``; ``work`` is the coroutine that says it."""
        self._record_turn(interrupted=True)
        self._turn = told or _Turn(number, committed_at=self._services.clock())
        self._output.begin(number)
        self._reply_task = asyncio.create_task(self._guard(number, work), name=f"reply-{number}")

    def _start_reply(self, wanted: turn.StartReply) -> None:
        required = required_silence_ms(wanted.text, self._config.turns) * MS
        told = _Turn(
            wanted.turn,
            heard=wanted.text,
            source=wanted.source,
            speech_stop_at=wanted.speech_stop_at,
            silence_over_at=wanted.speech_stop_at + required,
            committed_at=self._services.clock(),
        )
        if self._prefill_task is not None:
            self._prefill_task.cancel()
        heard = Heard(wanted.text, wanted.source, wanted.confidence)
        # What was said goes to the records ahead of its answer: an agent that takes over answers it. Nothing waits
        # for the disk, so what was said in the last few milliseconds before a crash has to be said again.
        self._snapshot(pending=heard)
        self._start(wanted.turn, self._respond(heard), told=told)

    async def _guard(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        """The boundary of a call: whatever fails in a reply, the caller hears something sensible."""
        try:
            await work
        except Exception as error:
            _log.exception("reply_failed", extra={"error": type(error).__name__, "call": self.offer.call_id})
            self._output.begin(number)
            await self._say_all([self._dialogue.farewell("llm_error")], Role.CONTENT)
            await self._hand_off(HandOff("llm_error"))
        self._output.close()

    async def _greet(self, resumed: bool) -> None:
        if not resumed:
            await self._say_all([self._dialogue.greeting()], Role.CONTENT)
        elif self._pending is not None:
            pending, self._pending = self._pending, None
            await self._say_all([self._services.agent.phrases.resume], Role.FILLER)
            self._turn.heard, self._turn.source = pending.text, pending.source
            await self._respond(pending)
        else:
            await self._say_all([self._dialogue.resume_line()], Role.CONTENT)

    async def _say_all(self, texts: list[str], role: Role) -> None:
        for text in texts:
            await self._output.say(text, role)

    async def _respond(self, heard: Heard) -> None:
        async with aclosing(self._dialogue.respond(heard, now=self._services.today())) as replies:
            async for reply in replies:
                await self._take(reply)

    async def _run(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            await self._take(reply)

    async def _take(self, reply: Reply) -> None:
        """Carry one item of a reply out."""
        match reply:
            case Say(text=text, role=role, turn_class=turn_class, sources=sources):
                if role == Role.CONTENT:
                    self._turn.turn_class = turn_class
                self._turn.sources += [s for s in sources if s not in self._turn.sources]
                await self._output.say(text, role)
            case HandOff():
                await self._hand_off(reply)
            case EndCall():
                self._turn.after = reply
                self._tell(turn.ReplyCloses(self._turn.number))
            case EffectStarts():
                self._turn.effects += 1
                self._tell(turn.EffectStarted(self._turn.number))
            case ToolRan():
                self._tool_ran(reply)
            case _:
                assert_never(reply)

    def _tool_ran(self, ran: ToolRan) -> None:
        self._write(
            "tool",
            turn=self._turn.number,
            tool=ran.tool,
            arguments=dict(ran.arguments),
            provenance={name: origin.to_json() for name, origin in ran.provenance.items()},
            idempotency_key=ran.idempotency_key,
            outcome=ran.outcome,
            result=dict(ran.result),
            duration_ms=ran.duration_ms,
        )

    async def _hand_off(self, wanted: HandOff) -> None:
        """Transfer once everything was said; where nobody can be reached, say so and go on."""
        if self._services.handoff_target:
            self._turn.after = wanted
            self._tell(turn.ReplyCloses(self._turn.number))
            return
        self._write("transition", name="handoff_unconfigured", detail={"reason": wanted.reason})
        await self._run(self._dialogue.transfer_failed("unconfigured"))

    def _farewell(self, number: int, reason: turn.FarewellReason) -> None:
        self._start(number, self._say_all([self._dialogue.farewell(reason.value)], Role.CONTENT))
        self.end_reason = reason.value
        helpless = reason in (turn.FarewellReason.SPEECH, turn.FarewellReason.NO_REPLY)
        to_person = helpless and bool(self._services.handoff_target)
        self._turn.after = HandOff("llm_error") if to_person else EndCall("completed")

    def _cancel_reply(self, *, reopen: bool) -> None:
        if self._reply_task is not None:
            self._reply_task.cancel()
        self._output.settle(self._services.clock())
        if reopen and not self._turn.effects:
            self._dialogue.undo_turn()
            self._turn.recorded = True
        else:
            self._dialogue.played(self._output.heard())
            self._record_turn(interrupted=True)
        self._output.drop()

    def _voice_failed(self, number: int) -> None:
        """No voice: the phrases rendered at start are all that can be said."""
        if number == self._machine.turn:
            if self._reply_task is not None:
                self._reply_task.cancel()
            self._tell(turn.ReplyCloses(number))
            self._farewell(number, turn.FarewellReason.SPEECH)

    def _reply_done(self, number: int) -> None:
        """All of a reply was played."""
        self._dialogue.played(self._output.heard())
        self._record_turn(interrupted=False)
        self._snapshot(pending=None)
        if self._config.llm_adapter == "structured":
            # vLLM caches prefixes by itself; an embedded model is given the history while nobody waits for it.
            if self._prefill_task is not None:
                self._prefill_task.cancel()
            self._prefill_task = asyncio.create_task(self._dialogue.prefill())
        match self._turn.after:
            case None:
                self._tell(turn.ReplyDone(number))
            case EndCall(reason=reason):
                self.end_reason = self.end_reason or reason
                self._services.send(leg.HangUp(self.offer.leg_id))
            case HandOff():
                self._services.send(leg.Transfer(self.offer.leg_id, self._services.handoff_target))
            case _:
                assert_never(self._turn.after)

    # ── records ──────────────────────────────────────────────────────────────────────────────────

    def _write(self, op: str, **fields: Any) -> None:
        self._services.journal.write(self.offer.call_id, op, fields)

    def _snapshot(self, *, pending: Heard | None) -> None:
        waiting = None
        if pending is not None:
            waiting = {"text": pending.text, "source": pending.source, "confidence": pending.confidence}
        self._write(
            "snapshot",
            state={
                "version": 1,
                "turn": self._machine.turn,
                "dialogue": self._dialogue.snapshot(),
                "pending": waiting,
            },
        )

    def _record_turn(self, *, interrupted: bool) -> None:
        """Write the running turn's record, once."""
        told = self._turn
        if told.recorded:
            return
        told.recorded = True
        stages: dict[str, int] = {}
        if told.speech_stop_at and told.source == "speech":
            stages = ledger(
                speech_stop_at=told.speech_stop_at,
                silence_over_at=told.silence_over_at,
                committed_at=told.committed_at,
                utterances=self._output.utterances(),
            )
        self._write(
            "turn",
            turn=told.number,
            revision=0,
            heard=told.heard,
            said=self._output.heard(),
            turn_class=told.turn_class,
            interrupted=interrupted,
            sources=told.sources,
            ledger=stages,
        )
        self._services.on_turn(told.turn_class, stages, interrupted)
