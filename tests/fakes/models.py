"""Scripted models that satisfy the Protocols of :mod:`models.protocols`, for the unit tests of everything else.

They know no clock: where a model would take time a test holds a gate (``asyncio.Event``) and opens it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.protocols import (
    ChatRequest,
    Priority,
    ReplyEnd,
    ReplyItem,
    SpeechChunk,
    TextDelta,
    ToolCall,
    Transcript,
    Usage,
    WordTiming,
)


@dataclass
class ScriptedVad:
    """Speech where the window is loud: probability 0.95 from ``threshold`` (RMS, 0 to 1) on, else 0.05."""

    threshold: float = 0.02
    window_samples: int = 256

    def initial_state(self) -> NDArray[np.float32]:
        """Return a state that counts windows."""
        return np.zeros(1, np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Judge every window by its loudness."""
        rms = np.sqrt(np.mean(np.square(windows), axis=1))
        return np.where(rms >= self.threshold, 0.95, 0.05).astype(np.float32), states + np.float32(1)


@dataclass(frozen=True)
class HeardAudio:
    """What a fake recogniser was handed."""

    pcm: bytes
    rate_hz: int
    priority: Priority
    hot_words: str


@dataclass
class ScriptedSpeechToText:
    """Answers with the next transcript of a script (the last one over and over), or raises it."""

    script: list[str | Transcript | ModelError] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Held until set, so that a test decides when the transcript arrives."""
    heard: list[HeardAudio] = field(default_factory=list)
    cancelled: int = 0

    async def transcribe(
        self, pcm: bytes, rate_hz: int, *, priority: Priority = Priority.FINAL, hot_words: str = ""
    ) -> Transcript:
        """Return the next scripted transcript."""
        self.heard.append(HeardAudio(pcm, rate_hz, priority, hot_words))
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        entry = self._next()
        if isinstance(entry, ModelError):
            raise entry
        if isinstance(entry, Transcript):
            return entry
        audio_ms = len(pcm) // 2 * 1000 // rate_hz
        return Transcript(entry, confidence=0.9, no_speech=0.02, audio_ms=audio_ms, inference_ms=1.0)

    def _next(self) -> str | Transcript | ModelError:
        if not self.script:
            return ""
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@dataclass
class ScriptedTextToSpeech:
    """Speaks a tone of ``ms_per_character`` a letter, in chunks of ``chunk_ms``."""

    rate_hz: int = 22050
    ms_per_character: int = 50
    chunk_ms: int = 200
    silence_ms: int = 0
    """Before the tone, as real voices have it."""
    aligned: bool = False
    """Tell where words end; each letter and space takes the same time."""
    gate: asyncio.Event | None = None
    failures: list[ModelError] = field(default_factory=list)
    """Raised one a call, before any audio."""
    spoken: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    async def synthesise(self, text: str, *, voice: str = "") -> AsyncIterator[SpeechChunk]:  # noqa: ARG002
        """Yield the tone; the last chunk is final."""
        self.spoken.append(text)
        if self.failures:
            raise self.failures.pop(0)
        silence = self.silence_ms * self.rate_hz // 1000
        samples = silence + max(1, len(text)) * self.ms_per_character * self.rate_hz // 1000
        words = self._words(text, silence) if self.aligned else ()
        step = self.chunk_ms * self.rate_hz // 1000
        done = False
        try:
            if self.gate is not None:
                await self.gate.wait()
            for start in range(0, samples, step):
                count = min(step, samples - start)
                phase = 2 * np.pi * 220 * np.arange(start, start + count) / self.rate_hz
                tone = 8000 * np.sin(phase) * (np.arange(start, start + count) >= silence)
                done = start + count >= samples
                yield SpeechChunk(
                    tone.astype("<i2").tobytes(), self.rate_hz, final=done, words=words if not start else ()
                )
        finally:
            if not done:
                self.cancelled.append(text)

    def _words(self, text: str, silence: int) -> tuple[WordTiming, ...]:
        each = self.ms_per_character * self.rate_hz / 1000
        return tuple(
            WordTiming(match[0], silence + round(match.end() * each)) for match in re.finditer(r"\S+", text)
        )


@dataclass
class HashEmbedder:
    """Unit vectors in which texts that share words are close: a bag of hashed words."""

    dimensions: int = 64
    failures: list[ModelError] = field(default_factory=list)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text."""
        if self.failures:
            raise self.failures.pop(0)
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"[a-z0-9]+", text.lower()) or [""]:
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimensions] += 1
            row /= np.linalg.norm(row)
        return rows


Script = str | ToolCall | ModelError | Sequence[str | ToolCall | ModelError]
"""One reply: words (spoken word by word), a tool call, an error, or several of them in order."""


@dataclass
class ScriptedLanguageModel:
    """Answers with the next reply of a script, or with what ``answer`` makes of the request."""

    script: list[Script] = field(default_factory=list)
    answer: Callable[[ChatRequest], Script] | None = None
    gate: asyncio.Event | None = None
    """Held before the first token until set."""
    requests: list[ChatRequest] = field(default_factory=list)
    cancelled: int = 0
    usage: Usage = field(default_factory=Usage)

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the next reply; an exhausted script is a mistake of the test."""
        self.requests.append(request)
        whole = False
        try:
            if self.gate is not None:
                await self.gate.wait()
            for item in _items(self._next(request)):
                if isinstance(item, ModelError):
                    whole = True
                    raise item
                yield item
            whole = True
            yield ReplyEnd(self.usage)
        finally:
            if not whole:
                self.cancelled += 1

    def _next(self, request: ChatRequest) -> Script:
        if self.answer is not None:
            return self.answer(request)
        assert self.script, "the language model's script is exhausted"
        return self.script.pop(0)


def tool_call(name: str, arguments: Mapping[str, object] | None = None, call_id: str = "call-1") -> ToolCall:
    """Return a tool call for a script."""
    return ToolCall(name, dict(arguments or {}), call_id)


def _items(script: Script) -> Iterable[TextDelta | ToolCall | ModelError]:
    entries = [script] if isinstance(script, str | ToolCall | ModelError) else script
    for entry in entries:
        if isinstance(entry, str):
            yield from (TextDelta(piece) for piece in re.findall(r"\S+\s*|\s+", entry))
        else:
            yield entry
