"""What every benchmark counts with: percentiles, shares, slopes, and what the machine was and did meanwhile."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

NS_PER_MS: Final = 1_000_000
OUT: Final = Path("build/bench")
"""Where figures go, one JSON file a benchmark; the report is made from them."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the values lie, interpolated. Raises ValueError for none."""
    if not values:
        raise ValueError("no values; expected at least one")
    ranked = sorted(values)
    position = share * (len(ranked) - 1)
    low = int(position)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (position - low)


@dataclass(frozen=True, slots=True)
class Summary:
    """A distribution in the unit of its values."""

    n: int
    p50: float
    p90: float
    p95: float
    p99: float
    worst: float


def summarise(values: Sequence[float]) -> Summary | None:
    """Return the summary of values, None where there are none."""
    if not values:
        return None
    p50, p90, p95, p99 = (round(percentile(values, at), 1) for at in (0.5, 0.9, 0.95, 0.99))
    return Summary(len(values), p50, p90, p95, p99, round(max(values), 1))


def share(part: int, whole: int) -> float:
    """Return ``part`` of ``whole`` in per cent, 0 where there is no whole."""
    return 100 * part / whole if whole else 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of ``(x, y)`` points; 0 where x does not vary."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def end_in_order() -> None:
    """Let SIGTERM end this process as an error would, so that what it started is stopped."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip()


class MachineLoad:
    """How busy the machine was while a benchmark ran, and how much of that was not the benchmark's own doing.

    Processes that the benchmark started count once they have been waited for: stop them before :meth:`report`.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy_s = _busy_s()
        self._own_s = _own_s()
        self._before = os.getloadavg()[0]

    def report(self) -> dict[str, float]:
        """Return cores in use on average, those of others among them, and load averages."""
        seconds = max(1e-3, time.monotonic() - self._began)
        busy = (_busy_s() - self._busy_s) / seconds
        own = (_own_s() - self._own_s) / seconds
        return {
            "seconds": round(seconds, 1),
            "cores_busy": round(busy, 2),
            "cores_busy_by_others": round(max(0.0, busy - own), 2),
            "load_average_before": round(self._before, 2),
            "load_average_after": round(os.getloadavg()[0], 2),
        }


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def _own_s() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def describe_load(load: Mapping[str, float]) -> str:
    """Return one line on the machine's load."""
    return (
        f"machine during the run: {load['cores_busy']:.2f} cores busy, {load['cores_busy_by_others']:.2f} of them by"
        f" others; load average {load['load_average_before']:.1f} before, {load['load_average_after']:.1f} after;"
        f" {load['seconds']:.0f} s"
    )


def write_figures(name: str, figures: Mapping[str, Any], out: Path = OUT) -> Path:
    """Write a benchmark's figures as ``NAME.json`` and return the path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(figures, indent=1, default=_plain))
    draft.replace(path)
    return path


def _plain(value: object) -> object:
    if isinstance(value, Summary):
        return asdict(value)
    raise TypeError(type(value).__name__)
