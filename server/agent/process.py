"""The agent process: one connection to each door, one VAD batch a tick, one session a call."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, assert_never

from models.protocols import (
    EchoCanceller,
    LanguageModel,
    SpeechToText,
    TextToSpeech,
    TurnDetector,
    VoiceActivityDetector,
)
from server.agent.call_session import CallSession
from server.agent.config import AgentProcessConfig
from server.agent.control_client import ControlClient, ControlRequestFailed
from server.agent.echo_guard import EchoGuards
from server.agent.head_room import MODEL_KINDS, HeadRoom
from server.agent.journal import Journal
from server.agent.leg_client import LegClient
from server.agent.lexicon import Lexicon
from server.agent.phrases import PhraseBook
from server.agent.pinned_model import PinnedModel, free_slot
from server.agent.session_services import SessionServices
from server.agent.status_report import StatusReport
from server.agent.voice_activity import LegKey, VoiceActivity
from server.dialogue.agent_file import Agent
from server.dialogue.engine import Services, fixed_phrases
from server.dialogue.tools import open_tools
from sip import leg_protocol as leg

_RATES_HZ: Final = {"sip": (8000,), "websocket": (8000, 16000)}
"""Door → rates of its legs."""
_STATUS_S = 1.0
_REFUSE_RETRY_S = 10
_ONE_MOMENT = "One moment please, I'll be right with you."
"""Said by the door when the agent is gone."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessModels:
    """The models as this process reaches them."""

    vads: Mapping[int, VoiceActivityDetector]
    """Rate → detector."""
    stt: SpeechToText
    turn_detector: TurnDetector | None
    tts: TextToSpeech
    llm: LanguageModel
    make_echo_canceller: Callable[[int], EchoCanceller] | None = None
    """Rate → canceller of a leg; None where echo is not to be cancelled."""


def rates_of(config: AgentProcessConfig) -> list[int]:
    """Return the rates at which this process may have legs."""
    return sorted({rate for door in config.leg_sockets for rate in _RATES_HZ[door]})


class AgentProcess:
    """All calls of one agent process."""

    def __init__(self, config: AgentProcessConfig, agent: Agent, models: ProcessModels) -> None:
        self._config = config
        self._agent = agent
        self._models = models
        self._sessions: dict[LegKey, CallSession] = {}
        self._slots: dict[LegKey, int] = {}
        """Leg → slot of the language model."""
        self._voice_activity = VoiceActivity(models.vads)
        self._echo = EchoGuards(models.make_echo_canceller)
        self._voice = config.voice or agent.voice
        self._phrases = {
            rate: PhraseBook(
                Path(config.phrase_directory),
                voice=self._voice,
                rate_hz=rate,
                lexicon=Lexicon(agent.pronunciations),
            )
            for rate in rates_of(config)
        }
        self._control = ControlClient(config.control_socket, collection=config.knowledge_collection)
        self._journal = Journal(self._control)
        tools = open_tools(
            Path(config.agent_folder),
            agent.tools.module,
            Path(config.agent_database),
            today=_local_time().date(),
        )
        self._dialogue = Services(llm=models.llm, knowledge=self._control, tools=tools)
        self._head_room = HeadRoom(config.head_room, capacity=config.capacity)
        self._status = StatusReport()
        self._doors = {door: self._connection(door) for door in config.leg_sockets}
        self._tasks: set[asyncio.Task[None]] = set()

    def _connection(self, door: str) -> LegClient:
        return LegClient(
            self._config.leg_sockets[door],
            name=self._config.name,
            capacity=self._config.capacity,
            heartbeat_ms=self._config.heartbeat_ms,
            phrases=lambda: self._door_phrases(door),
            on_message=lambda message: self._on_message(door, message),
            on_lost=lambda: self._on_door_lost(door),
        )

    # ── life ─────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> None:
        """Do everything that can be done before a call: render the phrases. Raises ``ModelError``."""
        texts = [*fixed_phrases(self._agent), *self._door_texts().values()]
        for phrases in self._phrases.values():
            await phrases.render(texts, self._models.tts)

    async def serve(self, stop: asyncio.Event) -> None:
        """Take calls until ``stop`` is set, then store what is left to store."""
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(self._journal.run()),
                *(group.create_task(door.run()) for door in self._doors.values()),
                group.create_task(self._report_status()),
            ]
            await stop.wait()
            # The door says goodbye to the callers; their ends still belong in the records.
            await self._journal.flush(2.0)
            for task in running:
                task.cancel()
        await self._control.aclose()

    def _door_phrases(self, door: str) -> list[leg.Phrase]:
        return [
            leg.Phrase(name, rate, pcm)
            for rate in _RATES_HZ[door]
            for name, text in self._door_texts().items()
            if (pcm := self._phrases[rate].get(text)) is not None
        ]

    def _door_texts(self) -> dict[str, str]:
        phrases = self._agent.phrases
        return {
            "one_moment": _ONE_MOMENT,
            "handing_over": phrases.handing_over,
            "shutting_down": phrases.shutdown_farewell,
        }

    # ── the doors ────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, door: str, message: leg.Message) -> None:
        match message:
            case leg.AudioBatch():
                self._on_audio(door, message)
            case leg.Offer():
                self._on_offer(door, message)
            case leg.Resync(legs=legs):
                self._spawn(self._take_over(door, legs))
            case leg.LegEnded(leg_id=leg_id, cause=cause, statistics=statistics):
                self._voice_activity.close((door, leg_id))
                self._echo.close((door, leg_id))
                self._slots.pop((door, leg_id), None)
                if session := self._sessions.pop((door, leg_id), None):
                    session.on_ended(cause, dataclasses.asdict(statistics))
                self._count_calls()
            case leg.Mark() | leg.Dtmf() | leg.Hold() | leg.TransferProgress():
                self._on_leg_message(door, message)
            case leg.Hello() | leg.Heartbeat():
                pass
            case (
                leg.Accept() | leg.Refuse() | leg.Play() | leg.Pause() | leg.Resume() | leg.Stop()
                | leg.SendDtmf() | leg.Transfer() | leg.HangUp() | leg.Phrase() | leg.Capacity()
            ):  # fmt: skip
                _log.warning("agent_message_from_door", extra={"code": message.CODE})
            case _:
                assert_never(message)

    def _on_leg_message(
        self, door: str, message: leg.Mark | leg.Dtmf | leg.Hold | leg.TransferProgress
    ) -> None:
        session = self._sessions.get((door, message.leg_id))
        if session is None:
            return
        match message:
            case leg.Mark():
                self._echo.mark((door, message.leg_id), message)
                session.on_mark(message)
            case leg.Dtmf(digit=digit):
                session.on_dtmf(digit)
            case leg.Hold(held=held):
                session.on_hold(held)
            case leg.TransferProgress():
                session.on_transfer(message)
            case _:
                assert_never(message)

    def _on_audio(self, door: str, batch: leg.AudioBatch) -> None:
        """Keep all legs' audio, then judge all their windows in one run of the network for each rate."""
        for raw in batch.legs:
            key = door, raw.leg_id
            if session := self._sessions.get(key):
                audio = self._echo.hear(key, batch.tick, raw)
                if audio.pcm:
                    session.hear(audio, batch.sent_at_ns)
                    self._voice_activity.feed(key, audio.offset, audio.pcm)
        for judgement in self._voice_activity.judge():
            if session := self._sessions.get(judgement.leg):
                session.judge(self._echo.believe(judgement))

    def _on_offer(self, door: str, offer: leg.Offer) -> None:
        if reason := self._why_refuse():
            self._status.refused(reason)
            _log.warning("call_refused", extra={"call": offer.call_id, "reason": reason})
            self._doors[door].send(leg.Refuse(offer.leg_id, 503, _REFUSE_RETRY_S))
            return
        session = self._open(door, offer, offset=0, last_utterance_id=0)
        self._doors[door].send(leg.Accept(offer.leg_id))
        session.begin()

    def _why_refuse(self) -> str:
        """Return why no call can be taken now, or nothing."""
        if not self._journal.healthy and self._config.records_required:
            return "records"
        if len(self._sessions) >= self._config.capacity:
            return "busy"
        return "" if self._head_room.room(time.monotonic_ns()) else "head_room"

    def _open(self, door: str, offer: leg.Offer, *, offset: int, last_utterance_id: int) -> CallSession:
        key = door, offer.leg_id
        slot = free_slot(self._slots.values(), self._config.llm_slots)
        self._slots[key] = slot
        pinned = PinnedModel(self._models.llm, slot)
        services = SessionServices(
            config=self._config,
            door=door,
            agent=self._agent,
            dialogue=dataclasses.replace(self._dialogue, llm=pinned),
            handoff_target=self._config.handoff_target or self._agent.handoff.target,
            voice=self._voice,
            stt=self._models.stt,
            turn_detector=self._models.turn_detector,
            tts=self._models.tts,
            phrases=self._phrases[offer.rate_hz],
            journal=self._journal,
            send=self._echo.open(key, offer.rate_hz, self._doors[door].send),
            clock=time.monotonic_ns,
            today=_local_time,
            on_turn=self._count_turn,
            head_room=self._head_room,
        )
        session = CallSession(offer, services, last_utterance_id=last_utterance_id)
        self._sessions[key] = session
        self._count_calls()
        self._voice_activity.open(key, offset, rate_hz=offer.rate_hz)
        _log.info("call_opened", extra={"call": offer.call_id, "calls": len(self._sessions)})
        return session

    async def _take_over(self, door: str, legs: tuple[leg.ResyncedLeg, ...]) -> None:
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
            session = self._open(
                door, resumed.offer, offset=resumed.offset, last_utterance_id=resumed.utterance_id
            )
            if call is None:
                session.take_over(None, 0)
            else:
                session.take_over(call["snapshot"], call["sequence"])

    def _on_door_lost(self, door: str) -> None:
        """A door is gone and its calls with it; it will be back with a new Hello."""
        for key in [key for key in self._sessions if key[0] == door]:
            self._voice_activity.close(key)
            self._echo.close(key)
            self._slots.pop(key, None)
            self._sessions.pop(key).on_ended(leg.LegEndCause.PROTOCOL_ERROR, {})
        self._count_calls()

    # ── metrics ──────────────────────────────────────────────────────────────────────────────────

    def _count_calls(self) -> None:
        self._head_room.calls(len(self._sessions), time.monotonic_ns())

    def _count_turn(self, turn_class: str, stages: dict[str, int], interrupted: bool) -> None:
        wasted_ms = self._status.turn(turn_class, stages, interrupted)
        for kind in MODEL_KINDS:
            self._head_room.wasted(kind, wasted_ms.get(kind, 0.0), time.monotonic_ns())

    async def _report_status(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_S)
            status = {
                "process": "agent",
                "connected": all(door.connected for door in self._doors.values()),
                "calls": len(self._sessions),
                **self._status.take(self._head_room, time.monotonic_ns()),
            }
            # Said again and again, because a door that is back knows only what Hello said.
            for name, door in self._doors.items():
                there = sum(key[0] == name for key in self._sessions)
                door.send(leg.Capacity(there + status["head_room"]))
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
