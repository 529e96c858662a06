"""Draws the curve of latency against early cut-offs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from server.tuning.curve import Point

_COLOURS: Final = {"fixed": "#8a8a8a", "transcript": "#c47f17", "fused": "#1763c4", "one score": "#b3261e"}
_NAMES: Final = {
    "fixed": "fixed silence",
    "transcript": "words only",
    "fused": "words, sound, question, habit",
    "one score": "one score after 200 ms, else wait (Pipecat's rule)",
}


def draw(found: Sequence[Point], path: Path, *, title: str) -> None:
    """Write a PNG: the share of turns cut early against P50 and P90 of the silence until the commit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), sharex=True, layout="constrained")
    for axis, name in zip(axes, ("p50_ms", "p90_ms"), strict=True):
        _panel(axis, found, name)
    axes[0].set_ylabel("from the true end of the turn to the commit (ms)")
    axes[1].legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, found: Sequence[Point], name: str) -> None:
    for strategy, colour in _COLOURS.items():
        mine = [one for one in found if one.setting.strategy == strategy and not one.current]
        mine.sort(key=lambda one: (one.summary.cut_share, getattr(one.summary, name)))
        axis.plot(
            [100 * one.summary.cut_share for one in mine],
            [getattr(one.summary, name) for one in mine],
            marker="o", markersize=4, linewidth=1.2, color=colour, label=_NAMES[strategy],
        )  # fmt: skip
        for one in mine:
            axis.annotate(
                one.setting.label.removeprefix("patience "),
                (100 * one.summary.cut_share, getattr(one.summary, name)),
                fontsize=6, color=colour, xytext=(3, 3), textcoords="offset points",
            )  # fmt: skip
    for one in found:
        if one.current:
            axis.plot(
                100 * one.summary.cut_share, getattr(one.summary, name),
                marker="*", markersize=13, color="black", linestyle="none", label="settings in force",
            )  # fmt: skip
    axis.axvline(5, color="#999999", linewidth=0.8, linestyle=":")
    axis.set_title("P50" if name == "p50_ms" else "P90", fontsize=9)
    axis.set_xlabel("turns cut early (%)")
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
