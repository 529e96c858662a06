"""An owner's folder of recorded turns."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from server.tuning.recordings import RecordingError, load_folder


def write(path: Path, *, rate_hz: int = 8_000, channels: int = 1, seconds: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(b"\0\0" * channels * rate_hz * seconds)


def test_labels_beside_a_recording_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "one.wav", rate_hz=16_000)
    (tmp_path / "one.json").write_text(
        json.dumps({"end_ms": 900, "pauses": [[200, 500]], "expected_digits": 4, "kind": "dictating"})
    )
    write(tmp_path / "two.wav")
    one, two = load_folder(tmp_path)
    assert (one.rate_hz, one.end_ms, one.pauses, one.expected.digits) == (16_000, 900, ((200, 500),), 4)
    assert (two.rate_hz, two.end_ms, two.pauses) == (8_000, None, ())


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ('{"end_ms": 2000}', "outside of the 1000 ms"),
        ('{"pauses": [[500, 300]]}', "outside of"),
        ('{"pauses": [3]}', "pauses is"),
        ('{"end_ms": "soon"}', "are numbers"),
        ("[1]", "expected one JSON object"),
        ("{", "one.json"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path: Path, labels: str, says: str) -> None:
    write(tmp_path / "one.wav")
    (tmp_path / "one.json").write_text(labels)
    with pytest.raises(RecordingError, match=says):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"rate_hz": 44_100}, "44100 Hz"),
        ({"channels": 2}, "2 channels"),
        ({"seconds": 29}, "longer than 28 s"),
    ],
    ids=["rate", "stereo", "long"],
)
def test_other_recordings_are_refused(tmp_path: Path, shape: dict[str, int], says: str) -> None:
    write(tmp_path / "one.wav", **shape)
    with pytest.raises(RecordingError, match=says):
        load_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no WAV files"):
        load_folder(tmp_path)
