from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from models.log_mel import HOP, RATE_HZ, LogMel
from models.short_decoding import FRAMES_SHORT, FRAMES_SURE, NOTHING, decode, features, frames_of
from models.transcript_guards import Decoded

HOT_WORDS = "Baker, Kowalski"
SPEECH = Decoded("My name is Baker.", -0.2, 0.05)
LOOP = Decoded("go on go on go on go on go on", -0.3, 0.05)
GUESS = Decoded("The book an appointment", -0.9, 0.1)


def noise(samples: int, level: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(samples).normal(0, level, samples).astype(np.float32)


@dataclass
class ScriptedEngine:
    """Answers by how many frames were encoded, whether hot words were told and repetitions forbidden."""

    short: Decoded = SPEECH
    sure: Decoded = SPEECH
    plain: Decoded = SPEECH
    unrepeated: Decoded = SPEECH
    frames: list[int] = field(default_factory=list)
    generated: int = 0

    def encode(self, features: NDArray[np.float32]) -> int:
        self.frames.append(features.shape[2])
        return int(features.shape[2])

    def generate(
        self, encoded: int, count: int, tokens: int, hot_words: str, *, no_repeat: int = 0
    ) -> list[Decoded]:
        assert tokens > 16
        self.generated += 1
        if no_repeat:
            return [self.unrepeated] * count
        if not hot_words:
            return [self.plain] * count
        return [self.short if encoded < FRAMES_SURE else self.sure] * count


def decoded(engine: ScriptedEngine, *, hot_words: str = HOT_WORDS, go_on: bool = True) -> Decoded:
    (result,) = decode(engine, LogMel(80), [noise(RATE_HZ)], hot_words, lambda: go_on)
    return result


def test_what_the_decoder_is_sure_of_costs_one_short_run() -> None:
    engine = ScriptedEngine()
    assert decoded(engine) is SPEECH
    assert (engine.frames, engine.generated) == ([FRAMES_SHORT], 1)


TWICE = Decoded(
    "Children need to come with a parent. Children need to come with a parent. Children need", -0.07, 0.02
)
"""More than anybody says in the second that the clip lasts."""


@pytest.mark.parametrize("first", [LOOP, GUESS, TWICE], ids=["loop", "guess", "said twice"])
def test_what_it_loops_over_or_guesses_is_looked_at_again_with_more_frames(first: Decoded) -> None:
    engine = ScriptedEngine(short=first)
    assert decoded(engine) is SPEECH
    assert engine.frames == [FRAMES_SHORT, FRAMES_SURE]


@pytest.mark.parametrize("again", [LOOP, TWICE], ids=["loop", "said twice"])
def test_what_loops_even_then_is_decoded_without_repetitions(again: Decoded) -> None:
    assert decoded(ScriptedEngine(short=again, sure=again)) is SPEECH


def test_noise_is_not_looked_at_twice() -> None:
    hiss = Decoded("you", -1.3, 0.7)
    engine = ScriptedEngine(short=hiss)
    assert decoded(engine) is hiss
    assert engine.frames == [FRAMES_SHORT]


def test_hot_words_that_are_heard_only_when_hinted_at_are_noise() -> None:
    echo, hiss = Decoded("Baker, Kowalski", -0.3, 0.1), Decoded("you", -1.3, 0.7)
    assert decoded(ScriptedEngine(short=echo, sure=echo, plain=hiss)) is hiss
    name = Decoded("Kowalski.", -0.3, 0.1)
    assert decoded(ScriptedEngine(short=name, sure=name, plain=Decoded("Koval ski", -0.6, 0.1))) is name


def test_a_run_that_nobody_wants_is_not_decoded() -> None:
    engine = ScriptedEngine()
    assert decoded(engine, go_on=False) is NOTHING
    assert engine.generated == 0


def test_a_long_clip_gets_a_second_behind_it_and_never_more_than_whisper_was_trained_on() -> None:
    assert frames_of(8 * RATE_HZ, 600) == 900
    assert frames_of(2 * RATE_HZ, 600) == 600
    assert frames_of(20 * RATE_HZ, FRAMES_SHORT) == 2100
    assert frames_of(30 * RATE_HZ, FRAMES_SHORT) == 3000


@pytest.mark.parametrize("seconds", [0.05, 1.0, 3.217, 9.99, 30.0])
@pytest.mark.parametrize("bands", [80, 128])
def test_features_are_those_of_faster_whisper(seconds: float, bands: int) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    clip = noise(int(seconds * RATE_HZ))
    frames = frames_of(len(clip), 600)
    padded = np.zeros(frames * HOP, np.float32)
    padded[: len(clip)] = clip
    reference = FeatureExtractor(feature_size=bands)(padded)[:, :frames]
    ours = features(LogMel(bands), [clip], frames)[0]
    assert ours.shape == (bands, frames)
    assert np.abs(ours - reference).max() < 1e-3


def test_a_clip_of_a_batch_has_the_features_it_has_alone() -> None:
    mel, short, long = LogMel(80), noise(RATE_HZ), noise(4 * RATE_HZ, 0.3)
    frames = frames_of(len(long), 600)
    both = features(mel, [short, long], frames)
    assert np.array_equal(both[0], features(mel, [short], frames)[0])
    assert np.array_equal(both[1], features(mel, [long], frames)[0])
