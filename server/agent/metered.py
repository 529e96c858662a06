"""What a call's model work costs: each piece is told to the process's head-room and summed for the turn's ledger.

Thin wrappers with the Protocols of what they wrap, so that neither session nor dialogue keeps books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from models.protocols import (
    ChatRequest,
    LanguageModel,
    Priority,
    Promotes,
    ReplyItem,
    SpeechChunk,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnDetector,
)
from server.agent.head_room import HeadRoom, ModelKind

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Meter:
    """Sums of one call, in milliseconds of model time by kind, until they are taken."""

    head_room: HeadRoom
    clock: Callable[[], int]
    _spent_ms: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def began(self, kind: ModelKind, priority: Priority) -> int:
        """Take in that work begins; return when."""
        now = self.clock()
        self.head_room.began(kind, priority, now)
        return now

    def ended(
        self, kind: ModelKind, priority: Priority, began: int, *, ran_ms: float | None, waited_ms: float = 0.0
    ) -> None:
        """Take in that it is over. ``ran_ms`` None: all of its time but ``waited_ms``."""
        now = self.clock()
        whole_ms = (now - began) / _NS_PER_MS
        ran_ms = max(0.0, whole_ms - waited_ms) if ran_ms is None else ran_ms
        self.head_room.ended(kind, priority, max(0.0, whole_ms - ran_ms), ran_ms, now)
        self._spent_ms[kind] += ran_ms

    def take(self) -> dict[str, float]:
        """Return and forget what was spent."""
        spent, self._spent_ms = dict(self._spent_ms), defaultdict(float)
        return spent


@dataclass(frozen=True, slots=True)
class MeteredRecogniser:
    """Satisfies :class:`models.protocols.SpeechToText`."""

    stt: SpeechToText
    meter: Meter

    async def transcribe(
        self, pcm: bytes, rate_hz: int, *, priority: Priority = Priority.FINAL, hot_words: str = ""
    ) -> Transcript:
        """Return the transcript; what was cancelled is counted with the time it had taken."""
        began, ran_ms, waited_ms = self.meter.began("stt", priority), None, 0.0
        try:
            transcript = await self.stt.transcribe(pcm, rate_hz, priority=priority, hot_words=hot_words)
            ran_ms, waited_ms = transcript.inference_ms, transcript.waited_ms
            return transcript
        finally:
            self.meter.ended("stt", priority, began, ran_ms=ran_ms, waited_ms=waited_ms)


@dataclass(frozen=True, slots=True)
class MeteredDetector:
    """Satisfies :class:`models.protocols.TurnDetector`."""

    detector: TurnDetector
    meter: Meter

    async def score(self, pcm: bytes, rate_hz: int) -> float:
        """Return the probability that the turn is over."""
        began = self.meter.began("turn", Priority.SPECULATIVE)
        try:
            return await self.detector.score(pcm, rate_hz)
        finally:
            self.meter.ended("turn", Priority.SPECULATIVE, began, ran_ms=None)


@dataclass(frozen=True, slots=True)
class MeteredModel:
    """Satisfies :class:`models.protocols.LanguageModel` and :class:`models.protocols.Promotes`."""

    llm: LanguageModel
    meter: Meter

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the reply."""
        began = self.meter.began("llm", request.priority)
        try:
            async with aclosing(self.llm.reply(request)) as items:
                async for item in items:
                    yield item
        finally:
            self.meter.ended("llm", request.priority, began, ran_ms=None)

    def promote(self) -> None:
        """Treat speculative requests as final from now on."""
        if isinstance(self.llm, Promotes):
            self.llm.promote()


@dataclass(frozen=True, slots=True)
class MeteredVoice:
    """Satisfies :class:`models.protocols.TextToSpeech`."""

    tts: TextToSpeech
    meter: Meter

    async def synthesise(self, text: str, *, voice: str = "") -> AsyncIterator[SpeechChunk]:
        """Yield audio as it is made; the time for which the reader holds a chunk is not the voice's."""
        began, held_ms = self.meter.began("tts", Priority.FINAL), 0.0
        chunks = self.tts.synthesise(text, voice=voice)
        try:
            async for chunk in chunks:
                handed = self.meter.clock()
                yield chunk
                held_ms += (self.meter.clock() - handed) / _NS_PER_MS
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
            self.meter.ended("tts", Priority.FINAL, began, ran_ms=None, waited_ms=held_ms)
