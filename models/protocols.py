"""What the models can do, as small Protocols; every implementation and every fake satisfies one.

Audio is PCM16 mono little endian unless a docstring says otherwise.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Priority(enum.IntEnum):
    """Order in which a busy worker serves; the last is shed first."""

    FINAL = 0
    SPECULATIVE = 1
    PARTIAL = 2


class VoiceActivityDetector(Protocol):
    """Speech probability of one window for every stream of a batch."""

    window_samples: int
    """256 at 8 kHz (32 ms)."""

    def initial_state(self) -> NDArray[np.float32]:
        """Return the state of a fresh stream, for the caller to keep."""
        ...

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map ``[B, window_samples]`` in [-1, 1] and stacked states to ``[B]`` and the next states."""
        ...


class EchoCanceller(Protocol):
    """Takes out of what one leg hears what was sent on it. Keeps the echo path it has learned."""

    frame_samples: int
    """80 at 8 kHz (10 ms)."""

    def cancel(self, capture: NDArray[np.int16], reference: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return ``capture`` cleaned; both have the same length, a multiple of ``frame_samples``.

        The echo of ``reference[n]`` may lie in ``capture[n]`` or up to some hundred milliseconds later, never earlier.
        """
        ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard."""

    text: str
    confidence: float
    """exp(mean token log probability), 0 to 1."""
    no_speech: float
    """Probability that there was no speech, 0 to 1."""
    audio_ms: int
    inference_ms: float
    waited_ms: float = 0.0
    """How long the request waited for others before it was run."""
    queued: int = 0
    """Requests that waited for the recogniser when this one was done."""


class SpeechToText(Protocol):
    """Transcribes one utterance."""

    async def transcribe(
        self, pcm: bytes, rate_hz: int, *, priority: Priority = Priority.FINAL, hot_words: str = ""
    ) -> Transcript:
        """Return the transcript of up to 30 s of audio. Cancelling the task frees the worker."""
        ...


class TurnDetector(Protocol):
    """Tells from the sound of a turn so far whether its speaker is done: melody, pace, hesitation."""

    async def score(self, pcm: bytes, rate_hz: int) -> float:
        """Return the probability, 0 to 1, that the turn is over. ``pcm`` ends now; its last 8 s count.

        Raises :class:`models.errors.ModelError`. Cancelling the task withdraws the request.
        """
        ...


@dataclass(frozen=True, slots=True)
class WordTiming:
    """Where one spoken word ends in its utterance, in samples at the chunk's rate from the utterance's start."""

    word: str
    end_sample: int


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of synthesised speech."""

    pcm: bytes
    rate_hz: int
    final: bool
    words: tuple[WordTiming, ...] = ()
    """Words that end in what was made so far and were not told before; empty where the voice has no alignment."""


class TextToSpeech(Protocol):
    """Speaks one clause or sentence."""

    def synthesise(self, text: str, *, voice: str = "") -> AsyncIterator[SpeechChunk]:
        """Yield audio as it is made; the last chunk is ``final``. Closing the iterator cancels."""
        ...


class Embedder(Protocol):
    """Text to unit vectors."""

    dimensions: int

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return ``[len(texts), dimensions]``, each row of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class ToolExample:
    """A caller's words and the arguments they make. Without ``arguments`` the agent should say ``reply`` instead."""

    caller: str
    arguments: Mapping[str, Any] | None = None
    reply: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the language model sees it. ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    examples: tuple[ToolExample, ...] = ()
    """One or two; a small model picks the right tool by them (11 of 12 instead of 4)."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """``role`` is system, user, assistant or tool."""

    role: str
    content: str
    tool_call_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model wants to have run; ``arguments`` are the model's, so far unproven."""

    name: str
    arguments: Mapping[str, Any]
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One reply asked of the language model."""

    messages: tuple[ChatMessage, ...]
    """The first is the system message; all but the last turn are byte-stable within a call."""
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 120
    temperature: float = 0.0
    slot: int = -1
    """Slot of an embedded server whose cache to use; -1 lets the server choose."""
    priority: Priority = Priority.FINAL
    """``PARTIAL`` only fills the cache; ``SPECULATIVE`` answers a turn that may not be over."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of what is to be spoken."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """Last item of a stream."""

    usage: Usage = field(default_factory=Usage)
    truncated: bool = False


ReplyItem = TextDelta | ToolCall | ReplyEnd


class LanguageModel(Protocol):
    """Streams one reply: words to speak, tool calls, and an end."""

    def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the reply. Closing the iterator cancels and frees the server's slot."""
        ...


@runtime_checkable
class Promotes(Protocol):
    """A language model whose speculative requests may become final while they wait or run."""

    def promote(self) -> None:
        """Treat every speculative request of this call as final from now on."""
        ...
