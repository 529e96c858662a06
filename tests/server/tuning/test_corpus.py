"""The pause corpus: whole, the same every time, labelled where the sound says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from server.tuning.corpus import RATE_HZ, Entry, Speech, load_corpus, put_together
from server.tuning.recordings import Recording, RecordingError

FOLDER = Path(__file__).resolve().parents[2] / "data" / "pauses"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
ENTRIES = [Entry.from_json(fields) for fields in MANIFEST["turns"]]


@pytest.fixture(scope="module")
def turns() -> dict[str, Recording]:
    return {turn.name: turn for turn in load_corpus(FOLDER)}


def level_dbfs(turn: Recording, begin_ms: int, end_ms: int) -> float:
    piece = turn.samples[begin_ms * RATE_HZ // 1000 : end_ms * RATE_HZ // 1000].astype(np.float64)
    return float(10 * np.log10(np.mean(np.square(piece)) / 32768**2 + 1e-12))


def test_every_turn_is_put_together_as_it_was_when_it_was_labelled(turns: dict[str, Recording]) -> None:
    for entry in ENTRIES:
        pcm = turns[entry.name].samples.astype("<i2").tobytes()
        assert hashlib.sha256(pcm).hexdigest() == entry.pcm_sha256, entry.name


def test_labels_of_the_manifest_are_those_of_the_turns(turns: dict[str, Recording]) -> None:
    for fields in MANIFEST["turns"]:
        turn = turns[fields["name"]]
        assert [list(pause) for pause in turn.pauses] == fields["pauses"]
        assert turn.end_ms == fields["end_ms"]


def test_labelled_pauses_are_silent_and_speech_goes_on_after_them(turns: dict[str, Recording]) -> None:
    for entry in ENTRIES:
        if entry.noise or entry.loss:
            continue
        turn = turns[entry.name]
        assert turn.end_ms is not None
        assert (
            level_dbfs(turn, turn.end_ms + 20, turn.end_ms + 2_000) < level_dbfs(turn, 300, turn.end_ms) - 15
        )
        for begin, end in turn.pauses:
            silent = level_dbfs(turn, begin + 10, end - 10)
            assert silent < level_dbfs(turn, 300, begin) - 10, entry.name
            assert silent < level_dbfs(turn, end, turn.end_ms) - 10, entry.name


def test_the_halves_share_no_sentence() -> None:
    said = {
        half: {entry.words for entry in ENTRIES if entry.half == half} for half in ("tuning", "held-back")
    }
    assert said["tuning"]
    assert said["held-back"]
    assert not (said["tuning"] & said["held-back"]) - {""}


def test_it_holds_what_endpointing_is_judged_by() -> None:
    kinds = {entry.kind for entry in ENTRIES}
    assert kinds == {
        "finished", "brief", "unfinished", "hesitating", "dictating", "spelling", "noise", "telephone",
    }  # fmt: skip
    assert len(ENTRIES) >= 150
    assert sum(len(fields["pauses"]) + 1 for fields in MANIFEST["turns"]) >= 250
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 4_000_000


def test_altered_speech_is_refused(tmp_path: Path) -> None:
    entry = ENTRIES[0]
    copy = tmp_path / entry.source
    copy.parent.mkdir()
    octets = bytearray((FOLDER / entry.source).read_bytes())
    octets[100] ^= 0x80
    copy.write_bytes(octets)
    with pytest.raises(RecordingError, match="is altered"):
        put_together(entry, Speech(tmp_path, [entry]))
