"""A telephone line with echo, in virtual time: the door's own playout, G.711 both ways, a late and dull echo, a guard.

What the tests and ``scripts.bench_echo`` share. The detector of speech and the segmenter are the product's; a start of
speech pauses playout as the turn machine would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.protocols import EchoCanceller, VoiceActivityDetector
from server.agent.echo_guard import EchoGuard
from server.agent.voice_activity import VoiceActivity
from server.turns.segmenter import Segmenter, SegmentStart
from server.turns.settings import TurnSettings
from sip import codecs
from sip.leg_protocol import LegAudio, Mark, Play
from sip.offer_answer import Codec
from sip.playout import Playout

RATE_HZ = 8000
FRAME = 160
TICK_NS = 20_000_000
_KEY = ("sip", 1)

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo path. The packets' own way (20 ms) comes on top of the delay."""

    gain_db: float
    delay_ms: float
    reverberation: float = 0.12
    """Standard deviation of the room's first reflections; 0 for a line without a room."""
    clip: float = 20_000.0
    """Level at which the loudspeaker bends (soft)."""

    def response(self, seed: int = 1) -> Samples:
        """Return the impulse response: 50 ms of decaying noise behind the direct path."""
        taps = np.zeros(400 if self.reverberation else 1)
        taps[0] = 1.0
        if self.reverberation:
            room = np.random.default_rng(seed).normal(0, self.reverberation, 399)
            taps[1:] = room * np.exp(-np.arange(1, 400) / 80)
        late = np.zeros(round(RATE_HZ * self.delay_ms / 1000))
        return np.concatenate((late, taps)) * 10 ** (self.gain_db / 20)


@dataclass(slots=True)
class Heard:
    """What a run showed. Times in ms since the agent's first sample."""

    starts_ms: list[float] = field(default_factory=list)
    """When speech was found (told to the turn machine)."""
    first_offset: int | None = None
    """Sample where the first speech found began."""
    raw: bytes = b""
    clean: bytes = b""
    sent: bytes = b""
    echo: bytes = b""
    """The echo alone, as it came in."""
    active_ms: float | None = None
    """When the canceller began."""
    guard_us: list[float] = field(default_factory=list)
    """CPU of the guard, a tick."""


def g711(pcm: bytes) -> bytes:
    """Return PCM16 as it is after PCMU."""
    return codecs.decode(Codec.PCMU, codecs.encode(Codec.PCMU, pcm))


class _Room:
    """Turns what was sent, tick by tick, into what comes back."""

    def __init__(self, echo: Echo | None) -> None:
        self._clip = echo.clip if echo is not None else 1.0
        self._taps = echo.response() if echo is not None else np.zeros(1)
        self._past = np.zeros(len(self._taps) - 1 + FRAME)

    def answer(self, sent: bytes) -> Samples:
        """Return the echo of the frame before, since a packet takes its own length to be heard."""
        loud = np.frombuffer(g711(sent), "<i2").astype(np.float64)
        bent = np.tanh(loud / self._clip) * self._clip
        line = np.concatenate((self._past, bent))
        self._past = line[FRAME:]
        echo: Samples = np.convolve(line[:-FRAME], self._taps, "valid")[-FRAME:]
        return echo


def run(
    agent: bytes,
    caller: bytes,
    *,
    echo: Echo | None,
    vad: VoiceActivityDetector,
    make_canceller: Callable[[int], EchoCanceller],
    caller_at_ms: int = 0,
    guarded: bool = True,
    closed: bool = True,
    noise: float = 4.0,
    seed: int = 1,
) -> Heard:
    """Play ``agent`` on the line while the caller says ``caller`` (PCM16, 8 kHz); ``closed``: speech pauses playout."""
    heard = Heard()
    guard = EchoGuard(RATE_HZ, make_canceller)
    playout, room = Playout(1, RATE_HZ), _Room(echo)
    activity = VoiceActivity({RATE_HZ: vad})
    activity.open(_KEY, 0, rate_hz=RATE_HZ)
    segmenter = Segmenter(TurnSettings(), rate_hz=RATE_HZ, window_samples=vad.window_samples)
    ticks = max(len(agent) // 2, caller_at_ms * 8 + len(caller) // 2) // FRAME + 40
    near = np.zeros(ticks * FRAME)
    speech = np.frombuffer(caller, "<i2")
    near[caller_at_ms * 8 : caller_at_ms * 8 + len(speech)] = speech
    near += np.random.default_rng(seed).normal(0, noise, len(near))
    playout.play(1, agent, True, 0)
    guard.play(Play(1, 1, agent, True))
    raw, clean, sent, alone = bytearray(), bytearray(), bytearray(), bytearray()
    for tick in range(ticks):
        now = tick * TICK_NS
        frame = playout.next_frame(FRAME, now) or bytes(2 * FRAME)
        returned = room.answer(frame)
        mixed = np.clip(near[tick * FRAME : (tick + 1) * FRAME] + returned, -32768, 32767)
        pcm = g711(mixed.astype("<i2").tobytes())
        audio = LegAudio(1, tick * FRAME, pcm, *playout.position)
        raw += pcm
        sent += frame
        alone += np.clip(returned, -32768, 32767).astype("<i2").tobytes()
        begun = time.process_time_ns()
        audio = _guarded(guard, tick, audio, playout.marks()) if guarded else audio
        spent = time.process_time_ns() - begun
        clean[2 * audio.offset :] = audio.pcm
        activity.feed(_KEY, audio.offset, audio.pcm)
        for judgement in activity.judge():
            begun = time.process_time_ns()
            probability = judgement.probability
            if guarded:
                probability = guard.believe(judgement.offset, probability)
            spent += time.process_time_ns() - begun
            event = segmenter.feed(judgement.offset, probability)
            if isinstance(event, SegmentStart):
                heard.starts_ms.append((tick + 1) * 20.0)
                if heard.first_offset is None:
                    heard.first_offset = event.offset
                if closed:
                    playout.pause(now)
        heard.guard_us.append(spent / 1000)
        if guard.active and heard.active_ms is None:
            heard.active_ms = (tick + 1) * 20.0
    heard.raw, heard.clean, heard.sent, heard.echo = bytes(raw), bytes(clean), bytes(sent), bytes(alone)
    return heard


def _guarded(guard: EchoGuard, tick: int, audio: LegAudio, marks: list[Mark]) -> LegAudio:
    for mark in marks:
        guard.mark(mark)
    return guard.hear(tick, audio)
