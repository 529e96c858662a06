"""The metrics as Prometheus would read them: scraped, parsed, and compared with what was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from server.control.metrics import AgentStatus, Metrics


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return (name, sorted labels) to value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scrape(metrics).get((name, tuple(sorted(labels.items()))))


def told(metrics: Metrics, **fields: Any) -> None:
    metrics.agent(AgentStatus.model_validate({"process": "agent", **fields}))


def test_every_stage_has_a_histogram_by_class_that_adds_up() -> None:
    metrics = Metrics()
    stages = (
        "silence",
        "network",
        "detect",
        "endpoint",
        "stt_wait",
        "words",
        "voice",
        "playout",
        "filler_gap",
    )
    for _ in range(2):
        told(metrics, stages_ms={"plain": {stage: [50.0 * place] for place, stage in enumerate(stages, 1)}})
    told(metrics, stages_ms={"tool": {"words": [9000, 11_000]}})
    for place, stage in enumerate(stages, 1):
        labels = {"stage": stage, "turn_class": "plain"}
        assert value(metrics, "landline_stage_seconds_count", **labels) == 2
        assert value(metrics, "landline_stage_seconds_sum", **labels) == pytest.approx(0.1 * place)
    slow = {"stage": "words", "turn_class": "tool"}
    assert value(metrics, "landline_stage_seconds_bucket", le="10.0", **slow) == 1
    assert value(metrics, "landline_stage_seconds_bucket", le="+Inf", **slow) == 2


def test_the_promised_latencies_are_bounds_of_buckets() -> None:
    """Otherwise nobody could see from the metrics whether they are kept."""
    metrics = Metrics()
    told(metrics, stages_ms={"plain": {"gap": [449]}, "fixed": {"barge_in": [151]}})
    for bound in ("0.35", "0.45", "0.6", "1.0", "1.5", "2.0"):
        assert value(metrics, "landline_response_gap_seconds_bucket", le=bound, turn_class="plain") == (
            bound != "0.35"
        )
    assert value(metrics, "landline_barge_in_seconds_bucket", le="0.15") == 0
    assert value(metrics, "landline_barge_in_seconds_bucket", le="0.25") == 1
    assert value(metrics, "landline_stage_seconds_count", stage="barge_in", turn_class="fixed") is None


def test_hit_rate_and_waste_can_be_computed_before_the_first_turn() -> None:
    """A counter that appears only with its first event hides that event from a rate."""
    metrics = Metrics()
    for outcome in ("hit", "miss", "reused"):
        assert value(metrics, "landline_speculations_total", outcome=outcome) == 0
    told(metrics, speculation_hits=3, speculation_misses=1, speculation_reused=2, wasted_ms={"llm": 250})
    told(metrics, speculation_hits=1, wasted_ms={"llm": 250, "stt": 40})
    assert value(metrics, "landline_speculations_total", outcome="hit") == 4
    assert value(metrics, "landline_speculations_total", outcome="miss") == 1
    assert value(metrics, "landline_speculations_total", outcome="reused") == 2
    assert value(metrics, "landline_speculation_wasted_seconds_total", kind="llm") == 0.5
    assert value(metrics, "landline_speculation_wasted_seconds_total", kind="stt") == 0.04


@pytest.mark.parametrize(
    ("step", "left_out"), [(0, (0, 0)), (1, (1, 0)), (2, (1, 1))], ids=["nothing", "speculation", "partials"]
)
def test_shedding_names_what_is_left_out(step: int, left_out: tuple[int, int]) -> None:
    metrics = Metrics()
    told(metrics, shedding=step, busy=0.91, capacity=4, head_room=1, waits_ms={"tts": [300], "new": [1]})
    assert left_out == tuple(
        value(metrics, "landline_shedding", what=what) for what in ("speculation", "partials")
    )
    assert value(metrics, "landline_models_busy_ratio") == 0.91
    assert value(metrics, "landline_capacity_calls") == 4
    assert value(metrics, "landline_head_room_calls") == 1
    assert value(metrics, "landline_model_wait_seconds_sum", kind="tts") == 0.3
    assert value(metrics, "landline_model_wait_seconds_count", kind="other") == 1


def test_refusals_of_doors_and_agent_are_counted_once_each_across_a_restart_of_a_door() -> None:
    metrics = Metrics()
    counters: list[Mapping[str, int]] = [
        {"refused": 3, "refused_head_room": 2, "refused_refused_by_agent": 1},
        {"refused": 4, "refused_head_room": 3, "refused_refused_by_agent": 1},
        {"refused": 1, "refused_head_room": 1},
    ]
    for seen in counters:
        metrics.sip({"agents": 1, "counters": seen})
    for _ in range(2):
        metrics.websocket({"agents": 1, "counters": {"refused_head_room": 5}})
    told(metrics, refused={"head_room": 1})
    assert value(metrics, "landline_calls_refused_total", reason="head_room") == 2 + 1 + 1 + 5 + 1
    assert value(metrics, "landline_calls_refused_total", reason="refused_by_agent") is None


def test_a_report_that_would_make_a_counter_fall_is_not_taken() -> None:
    with pytest.raises(ValidationError):
        AgentStatus.model_validate({"process": "agent", "wasted_ms": {"llm": -1}})


def test_a_caller_cannot_appear_in_a_label() -> None:
    metrics = Metrics()
    told(metrics, stages_ms={"Anna Smith": {"+44 20 7946": [1]}}, refused={"Anna": 1}, waits_ms={"Anna": [1]})
    assert "Anna" not in metrics.render().decode()
    assert value(metrics, "landline_stage_seconds_count", stage="other", turn_class="other") == 1
