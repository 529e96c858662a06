"""The curve of latency against early cut-offs: one point for each setting of each strategy, and the setting to choose. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from server.tuning.replay import (
    Decide,
    HeardTurn,
    Summary,
    Timing,
    fused_decision,
    one_score_decision,
    replay,
    summarise,
)
from server.turns.endpointing import FixedSilence, TranscriptSilence, endpointing, fused
from server.turns.settings import TurnSettings

FIXED_MS: Final = (200, 300, 400, 500, 600, 700, 800, 1_000, 1_200, 1_500)
TRANSCRIPT_MS: Final = ((300, 700), (300, 1_000), (450, 1_200), (600, 1_200), (700, 1_500), (900, 1_500))
PATIENCE: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """A strategy and the number that was varied."""

    strategy: str
    """``fixed``, ``transcript``, ``fused`` or ``one score``."""
    label: str
    options: tuple[tuple[str, str | int | float], ...]
    """What to write into the settings file; empty for a strategy that is not ours."""
    decide: Decide


@dataclass(frozen=True, slots=True)
class Point:
    """A setting and what it did."""

    setting: Setting
    summary: Summary
    current: bool = False
    """These are the settings in force."""


def grid(settings: TurnSettings, timing: Timing) -> Iterator[Setting]:
    """Yield every setting to be tried."""
    for silence_ms in FIXED_MS:
        yield Setting(
            "fixed",
            f"{silence_ms} ms",
            (("endpointing", "fixed"), ("endpoint_silence_ms", silence_ms)),
            fused_decision(FixedSilence(silence_ms), timing),
        )
    for finished_ms, unfinished_ms in TRANSCRIPT_MS:
        yield Setting(
            "transcript",
            f"{finished_ms} / {unfinished_ms} ms",
            (
                ("endpointing", "transcript"),
                ("endpoint_silence_ms", finished_ms),
                ("unfinished_silence_ms", unfinished_ms),
            ),
            fused_decision(TranscriptSilence(finished_ms, unfinished_ms), timing),
        )
    for patience in PATIENCE:
        stretched = fused(replace(settings, patience=patience))
        yield Setting(
            "fused",
            f"patience {patience:g}",
            (("endpointing", "fused"), ("patience", patience)),
            fused_decision(stretched, timing),
        )
    for give_up_ms in (1_000, 2_000, 3_000):
        yield Setting(
            "one score",
            f"else {give_up_ms} ms",
            (),
            one_score_decision(timing, give_up_ms=give_up_ms),
        )


def current(settings: TurnSettings, timing: Timing) -> Setting:
    """Return the settings in force."""
    return Setting(settings.endpointing, "in force", (), fused_decision(endpointing(settings), timing))


def points(
    turns: Sequence[HeardTurn],
    wanted: Iterable[Setting],
    in_force: Setting,
    advance: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Replay the turns under every setting."""
    found = []
    for setting, is_current in [*((one, False) for one in wanted), (in_force, True)]:
        found.append(Point(setting, summary(turns, setting.decide), is_current))
        advance()
    return found


def summary(turns: Sequence[HeardTurn], decide: Decide) -> Summary:
    """Replay the turns under one setting."""
    return summarise([replay(turn, decide) for turn in turns])


def choose(found: Sequence[Point], cut_share: float) -> Point | None:
    """Return the quickest of our settings with at most ``cut_share`` of the turns cut; None where there is none."""
    allowed = [point for point in found if point.setting.options and point.summary.cut_share <= cut_share]
    return min(allowed, key=lambda point: (point.summary.p50_ms, point.summary.p90_ms), default=None)
