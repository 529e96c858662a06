"""The pictures of the benchmarks, drawn from their figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS: Final = ("#3d5a80", "#e0a458", "#5b8e7d", "#8f6593", "#9aa5b1", "#c0392b", "#7f8c4d", "#4d7f8c")
_DPI: Final = 110


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _steps(axes: Any, values: list[float], label: str, colour: str) -> None:
    ranked = sorted(values)
    axes.step(
        ranked,
        [100 * (n + 1) / len(ranked) for n in range(len(ranked))],
        where="post",
        label=label,
        color=colour,
    )
    axes.set_ylim(0, 103)


def peer(figures: Mapping[str, Any], path: Path) -> None:
    """Draw the distribution of every agent's gaps, and its barge-ins."""
    figure, (gaps, stops) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for number, (name, agent) in enumerate(figures["agents"].items()):
        colour = COLOURS[number % len(COLOURS)]
        values = agent["gaps_ms"]["talk"] + agent["gaps_ms"]["question"]
        cut = f", {agent['cut_off_early_share']:.0f} % cut off early"
        if values:
            _steps(gaps, values, f"{name} ({len(values)} turns{cut})", colour)
        if agent["barge_ins_ms"]:
            _steps(stops, agent["barge_ins_ms"], name, colour)
    gaps.set(
        title="response gap, same WebSocket, same models",
        xlabel="milliseconds",
        ylabel="% of turns",
        xlim=(0, None),
    )
    stops.set(title="barge-in to silence", xlabel="milliseconds", xlim=(0, None))
    gaps.legend(fontsize=8)
    stops.legend(fontsize=8)
    _save(figure, path)


def latency(figures: Mapping[str, Any], path: Path) -> None:
    """Draw the median ledger of every class as stacked bars, and the distribution of the gaps."""
    classes = [name for name, values in figures["gaps_ms"].items() if values]
    figure, (bars, gaps) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    left = [0.0] * len(classes)
    for number, stage in enumerate(figures["stages"]):
        values = [figures["median_stage_ms"][name].get(stage, 0) for name in classes]
        bars.barh(classes, values, left=left, label=stage, color=COLOURS[number % len(COLOURS)])
        left = [one + value for one, value in zip(left, values, strict=True)]
    bars.set(title="median ledger to the first content, by class of turn", xlabel="milliseconds")
    bars.invert_yaxis()
    bars.legend(fontsize=8)
    for number, name in enumerate(classes):
        values = figures["gaps_ms"][name]
        _steps(gaps, values, f"{name} ({len(values)})", COLOURS[number % len(COLOURS)])
    gaps.set(
        title=f"gap on the wire ({figures['cut_off_early_share']} % of turns cut off early)",
        xlabel="milliseconds",
        ylabel="% of turns",
        xlim=(0, None),
    )
    gaps.legend(fontsize=8)
    _save(figure, path)


def load(figures: Mapping[str, Any], path: Path) -> None:
    """Draw the overhead by calls at once, and the agent's memory over many calls."""
    figure, (over, memory) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for number, step in enumerate(figures["steps"]):
        if step["overhead_all_ms"]:
            _steps(over, step["overhead_all_ms"], f"{step['calls']} calls at once", COLOURS[number])
    over.set(
        title="overhead beyond the silence waited for, models scripted",
        xlabel="milliseconds",
        ylabel="% of turns",
        xlim=(0, None),
    )
    over.legend(fontsize=8)
    points = figures["soak"].get("agent_mb_by_calls", [])
    memory.plot([done for done, _ in points], [mb for _, mb in points], marker="o", color=COLOURS[0])
    memory.set(title="agent's resident memory over calls", xlabel="calls", ylabel="MB", ylim=(0, None))
    _save(figure, path)


def barge_in(figures: Mapping[str, Any], path: Path) -> None:
    """Draw the distribution of the time to silence."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if figures["silent_all_ms"]:
        _steps(axes, figures["silent_all_ms"], f"over {figures['over']}", COLOURS[0])
    axes.set(
        title="barge-in to silence on the wire",
        xlabel="milliseconds",
        ylabel="% of barge-ins",
        xlim=(0, None),
    )
    _save(figure, path)
