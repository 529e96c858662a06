"""The agent process: one connection to the door, one VAD batch a tick, one session a call."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any, assert_never

from models.protocols import LanguageModel, SpeechToText, TextToSpeech, VoiceActivityDetector
from server.agent.call_session import CallSession, SessionServices
from server.agent.config import AgentProcessConfig
from server.agent.control_client import ControlClient, ControlRequestFailed
from server.agent.journal import Journal
from server.agent.leg_client import LegClient
from server.agent.phrases import PhraseBook
from server.agent.pinned_model import PinnedModel, free_slot
from server.agent.voice_activity import VoiceActivity
from server.dialogue.agent_file import Agent
from server.dialogue.engine import Services, fixed_phrases
from server.dialogue.tools import open_tools
from sip import leg_protocol as leg

_RATE_HZ = 8000
_STATUS_S = 1.0
_REFUSE_RETRY_S = 10
_ONE_MOMENT = "One moment please, I'll be right with you."
"""Said by the door when the agent is gone."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessModels:
    """The models as this process reaches them."""

    vad: VoiceActivityDetector
    stt: SpeechToText
    tts: TextToSpeech
    llm: LanguageModel


class AgentProcess:
    """All calls of one agent process."""

    def __init__(self, config: AgentProcessConfig, agent: Agent, models: ProcessModels) -> None:
        self._config = config
        self._agent = agent
        self._models = models
        self._sessions: dict[int, CallSession] = {}
        self._slots: dict[int, int] = {}
        """Leg → slot of the language model."""
        self._voice_activity = VoiceActivity(models.vad)
        self._voice = config.voice or agent.voice
        self._phrases = PhraseBook(Path(config.phrase_directory), voice=self._voice, rate_hz=_RATE_HZ)
        self._control = ControlClient(config.control_socket, collection=config.knowledge_collection)
        self._journal = Journal(self._control)
        tools = open_tools(
            Path(config.agent_folder),
            agent.tools.module,
            Path(config.agent_database),
            today=_local_time().date(),
        )
        self._dialogue = Services(llm=models.llm, knowledge=self._control, tools=tools)
        self._latencies: defaultdict[str, list[int]] = defaultdict(list)
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._legs = LegClient(
            config.leg_socket,
            name=config.name,
            capacity=config.capacity,
            heartbeat_ms=config.heartbeat_ms,
            phrases=self._door_phrases,
            on_message=self._on_message,
            on_lost=self._on_door_lost,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    # ── life ─────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> None:
        """Do everything that can be done before a call: render the phrases. Raises ``ModelError``."""
        texts = [*fixed_phrases(self._agent), *self._door_texts().values()]
        await self._phrases.render(texts, self._models.tts)

    async def serve(self, stop: asyncio.Event) -> None:
        """Take calls until ``stop`` is set, then store what is left to store."""
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(self._journal.run()),
                group.create_task(self._legs.run()),
                group.create_task(self._report_status()),
            ]
            await stop.wait()
            # The door says goodbye to the callers; their ends still belong in the records.
            await self._journal.flush(2.0)
            for task in running:
                task.cancel()
        await self._control.aclose()

    def _door_phrases(self) -> list[leg.Phrase]:
        return [
            leg.Phrase(name, _RATE_HZ, pcm)
            for name, text in self._door_texts().items()
            if (pcm := self._phrases.get(text)) is not None
        ]

    def _door_texts(self) -> dict[str, str]:
        phrases = self._agent.phrases
        return {
            "one_moment": _ONE_MOMENT,
            "handing_over": phrases.handing_over,
            "shutting_down": phrases.shutdown_farewell,
        }

    # ── the door ─────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, message: leg.Message) -> None:
        match message:
            case leg.AudioBatch():
                self._on_audio(message)
            case leg.Offer():
                self._on_offer(message)
            case leg.Resync(legs=legs):
                self._spawn(self._take_over(legs))
            case leg.LegEnded(leg_id=leg_id, cause=cause, statistics=statistics):
                self._voice_activity.close(leg_id)
                self._slots.pop(leg_id, None)
                if session := self._sessions.pop(leg_id, None):
                    session.on_ended(cause, dataclasses.asdict(statistics))
            case leg.Mark() | leg.Dtmf() | leg.Hold() | leg.TransferProgress():
                self._on_leg_message(message)
            case leg.Hello() | leg.Heartbeat():
                pass
            case (
                leg.Accept() | leg.Refuse() | leg.Play() | leg.Pause() | leg.Resume() | leg.Stop()
                | leg.SendDtmf() | leg.Transfer() | leg.HangUp() | leg.Phrase() | leg.Capacity()
            ):  # fmt: skip
                _log.warning("agent_message_from_door", extra={"code": message.CODE})
            case _:
                assert_never(message)

    def _on_leg_message(self, message: leg.Mark | leg.Dtmf | leg.Hold | leg.TransferProgress) -> None:
        session = self._sessions.get(message.leg_id)
        if session is None:
            return
        match message:
            case leg.Mark():
                session.on_mark(message)
            case leg.Dtmf(digit=digit):
                session.on_dtmf(digit)
            case leg.Hold(held=held):
                session.on_hold(held)
            case leg.TransferProgress():
                session.on_transfer(message)
            case _:
                assert_never(message)

    def _on_audio(self, batch: leg.AudioBatch) -> None:
        """Keep all legs' audio, then judge all their windows in one run of the network."""
        for audio in batch.legs:
            if session := self._sessions.get(audio.leg_id):
                session.hear(audio, batch.sent_at_ns)
                self._voice_activity.feed(audio.leg_id, audio.offset, audio.pcm)
        for judgement in self._voice_activity.judge():
            if session := self._sessions.get(judgement.leg_id):
                session.judge(judgement)

    def _on_offer(self, offer: leg.Offer) -> None:
        refused = len(self._sessions) >= self._config.capacity
        if not self._journal.healthy and self._config.records_required:
            refused = True
            _log.error("call_refused_without_records", extra={"call": offer.call_id})
        if refused:
            self._legs.send(leg.Refuse(offer.leg_id, 503, _REFUSE_RETRY_S))
            return
        session = self._open(offer, offset=0, last_utterance_id=0)
        self._legs.send(leg.Accept(offer.leg_id))
        session.begin()

    def _open(self, offer: leg.Offer, *, offset: int, last_utterance_id: int) -> CallSession:
        slot = free_slot(self._slots.values(), self._config.llm_slots)
        self._slots[offer.leg_id] = slot
        pinned = PinnedModel(self._models.llm, slot)
        services = SessionServices(
            config=self._config,
            agent=self._agent,
            dialogue=dataclasses.replace(self._dialogue, llm=pinned),
            handoff_target=self._config.handoff_target or self._agent.handoff.target,
            voice=self._voice,
            stt=self._models.stt,
            tts=self._models.tts,
            phrases=self._phrases,
            journal=self._journal,
            send=self._legs.send,
            clock=time.monotonic_ns,
            today=_local_time,
            on_turn=self._count_turn,
        )
        session = CallSession(offer, services, last_utterance_id=last_utterance_id)
        self._sessions[offer.leg_id] = session
        self._voice_activity.open(offer.leg_id, offset)
        _log.info("call_opened", extra={"call": offer.call_id, "calls": len(self._sessions)})
        return session

    async def _take_over(self, legs: tuple[leg.ResyncedLeg, ...]) -> None:
        """Go on with the calls whose agent is gone: same words, same slots."""
        if not legs:
            return
        known: dict[str, dict[str, Any]] = {}
        try:
            known = {call["call_id"]: call for call in await self._control.open_calls()}
        except ControlRequestFailed:
            _log.exception("takeover_without_records")
        for resumed in legs:
            call = known.get(resumed.offer.call_id)
            session = self._open(resumed.offer, offset=resumed.offset, last_utterance_id=resumed.utterance_id)
            if call is None:
                session.take_over(None, 0)
            else:
                session.take_over(call["snapshot"], call["sequence"])

    def _on_door_lost(self) -> None:
        """The door is gone and its calls with it; it will be back with a new Hello."""
        for leg_id, session in list(self._sessions.items()):
            self._voice_activity.close(leg_id)
            session.on_ended(leg.LegEndCause.PROTOCOL_ERROR, {})
        self._sessions.clear()
        self._slots.clear()

    # ── metrics ──────────────────────────────────────────────────────────────────────────────────

    def _count_turn(self, turn_class: str, stages: dict[str, int], interrupted: bool) -> None:
        self._turns[turn_class] += 1
        if interrupted:
            self._turns["interrupted"] += 1
        for stage, value_ms in stages.items():
            self._latencies[stage].append(value_ms)

    async def _report_status(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_S)
            latencies, self._latencies = self._latencies, defaultdict(list)
            turns, self._turns = self._turns, defaultdict(int)
            status = {
                "process": "agent",
                "connected": self._legs.connected,
                "calls": len(self._sessions),
                "turns": dict(turns),
                "latencies_ms": dict(latencies),
            }
            try:
                await self._control.report_status(status)
            except ControlRequestFailed:
                _log.debug("status_not_taken")

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _local_time() -> datetime:
    return datetime.now().astimezone()
