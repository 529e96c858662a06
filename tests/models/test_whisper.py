"""The real model: what callers say, and what it makes of sounds that nobody says."""

from __future__ import annotations

import difflib
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from models.log_mel import RATE_HZ
from models.model_store import verify
from models.transcript_guards import words_of
from models.whisper import ShortWhisper

CACHE = Path(os.environ.get("LANDLINE_CACHE_DIRECTORY", Path.home() / ".cache" / "landline")) / "models"
DATA = Path(__file__).parents[1] / "data" / "caller"
HOT_WORDS = "Doctor Baker, Miller, Kowalski, Riverside Clinic, physiotherapy"

Clip = NDArray[np.float32]


def caller(name: str) -> Clip:
    with wave.open(str(DATA / f"{name}.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.float32) / 32768
        return np.asarray(soxr.resample(samples, clip.getframerate(), RATE_HZ), np.float32)


def noise(samples: int, level: float = 0.1) -> Clip:
    return np.random.default_rng(samples).normal(0, level, samples).astype(np.float32)


@pytest.fixture(scope="module")
def whisper() -> ShortWhisper:
    return ShortWhisper(
        verify("whisper-base", CACHE), device="cpu", compute_type="int8", threads=1, language="en"
    )


def tone(hertz: float, seconds: float) -> Clip:
    return np.asarray(np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ), np.float32)


def white(level: float, seconds: float) -> Clip:
    return noise(int(seconds * RATE_HZ), level)


def pink(level: float, seconds: float) -> Clip:
    spectrum = np.fft.rfft(white(1.0, seconds))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    sound = np.fft.irfft(spectrum)
    return np.asarray(level * sound / np.abs(sound).max(), np.float32)


def hum(level: float, seconds: float) -> Clip:
    return np.asarray(
        level * (tone(50, seconds) + tone(100, seconds) / 2 + tone(150, seconds) / 3), np.float32
    )


def music_on_hold(level: float, seconds: float) -> Clip:
    """Plucked notes of four a second."""
    rng = np.random.default_rng(3)
    samples = int(seconds * RATE_HZ)
    sound = np.zeros(samples, np.float32)
    for start in range(0, samples, RATE_HZ // 4):
        pitch = float(rng.choice([262, 294, 330, 349, 392, 440, 494, 523]))
        length = min(6000, samples - start)
        note = sum(tone(pitch * n, 0.375)[:length] / n**2 for n in (1, 2, 3))
        sound[start : start + length] += note * np.exp(-np.arange(length) / 4000)
    return np.asarray(level * sound / np.abs(sound).max(), np.float32)


def breathing(level: float, seconds: float) -> Clip:
    return np.asarray(white(level, seconds) * np.maximum(0, tone(0.66, seconds)), np.float32)


@pytest.mark.model
@pytest.mark.parametrize("hot_words", ["", HOT_WORDS], ids=["plain", "hot words"])
@pytest.mark.parametrize("level", [0.003, 0.03, 0.2])
@pytest.mark.parametrize("sound", [white, pink, hum, music_on_hold, breathing], ids=lambda f: f.__name__)
def test_no_word_is_heard_where_nobody_speaks(
    whisper: ShortWhisper, sound: Callable[[float, float], Clip], level: float, hot_words: str
) -> None:
    clips = [sound(level, seconds) for seconds in (0.6, 3.0)]
    assert [transcript.text for transcript in whisper.transcribe(clips, hot_words)] == ["", ""]


@pytest.mark.model
@pytest.mark.parametrize("hot_words", ["", HOT_WORDS], ids=["plain", "hot words"])
def test_a_name_said_alone_is_heard(whisper: ShortWhisper, hot_words: str) -> None:
    clip = caller("my_name_is_susan_baker")
    (transcript,) = whisper.transcribe([clip[len(clip) // 2 :]], hot_words)
    assert "baker" in transcript.text.lower()


@pytest.mark.model
@pytest.mark.parametrize("hot_words", ["", HOT_WORDS], ids=["plain", "hot words"])
def test_callers_are_understood(whisper: ShortWhisper, hot_words: str) -> None:
    wrong = total = 0
    for path in sorted(DATA.glob("*.wav")):
        said = path.stem.split("_")
        (transcript,) = whisper.transcribe([caller(path.stem)], hot_words)
        heard = words_of(transcript.text)
        total += len(said)
        wrong += max(len(said), len(heard)) - sum(
            block.size for block in difflib.SequenceMatcher(None, said, heard).get_matching_blocks()
        )
    assert wrong / total < 0.08


@pytest.mark.model
def test_a_run_that_nobody_wants_any_more_ends_after_its_encoder(whisper: ShortWhisper) -> None:
    asked = []

    def nobody() -> bool:
        asked.append(True)
        return False

    (transcript,) = whisper.transcribe([white(0.1, 1.0)], go_on=nobody)
    assert asked
    assert (transcript.text, transcript.confidence) == ("", 0.0)
