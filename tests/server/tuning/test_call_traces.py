"""Turns out of a call's trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.tuning.call_traces import turns_of
from server.turns.messages import CallUp, SpeechStart, SpeechStop, TranscriptReady, TurnInput, TurnScored
from server.turns.settings import TurnSettings
from server.turns.trace import TraceError, TraceWriter

MS = 1_000_000


def trace(*told: tuple[int, TurnInput]) -> list[str]:
    """Write a trace of inputs at milliseconds."""
    writer = TraceWriter(TurnSettings(), rate_hz=8_000)
    return "".join(writer.line(event, at_ms * MS) for at_ms, event in told).splitlines()


def start(at_ms: int) -> tuple[int, TurnInput]:
    return at_ms + 70, SpeechStart(at_ms * 8, at_ms * MS)


def stop(at_ms: int) -> tuple[int, TurnInput]:
    return at_ms + 70, SpeechStop(at_ms * 8, at_ms * MS)


def test_who_goes_on_soon_paused_and_who_does_not_was_done() -> None:
    first, second = turns_of(
        "call",
        trace(
            (0, CallUp()),
            start(3_000), stop(3_800), (4_000, TurnScored(1, 0.2)), (4_100, TranscriptReady(1, "I would like", 0.9)),
            start(4_500), stop(5_500), (5_700, TurnScored(2, 0.9)), (5_800, TranscriptReady(2, "I would like tea.", 0.9)),
            start(9_000), stop(9_400),
        ),
    )  # fmt: skip
    pause, end = first.silences
    assert (pause.stopped_ms, pause.noticed_ms, pause.resumed_ms, pause.resumed_noticed_ms) == (
        3_800,
        3_870,
        4_500,
        4_570,
    )
    assert (pause.transcript, pause.scores) == ("I would like", (0.2,))
    assert (end.stopped_ms, end.resumed_ms, end.transcript) == (5_500, None, "I would like tea.")
    assert (first.end_ms, first.pauses) == (5_500, 1)
    assert [silence.stopped_ms for silence in second.silences] == [9_400]


def test_a_call_in_which_nobody_spoke_has_no_turns() -> None:
    assert turns_of("call", trace((0, CallUp()))) == []


def test_what_is_no_trace_is_refused() -> None:
    with pytest.raises(TraceError, match="expected"):
        turns_of("call", ["{}"])


def test_an_owner_sees_the_curve_of_their_own_calls(tmp_path: Path) -> None:
    told = [
        (0, CallUp()),
        start(3_000), stop(3_800), (4_000, TurnScored(1, 0.9)), (4_100, TranscriptReady(1, "I can come.", 0.9)),
        start(4_500), stop(5_500), (5_700, TurnScored(2, 0.9)), (5_800, TranscriptReady(2, "I can come on Monday.", 0.9)),
    ]  # fmt: skip
    folder, into = tmp_path / "traces", tmp_path / "out"
    folder.mkdir()
    (folder / "one.jsonl").write_text("\n".join(trace(*told)))
    config = tmp_path / "landline.yaml"
    config.write_text("{}")
    shown = CliRunner().invoke(app, ["--config", str(config), "tune", str(folder), "--into", str(into)])
    assert shown.exit_code == 0, shown.output
    assert "For at most 5 % of turns cut early" in shown.output
    document = json.loads((into / "endpointing.json").read_text())
    shares = {(point["strategy"], point["setting"]): point["cut_share"] for point in document["points"]}
    assert (shares["fixed", "400 ms"], shares["fixed", "800 ms"]) == (1.0, 0.0)
    assert (into / "endpointing.png").read_bytes().startswith(b"\x89PNG")
