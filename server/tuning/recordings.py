"""Recorded turns with what is known of them: the pauses within and where they really end."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.errors import LandlineError
from server.turns.endpointing import Expected

RATES_HZ: Final = (8_000, 16_000)
_TURN_LIMIT_S: Final = 28
FOLDER_LIMIT: Final = 2_000
"""Most recordings of one folder."""


class RecordingError(LandlineError):
    """A recording or its labels cannot be used; the message names the file and what was expected."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One turn of a caller. Times in milliseconds from the first sample."""

    name: str
    samples: NDArray[np.int16]
    rate_hz: int
    end_ms: int | None
    """Where the turn really ends; None: where speech was last heard."""
    pauses: tuple[tuple[int, int], ...] = ()
    """Begin and end of each pause within the turn of at least 120 ms."""
    kind: str = "recorded"
    half: str = "recorded"
    """``tuning``, ``held-back`` or ``recorded``: which part of a corpus it is."""
    words: str = ""
    expected: Expected = field(default_factory=Expected)


def load_folder(folder: Path) -> list[Recording]:
    """Return the turns of ``folder``: one WAV (PCM16 mono, 8 or 16 kHz) a turn, with ``NAME.json`` beside it or not.

    The JSON may hold ``end_ms``, ``pauses`` ([[begin_ms, end_ms], ...]), ``kind``, ``words``, ``expected_digits``
    and ``brief``. Raises RecordingError.
    """
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise RecordingError(f"{folder}: no WAV files; expected one for each turn")
    if len(paths) > FOLDER_LIMIT:
        raise RecordingError(f"{folder}: {len(paths)} WAV files; expected at most {FOLDER_LIMIT}")
    return [_recording(path) for path in paths]


def _recording(path: Path) -> Recording:
    samples, rate_hz = _read_wav(path)
    labels = _labels(path.with_suffix(".json"))
    length_ms = len(samples) * 1000 // rate_hz
    try:
        end_ms = None if labels.get("end_ms") is None else int(labels["end_ms"])
        pauses = tuple((int(begin), int(end)) for begin, end in labels.get("pauses", ()))
        expected = Expected(int(labels.get("expected_digits", 0)), bool(labels.get("brief", False)))
    except (TypeError, ValueError):
        raise RecordingError(
            f"{path.with_suffix('.json')}: end_ms and expected_digits are numbers, pauses is [[begin_ms, end_ms], ...]"
        ) from None
    if (end_ms or 0) > length_ms or any(not 0 <= begin < end <= length_ms for begin, end in pauses):
        raise RecordingError(
            f"{path.with_suffix('.json')}: a time lies outside of the {length_ms} ms recorded"
        )
    return Recording(
        path.stem,
        samples,
        rate_hz,
        end_ms,
        pauses,
        str(labels.get("kind", "recorded")),
        words=str(labels.get("words", "")),
        expected=expected,
    )


def _read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    try:
        with wave.open(str(path), "rb") as file:
            shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            frames = file.getnframes()
            if shape[:2] != (1, 2) or shape[2] not in RATES_HZ:
                raise RecordingError(
                    f"{path}: {shape[0]} channels of {8 * shape[1]} bits at {shape[2]} Hz;"
                    " expected one of 16 bits at 8000 or 16000 Hz"
                )
            if frames > _TURN_LIMIT_S * shape[2]:
                raise RecordingError(f"{path}: longer than {_TURN_LIMIT_S} s; expected one turn")
            return np.frombuffer(file.readframes(frames), "<i2").astype(np.int16), shape[2]
    except (OSError, EOFError, wave.Error) as error:
        raise RecordingError(f"{path}: {error}; expected a WAV of PCM16") from None


def _labels(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None
    if not isinstance(labels, dict):
        raise RecordingError(f"{path}: expected one JSON object")
    return labels
