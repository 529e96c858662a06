"""Percentiles, slopes and what the reports are made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench_statistics import percentile, share, slope, summarise, write_figures


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_percentile_is_numpys(values: list[float], at: float) -> None:
    assert percentile(values, at) == pytest.approx(float(np.percentile(values, 100 * at)), abs=1e-3)


def test_nothing_has_no_percentile_and_no_summary() -> None:
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)
    assert summarise([]) is None


def test_summary_of_a_hundred() -> None:
    summary = summarise([float(one) for one in range(101)])
    assert summary is not None
    assert (summary.n, summary.p50, summary.p95, summary.worst) == (101, 50.0, 95.0, 100.0)


def test_share_of_nothing_is_nothing() -> None:
    assert share(1, 4) == 25.0
    assert share(0, 0) == 0.0


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_slope_of_a_line(rise: float, start: float) -> None:
    points = [(float(x), start + rise * x) for x in range(10)]
    assert slope(points) == pytest.approx(rise, abs=1e-6)


def test_figures_are_json_with_summaries_as_objects(tmp_path: Path) -> None:
    path = write_figures("some", {"gap_ms": summarise([1.0, 3.0])}, tmp_path)
    assert json.loads(path.read_text())["gap_ms"] == {
        "n": 2, "p50": 2.0, "p90": 2.8, "p95": 2.9, "p99": 3.0, "worst": 3.0,
    }  # fmt: skip
