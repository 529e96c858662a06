"""Turns as the models heard them, to and from JSON: strategies are tried on them without any model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from server.tuning.recordings import RecordingError
from server.tuning.replay import HeardSilence, HeardTurn
from server.turns.endpointing import Expected


def write_heard(path: Path, turns: Sequence[HeardTurn]) -> None:
    """Write one turn a line. The file holds what was said."""
    path.write_text("".join(json.dumps(asdict(turn)) + "\n" for turn in turns), encoding="utf-8")


def read_heard(path: Path) -> list[HeardTurn]:
    """Return the turns of ``path``. Raises RecordingError."""
    try:
        return [_turn(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{path}: {error}") from None


def _turn(line: str) -> HeardTurn:
    fields = json.loads(line)
    silences = tuple(
        HeardSilence(**{**silence, "scores": tuple(silence["scores"])}) for silence in fields.pop("silences")
    )
    return HeardTurn(**{**fields, "expected": Expected(**fields["expected"]), "silences": silences})
