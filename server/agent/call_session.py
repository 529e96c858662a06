"""One call in the agent process: carries the turn machine's decisions out and tells it what happened.

The machine decides who speaks, the dialogue decides what is said, this shell connects them to the models that hear,
the voice, the door and the records. It holds one timer and at most one reply, which may be prepared before it is
known that the caller is done: then nothing of it is heard and nothing takes effect until the machine commits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Literal, assert_never

from models.protocols import Priority
from server.agent.audio_history import AudioHistory
from server.agent.call_records import AnsweredTurn, CallRecords
from server.agent.hearing import Hearing
from server.agent.ledger import Speculation, TurnTimes
from server.agent.metered import Meter, MeteredDetector, MeteredModel, MeteredRecogniser, MeteredVoice
from server.agent.session_services import SessionServices
from server.agent.speech_output import SpeechOutput
from server.agent.trace_file import TraceFile
from server.agent.voice_activity import Judgement, window_samples
from server.dialogue.engine import Dialogue
from server.dialogue.replies import EffectStarts, EndCall, HandOff, Heard, Reply, Role, Say, ToolRan
from server.turns import messages as turn
from server.turns.endpointing import Expected
from server.turns.machine import MS, TurnMachine
from server.turns.segmenter import Segmenter, SegmentStart, SegmentStop
from sip import leg_protocol as leg

_REQUEST_TIMEOUT: Final = 408
"""What the door reports where nobody answered the transfer in time."""

_LAG_MS: Final = 400
"""Voice activity detection notices the end of speech at most so late."""

_log = logging.getLogger(__name__)


class CallSession:
    """One call."""

    def __init__(self, offer: leg.Offer, services: SessionServices, *, last_utterance_id: int = 0) -> None:
        self.offer = offer
        self.end_reason = ""
        self._services = services
        self._config = services.config
        self._meter = Meter(services.head_room, services.clock)
        talk = replace(services.dialogue, llm=MeteredModel(services.dialogue.llm, self._meter))
        self._dialogue = Dialogue(services.agent, talk, call_id=offer.call_id)
        self._machine = TurnMachine(self._config.turns, rate_hz=offer.rate_hz)
        self._trace = TraceFile(self._config.trace_directory, offer.call_id)
        self._trace.begin(self._config.turns, rate_hz=offer.rate_hz, last_turn=0)
        self._segmenter = Segmenter(
            self._config.turns, rate_hz=offer.rate_hz, window_samples=window_samples(offer.rate_hz)
        )
        self._history = AudioHistory(rate_hz=offer.rate_hz)
        detector = services.turn_detector
        self._hearing = Hearing(
            self._history,
            MeteredRecogniser(services.stt, self._meter),
            None if detector is None else MeteredDetector(detector, self._meter),
            hot_words=" ".join(services.agent.hot_words),
            call_id=offer.call_id,
            tell=self._tell,
        )
        self._output = SpeechOutput(
            offer.leg_id,
            rate_hz=offer.rate_hz,
            tts=MeteredVoice(services.tts, self._meter),
            phrases=services.phrases,
            voice=services.voice,
            send=services.send,
            clock=services.clock,
            on_audible=lambda number, content: self._tell(turn.ReplyAudible(number, content)),
            on_quiet=lambda number: self._tell(turn.ReplyQuiet(number)),
            on_done=self._reply_done,
            on_failure=self._voice_failed,
            first_utterance_id=last_utterance_id + 1,
        )
        self._records = CallRecords(services.journal, offer, on_turn=services.on_turn)
        self._reply_task: asyncio.Task[None] | None = None
        self._prefill_task: asyncio.Task[None] | None = None
        self._asides: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._turn = AnsweredTurn(0, recorded=True)
        self._committed = asyncio.Event()
        """The running reply may be heard and take effect."""
        self._speculation = Speculation()
        """Of the caller's turn that is going on; of what was dropped before."""
        self._wasted_ms: defaultdict[str, float] = defaultdict(float)
        self._ended_at = self._noticed_at = 0
        """When the caller's last audible sample came in, and when it was known to have been the last."""
        self._spoke_over_at: int | None = None
        """When the caller's first sound over the agent came in, until playout is paused."""
        self._load = turn.ModelLoad(speculation=True, partials=True)
        self._pending: Heard | None = None
        """What the caller said and nobody has answered, from before a takeover."""
        self._transfer_failure: Literal["refused", "timeout"] = "refused"
        self._started_at = services.clock()
        self._over = False

    # ── from the door ────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The call was accepted: open the record and greet."""
        self._records.started(self._services.door, self._services.agent)
        self._tell(turn.CallUp())

    def take_over(self, snapshot: dict[str, Any] | None, sequence: int) -> None:
        """Go on with a call whose agent is gone."""
        self._records.taken_over(sequence, restored=snapshot is not None)
        if snapshot is not None:
            self._dialogue.restore(snapshot["dialogue"])
            self._machine = TurnMachine(
                self._config.turns, rate_hz=self.offer.rate_hz, last_turn=snapshot["turn"]
            )
            self._trace.begin(self._config.turns, rate_hz=self.offer.rate_hz, last_turn=snapshot["turn"])
            if pending := snapshot.get("pending"):
                self._pending = Heard(pending["text"], pending["source"], pending["confidence"])
        self._tell(turn.CallUp(resumed=True))

    def hear(self, audio: leg.LegAudio, at: int) -> None:
        """Keep the caller's audio."""
        self._history.append(audio.offset, audio.pcm, at)

    def judge(self, judgement: Judgement) -> None:
        """Take in the verdict on one VAD window."""
        match self._segmenter.feed(judgement.offset, judgement.probability):
            case None:
                pass
            case SegmentStart(offset=offset):
                self._tell_load()
                self._spoke_over_at = self._history.heard_at(offset)
                self._tell(turn.SpeechStart(offset, self._spoke_over_at))
            case SegmentStop(offset=offset):
                self._tell_load()
                self._noticed_at, self._spoke_over_at = self._services.clock(), None
                lag = _LAG_MS * self.offer.rate_hz // 1000
                ended = self._history.last_audible(max(0, offset - lag), offset)
                self._ended_at = self._history.heard_at(ended)
                self._stop_prefill()
                # The lengths of silences are tuned from the end that voice activity detection tells.
                self._tell(turn.SpeechStop(offset, self._history.heard_at(offset)))

    def on_mark(self, mark: leg.Mark) -> None:
        """Take in a playout mark."""
        if mark.kind is leg.MarkKind.PAUSED and self._spoke_over_at is not None:
            self._turn.barge_in_ms = max(0, (mark.at_ns - self._spoke_over_at) // MS)
            self._spoke_over_at = None
        self._output.on_mark(mark)
        if mark.kind is leg.MarkKind.STARTED:
            self._tell_expectation(mark.utterance_id)

    def on_dtmf(self, digit: str) -> None:
        """Take in a key press."""
        self._tell(turn.KeyPress(digit))

    def on_hold(self, held: bool) -> None:
        """Take in a change of hold."""
        self._records.transition("hold", held=held)
        self._tell(turn.HoldChange(held))

    def on_transfer(self, progress: leg.TransferProgress) -> None:
        """Take in how a transfer goes. A final success is followed by the end of the leg."""
        self._records.transition("transfer", status=progress.status, final=progress.final)
        if progress.final and progress.status >= 300:
            self._transfer_failure = "timeout" if progress.status == _REQUEST_TIMEOUT else "refused"
            self._tell(turn.HandOffFailed())

    def on_ended(self, cause: leg.LegEndCause, statistics: dict[str, Any]) -> None:
        """The leg is gone: close the record."""
        self._tell(turn.LegGone())
        self._record_turn(interrupted=True)
        duration_ms = (self._services.clock() - self._started_at) // MS
        self._records.ended(cause, self.end_reason, statistics, duration_ms)
        self.stop()

    def stop(self) -> None:
        """Give up all work for this call."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._hearing.stop()
        for task in (*self._asides, self._reply_task, self._prefill_task):
            if task is not None:
                task.cancel()
        self._output.drop()
        self._trace.close()

    # ── the machine ──────────────────────────────────────────────────────────────────────────────

    def _tell(self, event: turn.TurnInput) -> None:
        if self._over:
            return
        if isinstance(event, turn.PartialReady) and event.text:
            self._prefill(event.text)
        now = self._services.clock()
        self._trace.input(event, now)
        self._machine.handle_input(event, now)
        self._pump()

    def _tell_load(self) -> None:
        """Tell the machine what the models have room for, where that has changed."""
        room, now = self._services.head_room, self._services.clock()
        load = turn.ModelLoad(room.allows(Priority.SPECULATIVE, now), room.allows(Priority.PARTIAL, now))
        if load != self._load:
            self._load = load
            self._tell(load)

    def _wake(self) -> None:
        if self._over:
            return
        now = self._services.clock()
        self._trace.input(None, now)
        self._machine.handle_timeout(now)
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
                self._start(AnsweredTurn(number), self._greet(resumed))
            case (
                turn.Transcribe() | turn.DropTranscript() | turn.TranscribePartial() | turn.DropPartial()
                | turn.ScoreTurn() | turn.DropScore()
            ):  # fmt: skip
                self._listen(output)
            case turn.StartReply():
                self._start_reply(output)
            case turn.CommitReply():
                self._commit_reply(output)
            case turn.CancelReply(reopen=reopen):
                self._cancel_reply(reopen=reopen)
            case turn.PausePlayout():
                self._services.send(leg.Pause(leg_id))
            case turn.ResumePlayout():
                self._services.send(leg.Resume(leg_id))
            case turn.StopPlayout():
                self._services.send(leg.Stop(leg_id))
            case turn.FillSilence():
                self._aside(self._say_all([self._services.agent.phrases.thinking], Role.FILLER))
            case turn.PromptSilence(turn=number):
                self._start(
                    AnsweredTurn(number), self._say_all([self._dialogue.silence_prompt()], Role.PROMPT)
                )
            case turn.SpeakHandOffFailure(turn=number):
                self._start(
                    AnsweredTurn(number), self._run(self._dialogue.transfer_failed(self._transfer_failure))
                )
            case turn.Farewell(turn=number, reason=reason):
                self._farewell(number, reason)
            case turn.HangUpNow():
                self._services.send(leg.Stop(leg_id))
                self._services.send(leg.HangUp(leg_id))
            case _:
                assert_never(output)

    def _listen(
        self,
        output: turn.Transcribe | turn.DropTranscript | turn.TranscribePartial | turn.DropPartial
        | turn.ScoreTurn | turn.DropScore,
    ) -> None:  # fmt: skip
        match output:
            case turn.Transcribe():
                self._hearing.transcribe(output)
            case turn.DropTranscript(revision=revision):
                self._hearing.drop("revision", revision)
            case turn.TranscribePartial():
                allowed = self._services.head_room.allows(Priority.PARTIAL, self._services.clock())
                self._hearing.transcribe_partial(output, allowed=allowed)
            case turn.DropPartial(partial=partial):
                self._hearing.drop("partial", partial)
            case turn.ScoreTurn():
                self._hearing.score(output)
            case turn.DropScore(probe=probe):
                self._hearing.drop("probe", probe)
            case _:
                assert_never(output)

    # ── while nobody waits ───────────────────────────────────────────────────────────────────────

    def _prefill(self, partial: str = "") -> None:
        """Have the embedded model read what is known already. vLLM caches prefixes by itself."""
        answering = self._reply_task is not None and not self._reply_task.done()
        if self._config.llm_adapter == "structured" and not answering:
            self._stop_prefill()
            self._prefill_task = asyncio.create_task(self._dialogue.prefill(partial))

    def _stop_prefill(self) -> None:
        if self._prefill_task is not None:
            self._prefill_task.cancel()
            self._prefill_task = None

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def _tell_expectation(self, utterance_id: int) -> None:
        """The words that ask for something begin to be heard: what the caller says now may answer them."""
        said = next((u for u in self._output.utterances() if u.utterance_id == utterance_id), None)
        if said is None:
            return
        question = said.text.rstrip(" \"'”’)").endswith("?")
        if question or self._output.is_last(utterance_id):
            expects = self._dialogue.expects()
            digits = expects.digits if expects.kind == "digits" else 0
            expected = Expected(digits=digits, brief=expects.kind == "yes_no")
            self._tell(turn.ReplyAsks(said.turn, expected, question))

    # ── replies ──────────────────────────────────────────────────────────────────────────────────

    def _start(self, told: AnsweredTurn, work: Coroutine[Any, Any, None], *, held: bool = False) -> None:
        """Begin a reply; ``work`` is the coroutine that says it. ``held``: nothing of it before a commit."""
        self._record_turn(interrupted=True)
        self._turn = told
        self._committed = asyncio.Event()
        if not held:
            self._committed.set()
        self._output.begin(told.number, held=held)
        self._reply_task = asyncio.create_task(
            self._guard(told.number, work, self._committed), name=f"reply-{told.number}"
        )

    def _start_reply(self, wanted: turn.StartReply) -> None:
        self._stop_prefill()
        told = AnsweredTurn(wanted.turn, heard=wanted.text, source=wanted.source, reopened=wanted.reopened)
        heard = Heard(wanted.text, wanted.source, wanted.confidence)
        silent_for_s = max(0, self._services.clock() - wanted.speech_stop_at) / 1e9
        if wanted.speculative:
            self._meter.take()
        else:
            self._time(told, wanted)
            self._snapshot(pending=heard)
        replies = self._respond(heard, silent_for_s=silent_for_s, speculative=wanted.speculative)
        self._start(told, replies, held=wanted.speculative)

    def _commit_reply(self, wanted: turn.CommitReply) -> None:
        """The caller is done: what was prepared is heard."""
        told = self._turn
        told.reopened = wanted.reopened
        self._speculation.hit = True
        self._time(told, wanted)
        self._dialogue.commit_turn()
        self._snapshot(pending=Heard(told.heard, told.source, wanted.confidence))
        self._committed.set()
        self._output.release()

    def _time(self, told: AnsweredTurn, wanted: turn.StartReply | turn.CommitReply) -> None:
        """The turn is over: keep its times, and what was prepared for it in vain."""
        if told.source == "speech":
            told.times = TurnTimes(
                self._ended_at or wanted.speech_stop_at,
                self._noticed_at,
                wanted.over_at,
                self._services.clock(),
            )
        self._speculation.wasted_ms = dict(self._wasted_ms)
        told.speculation, self._speculation = self._speculation, Speculation()
        self._wasted_ms.clear()

    async def _guard(self, number: int, work: Coroutine[Any, Any, None], committed: asyncio.Event) -> None:
        """The boundary of a call: whatever fails in a reply, the caller hears something sensible."""
        try:
            await work
        except Exception as error:
            _log.exception("reply_failed", extra={"error": type(error).__name__, "call": self.offer.call_id})
            await committed.wait()
            self._output.begin(number)
            await self._say_all([self._dialogue.farewell("llm_error")], Role.CONTENT)
            await self._hand_off(HandOff("llm_error"))
        await committed.wait()
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

    def _respond(
        self, heard: Heard, *, silent_for_s: float = 0.0, speculative: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Take the turn now, so that it can be committed or taken back before the first step of its answer."""
        return self._take_all(
            self._dialogue.respond(
                heard, now=self._services.today(), silent_for_s=silent_for_s, speculative=speculative
            )
        )

    async def _take_all(self, answer: AsyncGenerator[Reply, None]) -> None:
        async with aclosing(answer) as replies:
            async for reply in replies:
                await self._take(reply)

    async def _run(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            await self._take(reply)

    async def _take(self, reply: Reply) -> None:
        """Carry one item of a reply out; what takes effect waits until the turn is committed."""
        match reply:
            case Say(text=text, role=role, turn_class=turn_class, sources=sources, cacheable=cacheable):
                if role == Role.CONTENT:
                    self._turn.turn_class = turn_class
                self._turn.sources += [s for s in sources if s not in self._turn.sources]
                await self._output.say(text, role, cacheable)
            case HandOff():
                await self._committed.wait()
                await self._hand_off(reply)
            case EndCall():
                await self._committed.wait()
                self._turn.after = reply
                self._tell(turn.ReplyCloses(self._turn.number))
            case EffectStarts():
                await self._committed.wait()
                self._turn.effects += 1
                self._tell(turn.EffectStarted(self._turn.number))
            case ToolRan():
                self._records.tool_ran(self._turn.number, reply)
            case _:
                assert_never(reply)

    async def _hand_off(self, wanted: HandOff) -> None:
        """Transfer once everything was said; where nobody can be reached, say so and go on."""
        if self._services.handoff_target:
            self._turn.after = wanted
            self._tell(turn.ReplyCloses(self._turn.number))
            return
        self._records.transition("handoff_unconfigured", reason=wanted.reason)
        await self._run(self._dialogue.transfer_failed("unconfigured"))

    def _farewell(self, number: int, reason: turn.FarewellReason) -> None:
        words = self._dialogue.farewell(reason.value)
        self._start(AnsweredTurn(number), self._say_all([words], Role.CONTENT))
        self.end_reason = reason.value
        helpless = reason in (turn.FarewellReason.SPEECH, turn.FarewellReason.NO_REPLY)
        to_person = helpless and bool(self._services.handoff_target)
        self._turn.after = HandOff("llm_error") if to_person else EndCall("completed")

    def _cancel_reply(self, *, reopen: bool) -> None:
        if self._reply_task is not None:
            self._reply_task.cancel()
            self._reply_task = None
        self._output.settle(self._services.clock())
        if reopen and not self._turn.effects:
            self._dialogue.undo_turn()
            if self._committed.is_set() and self._output.heard():
                # A few words of it were heard before the caller went on with the same turn.
                self._record_turn(interrupted=True)
            self._turn.recorded = True
            self._speculation.misses += 1
            for kind, spent_ms in self._meter.take().items():
                self._wasted_ms[kind] += spent_ms
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
        match self._turn.after:
            case None:
                self._tell(turn.ReplyDone(number))
                self._prefill()
            case EndCall(reason=reason):
                self.end_reason = self.end_reason or reason
                self._services.send(leg.HangUp(self.offer.leg_id))
            case HandOff():
                self._services.send(leg.Transfer(self.offer.leg_id, self._services.handoff_target))
            case _:
                assert_never(self._turn.after)

    # ── records ──────────────────────────────────────────────────────────────────────────────────

    def _snapshot(self, *, pending: Heard | None) -> None:
        """Keep the conversation for an agent that takes over; what was said goes ahead of its answer.

        Nothing waits for the disk, so what was said in the last few milliseconds before a crash has to be said again.
        """
        self._records.snapshot(self._machine.turn, self._dialogue.snapshot(), pending)

    def _record_turn(self, *, interrupted: bool) -> None:
        self._records.turn(
            self._turn, self._output.heard(), self._output.utterances(), interrupted=interrupted
        )
