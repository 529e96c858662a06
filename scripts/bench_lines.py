"""What the benchmarks' callers say, as audio made before anything is measured.

Lines come from the recordings of ``tests/data/caller`` where there is one, else from Piper, and are kept, so that every
run and every agent hears the same samples. Some hold a pause of the kind people make: it is put where the voice is
quietest near a comma, so that the melody before it is that of a sentence which goes on, and filled with faint noise.
"""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from models.protocols import TextToSpeech
from scripts.bench_statistics import OUT
from scripts.caller import RATE_HZ as TELEPHONE_HZ
from scripts.caller import trim
from server.agent.phrases import synthesise_whole
from tests.e2e import caller_lines

RATE_HZ: Final = 16_000
_NOISE_DBFS: Final = -62.0
_EDGE: Final = 0.25
"""Share of a line at either end in which no pause is put."""
_FRAME: Final = RATE_HZ // 50


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say. ``pause_ms`` of faint noise lie where the comma is; 0: said in one go."""

    text: str
    pause_ms: int = 0

    @property
    def name(self) -> str:
        """Words for a progress line."""
        return self.text + (f" (pause of {self.pause_ms} ms)" if self.pause_ms else "")


def insert_pause(pcm: bytes, pause_ms: int, *, rate_hz: int = RATE_HZ, seed: int = 0) -> bytes:
    """Put a pause of faint noise into the quietest 40 ms of a line's middle."""
    samples = np.frombuffer(pcm, "<i2").astype(np.int32)
    step = rate_hz // 50
    frames = len(samples) // step
    if frames < 8:
        return pcm
    energy = np.array(
        [np.mean(samples[i * step : (i + 1) * step].astype(np.float64) ** 2) for i in range(frames)]
    )
    first, last = max(1, int(frames * _EDGE)), max(2, int(frames * (1 - _EDGE)))
    pairs = energy[first:last] + energy[first + 1 : last + 1]
    cut = (first + int(np.argmin(pairs)) + 1) * step
    noise = _noise(pause_ms * rate_hz // 1000, seed)
    joined = np.concatenate([samples[:cut].astype(np.int16), noise, samples[cut:].astype(np.int16)])
    return joined.astype("<i2").tobytes()


def _noise(samples: int, seed: int) -> NDArray[np.int16]:
    random = np.random.default_rng(seed)
    level = 32768 * 10 ** (_NOISE_DBFS / 20)
    return np.asarray(random.normal(0.0, level, samples), np.int16)


def resample(pcm: bytes, rate_from_hz: int, rate_hz: int) -> bytes:
    """Return PCM16 at another rate."""
    if rate_from_hz == rate_hz:
        return pcm
    samples = np.frombuffer(pcm, "<i2")
    return np.asarray(soxr.resample(samples, rate_from_hz, rate_hz, quality="HQ"), "<i2").tobytes()


class Voices:
    """The lines as audio, at the rate that is asked for."""

    def __init__(self, tts: TextToSpeech, directory: Path = OUT / "voices") -> None:
        self._tts = tts
        self._directory = directory
        self._spoken: dict[Line, bytes] = {}

    async def prepare(self, lines: Iterable[Line]) -> None:
        """Make what is missing."""
        for line in dict.fromkeys(lines):
            if line not in self._spoken:
                whole = await self._whole(line.text)
                seed = int(hashlib.sha256(line.name.encode()).hexdigest()[:8], 16)
                self._spoken[line] = insert_pause(whole, line.pause_ms, seed=seed) if line.pause_ms else whole

    def pcm(self, line: Line, rate_hz: int) -> bytes:
        """Return a prepared line."""
        return resample(self._spoken[line], RATE_HZ, rate_hz)

    def milliseconds(self, line: Line) -> int:
        """Return how long a prepared line takes to say."""
        return len(self._spoken[line]) // 2 * 1000 // RATE_HZ

    async def _whole(self, text: str) -> bytes:
        if text in caller_lines.LINES:
            return resample(caller_lines.recorded(text), TELEPHONE_HZ, RATE_HZ)
        path = self._directory / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.wav"
        if not path.is_file():
            self._directory.mkdir(parents=True, exist_ok=True)
            pcm = trim(await synthesise_whole(self._tts, text, "", RATE_HZ))
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE_HZ)
                file.writeframes(pcm)
        with wave.open(str(path)) as file:
            frames: bytes = file.readframes(file.getnframes())
        return frames


TURNS: Final = (
    # fixed
    Line("Are you a machine?"),
    Line("Thank you very much."),
    Line("Can you tell me a little about the clinic?"),
    Line("I have a terrible headache."),
    Line("What should I take for a cough?"),
    # tool
    Line("What are your hours on Saturday?"),
    Line("When do you close on Friday?"),
    Line("Are you open on Sunday?"),
    Line("Hello, I wanted to ask, what are your hours on Monday?", 400),
    Line("Are you open, say, on Tuesday?", 350),
    # a slow tool with its filler
    Line("How long is the waiting time today?"),
    Line("What is the waiting time, please?"),
    # grounded
    Line("Where can I park?"),
    Line("Do I need to fast before a blood test?"),
    Line("Do you take Blue Cross?"),
    Line("What should I bring to my first visit?"),
    Line("How do I get a refund?"),
    Line("Tell me, please, where can I park my car?", 450),
    Line("If I want a blood test, do I have to fast before it?", 500),
    Line("When I come for the first time, what should I bring?", 600),
    # plain
    Line("I am a little nervous about coming to see you."),
    Line("My mother used to come to you."),
    Line("I like your clinic a lot."),
    Line("It has been very cold this week."),
    Line("I have never been to a clinic like yours."),
    Line("My neighbour told me about you, she was very happy.", 400),
    Line("I moved here last month, from another town.", 500),
    Line("The weather is lovely, and I am in a good mood.", 300),
)
"""Every class of turn; which class a turn really took is read from its record."""

CONVERSATION: Final = (
    Line("I am a little nervous about coming to see you."),
    Line("My mother used to come to you."),
    Line("It has been very cold this week."),
    Line("My neighbour told me about you, she was very happy.", 400),
    Line("I moved here last month, from another town.", 500),
    Line("The weather is lovely, and I am in a good mood.", 300),
)
"""Plain talk, which every agent answers with the language model."""

QUESTIONS: Final = (
    Line("Where can I park?"),
    Line("What are your hours on Saturday?"),
    Line("Do you take Blue Cross?"),
    Line("If I want a blood test, do I have to fast before it?", 500),
)
"""Questions about the clinic; an agent without its documents answers them with the language model as well."""

INTERRUPTED: Final = Line("Can you tell me a little about the clinic?")
"""Brings a long answer."""
INTERRUPTIONS: Final = (
    Line("Sorry, are you open on Sunday?"),
    Line("Where can I park?"),
    Line("Excuse me, I have another question."),
    Line("Stop, please, where can I park?"),
)
