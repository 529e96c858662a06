"""A whole call in virtual time: the real session, turn machine, dialogue and playout over scripted models.

The caller's audio and the door's ticks come every 20 ms. Voice activity is judged by loudness, so a caller "speaks" a
tone. Models take the time that a test gives them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.protocols import Priority, Transcript
from server.agent.call_session import CallSession
from server.agent.config import AgentProcessConfig
from server.agent.head_room import HeadRoom, HeadRoomSettings
from server.agent.phrases import PhraseBook
from server.agent.session_services import SessionServices
from server.agent.voice_activity import VoiceActivity
from server.dialogue.agent_file import load_agent
from server.dialogue.engine import Services, fixed_phrases
from server.dialogue.knowledge import Passage
from server.dialogue.tools import open_tools
from server.turns.settings import TurnSettings
from sip import leg_protocol as leg
from sip.playout import Playout
from tests.fakes.dialogue import CLINIC, NOW, ScriptedKnowledge
from tests.fakes.models import ScriptedLanguageModel, ScriptedTextToSpeech, ScriptedVad

RATE_HZ = 8000
FRAME = 160
MS = 1_000_000
_TONE = (6000 * np.sin(2 * np.pi * 300 * np.arange(FRAME) / RATE_HZ)).astype("<i2").tobytes()
_QUIET = bytes(2 * FRAME)
LEG = ("sip", 1)


@dataclass
class TimedRecogniser:
    """Says ``text`` after ``takes_s``."""

    text: str = ""
    takes_s: float = 0.2
    asked: list[Priority] = field(default_factory=list)
    cancelled: int = 0

    async def transcribe(
        self, pcm: bytes, rate_hz: int, *, priority: Priority = Priority.FINAL, hot_words: str = ""
    ) -> Transcript:
        """Return what the caller is said to have said at the time of asking."""
        del hot_words
        self.asked.append(priority)
        text = self.text
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        audio_ms = len(pcm) // 2 * 1000 // rate_hz
        return Transcript(text, 0.9, 0.02, audio_ms, inference_ms=self.takes_s * 1000)


@dataclass
class TimedDetector:
    """Gives the next score of a list (the last one over and over) after ``takes_s``."""

    scores: list[float] = field(default_factory=lambda: [0.95])
    takes_s: float = 0.03
    asked: int = 0

    async def score(self, pcm: bytes, rate_hz: int) -> float:
        """Return the next score."""
        assert len(pcm) <= 2 * 8 * rate_hz
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        return self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]


class MemoryJournal:
    """Keeps what was written."""

    healthy = True

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def adopt(self, call_id: str, sequence: int) -> None:
        """Go on with a call."""

    def write(self, call_id: str, op: str, fields: Mapping[str, Any]) -> None:
        """Keep one operation."""
        self.rows.append({"op": op, "call_id": call_id, **fields})

    def of(self, op: str) -> list[dict[str, Any]]:
        """Return the operations of one kind."""
        return [row for row in self.rows if row["op"] == op]


class VirtualCall:
    """One call. Enter it with :func:`calling`."""

    def __init__(
        self,
        directory: Path,
        *,
        turns: TurnSettings,
        llm: ScriptedLanguageModel,
        passages: Sequence[Passage],
        traces: str = "",
    ) -> None:
        self.stt, self.detector = TimedRecogniser(), TimedDetector()
        self.tts = ScriptedTextToSpeech(rate_hz=RATE_HZ, ms_per_character=40, chunk_ms=500)
        self.llm = llm
        self.journal = MemoryJournal()
        self.playout = Playout(1, RATE_HZ)
        self.wire: list[tuple[int, bytes]] = []
        """(ns, frame) of everything with sound that was sent to the caller."""
        self.sent: list[leg.AgentMessage] = []
        self.speaking = False
        self._loop = asyncio.get_running_loop()
        self._vad = VoiceActivity({RATE_HZ: ScriptedVad()})
        self._vad.open(LEG, rate_hz=RATE_HZ)
        self._offset = 0
        self._config = AgentProcessConfig(
            name="agent", leg_sockets={}, control_socket="", speech_socket="", tts_socket="", vad_model="",
            agent_folder=str(CLINIC), agent_database=str(directory / "clinic.sqlite3"),
            phrase_directory=str(directory / "phrases"), llm_base_url="", llm_model="", turns=turns,
            trace_directory=traces,
        )  # fmt: skip
        self.agent = load_agent(CLINIC)
        self.phrases = PhraseBook(directory / "phrases", voice="", rate_hz=RATE_HZ)
        tools = open_tools(CLINIC, self.agent.tools.module, directory / "clinic.sqlite3", today=NOW.date())
        services = SessionServices(
            config=self._config, door="sip", agent=self.agent,
            dialogue=Services(llm, ScriptedKnowledge(passages), tools), handoff_target="", voice="",
            stt=self.stt, turn_detector=self.detector, tts=self.tts, phrases=self.phrases,
            journal=self.journal,  # type: ignore[arg-type]
            send=self._take, clock=self.now, today=lambda: NOW, on_turn=lambda *_: None,
            head_room=HeadRoom(HeadRoomSettings(), capacity=4),
        )  # fmt: skip
        offer = leg.Offer(1, "call-1", RATE_HZ, "sip:anna@example.org", "sip:clinic@example.org")
        self.session = CallSession(offer, services)

    def now(self) -> int:
        """Return the virtual clock in nanoseconds."""
        return round(self._loop.time() * 1e9)

    # ── the door ─────────────────────────────────────────────────────────────────────────────────

    def _take(self, message: leg.AgentMessage) -> None:
        self.sent.append(message)
        match message:
            case leg.Play(utterance_id=number, pcm=pcm, final=final):
                self.playout.play(number, pcm, final, self.now())
            case leg.Pause():
                self.playout.pause(self.now())
            case leg.Resume():
                self.playout.resume(self.now())
            case leg.Stop():
                self.playout.stop(self.now())
            case _:
                pass

    async def tick(self) -> None:
        """Let 20 ms pass as a door's tick does."""
        await asyncio.sleep(0.02)
        now = self.now()
        if (frame := self.playout.next_frame(FRAME, now)) is not None and any(frame):
            self.wire.append((now, frame))
        for mark in self.playout.marks():
            self.session.on_mark(mark)
        pcm = _TONE if self.speaking else _QUIET
        self.session.hear(leg.LegAudio(1, self._offset, pcm), now)
        self._vad.feed(LEG, self._offset, pcm)
        self._offset += FRAME
        for judgement in self._vad.judge():
            self.session.judge(judgement)

    async def wait(self, ms: int) -> None:
        """Let time pass."""
        for _ in range(ms // 20):
            await self.tick()

    async def say(self, text: str, ms: int = 800) -> int:
        """The caller says something; return when the last sample was heard (ns)."""
        self.stt.text, self.speaking = text, True
        await self.wait(ms)
        self.speaking = False
        return self.now()

    async def wait_for_sound(self, limit_ms: int = 10_000) -> int:
        """Return when the next frame with sound goes to the caller (ns)."""
        known = len(self.wire)
        for _ in range(limit_ms // 20):
            await self.tick()
            if len(self.wire) > known:
                return self.wire[-1][0]
        raise TimeoutError("the agent said nothing")

    async def wait_for_quiet(self, ms: int = 400) -> None:
        """Wait until the agent has been silent for so long."""
        for _ in range(3_000):
            await self.tick()
            if not self.wire or self.now() - self.wire[-1][0] >= ms * MS:
                return
        raise TimeoutError("the agent never stopped")

    def played(self) -> list[leg.Play]:
        """Return what was sent to the door to be heard."""
        return [message for message in self.sent if isinstance(message, leg.Play)]


@asynccontextmanager
async def calling(
    directory: Path,
    *,
    turns: TurnSettings | None = None,
    llm: ScriptedLanguageModel | None = None,
    passages: Sequence[Passage] = (),
    greeted: bool = True,
    trace: Path | None = None,
    **changed: Any,
) -> AsyncIterator[VirtualCall]:
    """Ring and (unless told otherwise) hear the greeting out."""
    settings = replace(turns or TurnSettings(), **changed)
    call = VirtualCall(
        directory,
        turns=settings,
        llm=llm or ScriptedLanguageModel(),
        passages=passages,
        traces=str(trace or ""),
    )
    await call.phrases.render(fixed_phrases(call.agent), call.tts)
    call.session.begin()
    try:
        if greeted:
            await call.wait_for_sound()
            await call.wait_for_quiet()
        yield call
    finally:
        call.session.on_ended(leg.LegEndCause.REMOTE_HANGUP, {})
        await asyncio.sleep(1)
