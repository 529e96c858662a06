"""From turns to figures, and from figures to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import bench_latency, bench_load, bench_peer, bench_report
from scripts.bench_latency import Results, figures_of, spread, stages, take_turn
from scripts.bench_lines import CONVERSATION, QUESTIONS
from scripts.bench_statistics import write_figures
from scripts.load_processes import number_of

BOOK = {"detect": 80, "endpoint": 220, "stt_wait": 20, "words": 10, "voice": 30, "playout": 15, "gap": 375}
LOAD = {
    "seconds": 60.0, "cores_busy": 1.2, "cores_busy_by_others": 0.1, "load_average_before": 0.5,
    "load_average_after": 1.5,
}  # fmt: skip


def row(turn_class: str, book: dict[str, int]) -> dict[str, Any]:
    return {"heard": "words", "turn_class": turn_class, "ledger": book}


def test_the_stages_of_a_ledger_add_up_to_its_gap() -> None:
    assert sum(stages(BOOK).values()) == BOOK["gap"]
    assert stages({**BOOK, "filler_gap": 200}) == stages(BOOK)


def test_what_stands_beside_a_ledgers_sum_is_no_stage() -> None:
    assert "speculations_dropped" not in stages({**BOOK, "speculations_dropped": 2})


def test_a_turn_is_counted_in_its_class_with_what_the_agent_did_not_see() -> None:
    results = Results()
    assert not take_turn(results, 450.0, [row("plain", BOOK)])
    assert results.gaps_ms == {"plain": [450.0]}
    assert results.ledger_error_ms == [75.0]


def test_what_speculation_did_is_told_as_a_mean_of_all_turns() -> None:
    results = Results()
    take_turn(results, 450.0, [row("plain", {**BOOK, "speculation": 1, "wasted_stt_ms": 100})])
    take_turn(results, 450.0, [row("plain", BOOK)])
    beside = figures_of(results, "sip", LOAD)["beside_the_stages_mean"]
    assert beside == {"speculation": 0.5, "wasted_stt_ms": 50.0}


def test_a_turn_with_a_filler_is_a_class_of_its_own() -> None:
    results = Results()
    take_turn(results, 420.0, [row("tool", {**BOOK, "filler_gap": 340, "gap": 1900})])
    assert results.gaps_ms == {"tool, filler first": [420.0]}
    assert results.content_gaps_ms == {"tool, filler first": [1980.0]}


def test_two_turns_for_one_line_are_a_cut_and_have_no_gap() -> None:
    results = Results()
    assert take_turn(results, 450.0, [row("plain", BOOK), row("fixed", BOOK)])
    assert not results.gaps_ms


def test_an_unanswered_line_has_no_gap() -> None:
    results = Results()
    assert not take_turn(results, None, [])
    assert not results.gaps_ms


def test_spread_is_the_distance_from_the_median() -> None:
    assert spread([100.0, 110.0, 120.0]) == pytest.approx(10.0)
    assert spread([]) == 0.0


def test_overhead_is_the_gap_less_the_configured_silence_and_its_parts_add_up() -> None:
    step = bench_load.Step(1)
    bench_load.pair(step, [(1, 450.0), (0, None)], [BOOK, {}], 240)
    assert step.overhead_ms == [210.0]
    assert sum(step.parts_ms[0].values()) == pytest.approx(210.0)
    assert (step.parts_ms[0]["end of turn"], step.parts_ms[0]["unseen by the agent"]) == (60.0, 75.0)
    assert step.unanswered == 1


def test_turns_that_cannot_be_paired_have_no_parts() -> None:
    step = bench_load.Step(1)
    bench_load.pair(step, [(0, 450.0), (0, 460.0)], [BOOK], 240)
    assert (step.overhead_ms, step.parts_ms) == ([210.0, 220.0], [])


@pytest.mark.parametrize(("calls", "soak"), [(1, 0), (20, 0), (100, 0), (40, 1000)])
def test_calls_are_shared_out_wholly(calls: int, soak: int) -> None:
    configs = bench_load.split(calls, "sip:x@127.0.0.1:5060", 10.0, soak)
    assert sum(config.calls for config in configs) == calls
    assert sum(config.soak for config in configs) == soak
    numbers = [config.first + n for config in configs for n in range(config.soak or config.calls)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("caller", ["sip:load-7@127.0.0.1", "load-7", "sip:load-7@127.0.0.1:5060"])
def test_a_caller_is_known_by_its_number(caller: str) -> None:
    assert number_of(caller) == "load-7"


def test_all_agents_hear_the_same_lines_and_two_rounds_hold_all_of_them() -> None:
    first, second = bench_peer.lines_of(0, 1)[0], bench_peer.lines_of(1, 1)[0]
    assert bench_peer.lines_of(0, 1)[0] == first
    assert {line.name for _, line in first + second} == {line.name for line in (*CONVERSATION, *QUESTIONS)}


def test_ratio_is_ours_by_theirs() -> None:
    ours, theirs = bench_peer.Heard(), bench_peer.Heard()
    ours.gaps_ms["talk"] = [500.0, 700.0]
    theirs.gaps_ms["talk"] = [1000.0, 1400.0]
    assert bench_peer.ratios(ours, theirs)["p50"] == 0.5
    assert bench_peer.ratios(None, theirs) == {}


def test_an_earlier_run_of_the_same_commit_is_added_to(tmp_path: Path) -> None:
    heard = bench_peer.Heard(turns=3, cut_off_early=1, paused_turns=2, barge_in_ms=[300.0])
    heard.gaps_ms["talk"] = [900.0, 1000.0]
    figures = bench_peer.figures_of({"landline": heard, "tuned": heard}, LOAD, {"pipecat-ai": "1.14.0"})
    path = write_figures("peer", figures, tmp_path)
    commit = figures["machine"]["commit"]
    assert bench_peer.earlier(path, commit)["tuned"] == heard
    assert bench_peer.earlier(path, "another") == {}
    assert figures["agents"]["tuned"]["landline_by_peer"]["p50"] == 1.0
    assert "| tuned | 3 | 950 |" in bench_report.report({"peer": json.loads(path.read_text())})


def test_a_report_says_what_was_measured_where_and_what_was_not(tmp_path: Path) -> None:
    results = Results(turns=2, cut_off_early=1, cut_off_lines=["a line"])
    take_turn(results, 450.0, [row("plain", BOOK)])
    figures = json.loads(write_figures("latency", figures_of(results, "sip", LOAD), tmp_path).read_text())
    text = bench_report.report({"latency": figures})
    assert "1 of 2 turns (50.0 %) were cut off early" in text
    assert "| plain | 1 | 450 | ≤ 1000 |" in text
    assert "0.10 of them by others" in text
    assert "landline bench latency" in text
    assert "Not measured for this report: Barge-in" in text


def test_a_report_names_no_path_of_this_machine() -> None:
    assert bench_report.without_paths("all well\n\nreports written to /some/where\n") == "all well"


def test_the_targets_are_those_of_every_class() -> None:
    assert set(bench_latency.TARGETS_MS) == {"fixed", "plain", "grounded", "tool", "tool, filler first"}
