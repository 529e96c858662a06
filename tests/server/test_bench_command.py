"""``landline bench``: it runs the tree's benchmark, and says so where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.commands import bench
from server.errors import LandlineError

_ECHO = "import sys\nprint(' '.join(sys.argv[1:]))\nraise SystemExit(3)\n"


def test_without_a_tree_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "_TREE", tmp_path)
    result = CliRunner().invoke(bench.app, ["latency"])
    assert isinstance(result.exception, LandlineError)
    assert "bench_latency.py" in str(result.exception)


def test_it_hands_its_options_on_and_ends_as_the_benchmark_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bench_latency.py").write_text(_ECHO)
    monkeypatch.setattr(bench, "_TREE", tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    result = CliRunner().invoke(bench.app, ["latency", "--turns", "5", "--over", "websocket"])
    assert result.exit_code == 3
    assert capfd.readouterr().out.split() == ["--turns", "5", "--minutes", "11.0", "--over", "websocket"]
