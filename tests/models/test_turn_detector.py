"""The turn detector's features against the formulas they stand for, and the real model on recorded callers."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.model_store import verify
from models.turn_detector import WINDOW_SAMPLES, SmartTurn, turn_features

DATA = Path(__file__).parents[1] / "data" / "caller"
CACHE = Path(os.environ.get("LANDLINE_CACHE_DIRECTORY", Path.home() / ".cache" / "landline")) / "models"


def caller(name: str) -> NDArray[np.int16]:
    with wave.open(str(DATA / f"{name}.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2")
        return np.asarray(soxr.resample(samples, clip.getframerate(), 16000), np.int16)


def speech_like(samples: int) -> NDArray[np.int16]:
    rng = np.random.default_rng(samples)
    envelope = np.abs(np.sin(np.arange(samples) / 1500))
    return (rng.normal(200, 3000, samples) * envelope).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize("samples", [1, 160, 16000, 33333, 127_801, 127_999, 128_000, 150_000])
def test_features_are_those_the_model_was_trained_with(samples: int) -> None:
    from transformers import WhisperFeatureExtractor

    clip = speech_like(samples)
    turn = clip[-WINDOW_SAMPLES:].astype(np.float32) / 32768
    reference = WhisperFeatureExtractor(chunk_length=8)(
        np.pad(turn, (WINDOW_SAMPLES - len(turn), 0)),
        sampling_rate=16000,
        padding="max_length",
        max_length=WINDOW_SAMPLES,
        truncation=True,
        do_normalize=True,
        return_tensors="np",
    ).input_features[0]
    ours = turn_features(clip)
    assert ours.shape == (80, 800)
    assert np.abs(ours - reference).max() < 2e-3
    assert np.abs(ours - reference).mean() < 1e-5


def test_what_lies_further_back_than_eight_seconds_does_not_count() -> None:
    recent = speech_like(WINDOW_SAMPLES)
    assert np.array_equal(turn_features(np.concatenate((speech_like(50_000), recent))), turn_features(recent))


def test_silence_alone_has_finite_features() -> None:
    assert np.isfinite(turn_features(np.zeros(0, np.int16))).all()
    assert np.isfinite(turn_features(np.zeros(200_000, np.int16))).all()


@pytest.mark.model
def test_finished_turns_score_high_and_requests_broken_off_score_low() -> None:
    model = SmartTurn(verify("smart-turn", CACHE))
    silence = np.zeros(3200, np.int16)
    names = sorted(path.stem for path in DATA.glob("*.wav"))
    finished = [model.score(np.concatenate((caller(name), silence))) for name in names]
    broken = []
    for name in names:
        if name.startswith("i_would_like_to_book"):
            clip = caller(name)
            broken.append(model.score(np.concatenate((clip[: len(clip) // 2], silence))))
    assert all(0 <= score <= 1 for score in finished + broken)
    # One signal among several: it misses some ends that words or a longer silence tell.
    assert sum(score > 0.5 for score in finished) >= 0.7 * len(finished)
    assert broken
    assert max(broken) < 0.5


@pytest.mark.model
def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "smart.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"smart\.onnx cannot be loaded.*landline models fetch"):
        SmartTurn(tmp_path / "smart.onnx")
