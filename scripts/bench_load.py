"""Many calls at once in one agent process with all models scripted: overhead, memory, lateness of media.

``python -m scripts.bench_load`` starts a real sip process and one real agent process (VAD, turn taking, dialogue) over a
scripted recogniser, turn detector, language model and voice, and rings it from softphones in processes of their own:
first 20, 50 and 100 calls at once, then 1,000 short ones. The overhead of a turn is its gap on the
wire less the silence that the agent's settings require after such words with such a score; its parts are told.
The bare ticker is the same 20 ms ticker in a process that does nothing else, before and after: what it shows is the machine's doing.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from models.model_store import model_path
from models.vad import SileroVad
from scripts import bench_plots
from scripts.bench_latency import stages
from scripts.bench_media import bare_in_a_process
from scripts.bench_statistics import (
    OUT,
    MachineLoad,
    describe_load,
    end_in_order,
    machine,
    percentile,
    slope,
    summarise,
    write_figures,
)
from scripts.load_caller import LINES, LoadConfig
from scripts.load_processes import Processes, callers, number_of
from scripts.scripted_models import HEARD, TURN_SCORE
from server.config import Settings
from server.turns.endpointing import Cues, endpointing
from server.turns.segmenter import Segmenter, SegmentStop
from server.turns.settings import TurnSettings
from tests.e2e.caller_lines import recorded

TARGETS: Final = {"overhead_p50_ms": 90, "overhead_p95_ms": 150, "mb_per_call": 5}
_RATE_HZ: Final = 8_000
_SILENCE_STAGES: Final = ("detect", "endpoint")
"""Stages of the ledger in which the end of the turn is waited for."""
_CALLS_PER_PROCESS: Final = 25
_PAUSE_S: Final = 2.5
_SOAK_LINES: Final = 40
_SOAK_LIMIT_S: Final = 200.0


@dataclass(slots=True)
class Step:
    """What so many calls at once showed."""

    calls: int
    gaps_ms: list[float] = field(default_factory=list)
    overhead_ms: list[float] = field(default_factory=list)
    parts_ms: list[dict[str, float]] = field(default_factory=list)
    unanswered: int = 0
    refused: int = 0
    broken: int = 0
    agent_mb: float = 0.0
    mb_per_call: float = 0.0
    cores: dict[str, float] = field(default_factory=dict)
    """Processor use by process, in cores; ``callers`` are the load generators."""
    lateness_ms: dict[str, float] = field(default_factory=dict)
    callers_lateness_ms: dict[str, float] = field(default_factory=dict)


def configured_silence_ms() -> int:
    """Return the silence that the agent's settings require after the scripted words with the scripted score."""
    return endpointing(TurnSettings()).required_silence_ms(Cues(transcript=HEARD, score=TURN_SCORE))


def pair(
    step: Step,
    turns: Sequence[tuple[int, float | None]],
    ledgers: Sequence[dict[str, Any]],
    silence_ms: float,
) -> None:
    """Add one caller's turns: each gap on the wire beside its ledger, where both were kept for every turn.

    The parts add up to the overhead: what the wait for the end of the turn took beyond the configured silence, the rest of
    the ledger, and what the agent does not see.
    """
    gaps = [gap for _, gap in turns if gap is not None]
    step.unanswered += len(turns) - len(gaps)
    step.gaps_ms += gaps
    step.overhead_ms += [gap - silence_ms for gap in gaps]
    if len(turns) != len(ledgers):
        return
    for (_, gap), book in zip(turns, ledgers, strict=True):
        if gap is None or "gap" not in book:
            continue
        parts = stages(book)
        waited = sum(parts.pop(name, 0.0) for name in _SILENCE_STAGES)
        step.parts_ms.append(
            {"end of turn": waited - silence_ms, **parts, "unseen by the agent": gap - book["gap"]}
        )


def vad_lags_ms(lines: Sequence[str]) -> list[float]:
    """Return for each recording how long after its last sample the VAD still hears speech, in ms.

    The same network, thresholds and windows as in the agent, without any clock.
    """
    vad = SileroVad(model_path("silero-vad", Settings().models_directory))
    return [_vad_lag_ms(vad, recorded(line)) for line in lines]


def _vad_lag_ms(vad: SileroVad, pcm: bytes) -> float:
    window = vad.window_samples
    segmenter = Segmenter(TurnSettings(), rate_hz=_RATE_HZ, window_samples=window)
    speech = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    before, after = np.zeros(16 * window, np.float32), np.zeros(_RATE_HZ, np.float32)
    samples = np.concatenate([before, speech, after])
    state = vad.initial_state()[None]
    stop = len(before) + len(speech)
    for offset in range(0, len(samples) - window, window):
        probability, state = vad.probabilities(samples[None, offset : offset + window], state)
        event = segmenter.feed(offset, float(probability[0]))
        if isinstance(event, SegmentStop):
            stop = event.offset
    return 1000 * (stop - len(before) - len(speech)) / _RATE_HZ


def split(calls: int, uri: str, seconds: float, soak: int = 0) -> list[LoadConfig]:
    """Share calls out to processes of callers."""
    count = max(2, -(-calls // _CALLS_PER_PROCESS)) if calls > 1 else 1
    configs = []
    first = soak_first = 0
    for number in range(count):
        size = calls // count + (number < calls % count)
        part = soak // count + (number < soak % count)
        begin = soak_first if soak else first
        configs.append(LoadConfig(uri, begin, size, seconds, _PAUSE_S, part, dial_spread_s=3.0 + calls / 25))
        first += size
        soak_first += part
    return configs


async def at_once(
    processes: Processes, directory: Path, calls: int, seconds: float, silence_ms: float
) -> Step:
    """So many calls at once."""
    step = Step(calls)
    processes.ledgers()
    idle_mb = processes.resident_mb("agent")
    before = processes.cpu_s()
    began = asyncio.get_running_loop().time()
    peak_mb = idle_mb

    async def watch() -> None:
        nonlocal peak_mb
        while True:
            await asyncio.sleep(1)
            peak_mb = max(peak_mb, processes.resident_mb("agent"))

    watching = asyncio.create_task(watch())
    try:
        results, callers_s = await callers(
            split(calls, processes.uri, seconds), directory, seconds + 90, lambda _: None
        )
    finally:
        watching.cancel()
    elapsed = asyncio.get_running_loop().time() - began
    after = processes.cpu_s()
    step.cores = {name: round((after[name] - before[name]) / elapsed, 3) for name in after}
    step.cores["callers"] = round(callers_s / elapsed, 3)
    step.agent_mb = round(peak_mb, 1)
    step.mb_per_call = round((peak_mb - idle_mb) / calls, 2)
    step.lateness_ms = processes.sip_status()["lateness_ms"]
    await asyncio.sleep(3)  # the last turns are still on their way to the records
    ledgers = await asyncio.to_thread(processes.ledgers)
    for result in results:
        taken = result["taken"]
        step.refused += taken["refused"]
        step.broken += taken["broken"]
        for name, gaps in taken["gaps_ms"].items():
            pair(step, gaps, ledgers.get(number_of(name), []), silence_ms)
        for key, value in result["lateness_ms"].items():
            step.callers_lateness_ms[key] = max(step.callers_lateness_ms.get(key, 0.0), value)
    return step


async def soak(
    processes: Processes, directory: Path, calls: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Many short calls one after another; the agent's memory every hundred of them."""
    points: list[tuple[int, float]] = [(0, processes.resident_mb("agent"))]
    ended = 0

    def progress(done: int) -> None:
        nonlocal ended
        ended = max(ended, done)
        if done // 100 > points[-1][0] // 100:
            points.append((done, processes.resident_mb("agent")))
            say(f"  {done} calls: agent {points[-1][1]:.1f} MB")

    began = asyncio.get_running_loop().time()
    results, _ = await callers(
        split(min(_SOAK_LINES, calls), processes.uri, 0.0, calls), directory, _SOAK_LIMIT_S, progress
    )
    await asyncio.sleep(2)
    points.append((ended, processes.resident_mb("agent")))
    settled = [point for point in points if point[0] >= calls // 5]
    return {
        "calls": ended,
        "refused": sum(result["taken"]["refused"] for result in results),
        "broken": sum(result["taken"]["broken"] for result in results),
        "seconds": round(asyncio.get_running_loop().time() - began, 1),
        "agent_mb_by_calls": [(done, round(mb, 1)) for done, mb in points],
        "kb_per_call_after_warming": round(1024 * slope(settled), 2),
    }


def figures_of_step(step: Step) -> dict[str, Any]:
    """Return what is kept of a step."""
    names = list(dict.fromkeys(name for row in step.parts_ms for name in row))
    return {
        "calls": step.calls,
        "turns": len(step.gaps_ms) + step.unanswered,
        "unanswered": step.unanswered,
        "refused": step.refused,
        "broken": step.broken,
        "gap_ms": summarise(step.gaps_ms),
        "overhead_ms": summarise(step.overhead_ms),
        "parts_p50_ms": {
            name: round(percentile([row.get(name, 0.0) for row in step.parts_ms], 0.5), 1) for name in names
        },
        "parts_p95_ms": {
            name: round(percentile([row.get(name, 0.0) for row in step.parts_ms], 0.95), 1) for name in names
        },
        "agent_mb": step.agent_mb,
        "mb_per_call": step.mb_per_call,
        "cores": step.cores,
        "media_lateness_ms": step.lateness_ms,
        "callers_lateness_ms": step.callers_lateness_ms,
        "overhead_all_ms": [round(one, 1) for one in step.overhead_ms],
    }


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    table = Table(title="calls at once in one agent process; all models scripted, VAD and media real")
    for heading in ("calls", "turns", "gap P50", "silence", "overhead P50", "P95", "MB a call", "media late p99",
                    "callers late p99", "CPU in cores"):  # fmt: skip
        table.add_column(heading, justify="right")
    for step in figures["steps"]:
        over, gap = step["overhead_ms"], step["gap_ms"]
        table.add_row(
            str(step["calls"]), f"{step['turns']} ({step['unanswered']} unanswered)",
            f"{gap.p50:.0f}" if gap else "", str(figures["configured_silence_ms"]),
            f"{over.p50:.0f}" if over else "", f"{over.p95:.0f}" if over else "", f"{step['mb_per_call']:.2f}",
            f"{step['media_lateness_ms'].get('p99', 0):.1f}", f"{step['callers_lateness_ms'].get('p99', 0):.1f}",
            ", ".join(f"{name} {cores:.2f}" for name, cores in step["cores"].items()),
        )  # fmt: skip
    console.print(table)
    for step in figures["steps"]:
        parts = ", ".join(
            f"{name} {value:.0f} (P95 {step['parts_p95_ms'][name]:.0f})"
            for name, value in step["parts_p50_ms"].items()
        )
        console.print(
            f"{step['calls']} calls, parts of the overhead in ms: {parts}; refused {step['refused']},"
            f" broken {step['broken']}"
        )
    for name in ("before", "after"):
        late = figures["bare_lateness_ms"][name]
        console.print(
            f"bare ticker {name}: late p50 {late['p50']:.2f}, p99 {late['p99']:.2f}, max {late['max']:.1f} ms"
        )
    kept = figures["soak"]
    if kept:
        grown = ", ".join(f"{done}: {mb:.0f}" for done, mb in kept["agent_mb_by_calls"])
        console.print(
            f"{kept['calls']} calls one after another in {kept['seconds']:.0f} s ({kept['refused']} refused,"
            f" {kept['broken']} broken): agent MB by calls {grown};"
            f" {kept['kb_per_call_after_warming']:+.1f} kB a call once warm"
        )
    lags = figures["vad_lags_ms"]
    console.print(
        f"of it the VAD alone: it hears speech for {percentile(lags, 0.5):.0f} ms (median of the lines, {min(lags):.0f} to"
        f" {max(lags):.0f}) after its last sample"
    )
    console.print(f"targets: {TARGETS}")
    console.print(describe_load(figures["load"]))


async def measure(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Take every figure."""
    figures: dict[str, Any] = {
        "bare_lateness_ms": {"before": await bare_in_a_process(8)},
        "steps": [],
        "soak": {},
    }
    figures["vad_lags_ms"] = vad_lags_ms(LINES)
    silence_ms = figures["configured_silence_ms"] = configured_silence_ms()
    say("bare ticker taken; starting the processes …")
    for calls in arguments.calls:
        # Each step has processes of its own: memory and lateness then belong to it.
        with tempfile.TemporaryDirectory(prefix="landline-load-") as directory:
            processes = Processes(Path(directory), calls + 2)
            try:
                await asyncio.to_thread(processes.start)
                say(f"{calls} calls at once …")
                step = await at_once(processes, Path(directory), calls, arguments.seconds, silence_ms)
                figures["steps"].append(figures_of_step(step))
                if step.overhead_ms:
                    say(
                        f"  overhead P95 {percentile(step.overhead_ms, 0.95):.0f} ms, {step.mb_per_call} MB a call"
                    )
            finally:
                await asyncio.to_thread(processes.stop)
    if arguments.soak:
        with tempfile.TemporaryDirectory(prefix="landline-load-") as directory:
            processes = Processes(Path(directory), _SOAK_LINES + 2)
            try:
                await asyncio.to_thread(processes.start)
                say(f"{arguments.soak} calls one after another …")
                figures["soak"] = await soak(processes, Path(directory), arguments.soak, say)
            finally:
                await asyncio.to_thread(processes.stop)
    figures["bare_lateness_ms"]["after"] = await bare_in_a_process(8)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--calls", type=int, nargs="*", default=[4, 20, 50, 100], help="calls at once, step by step"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each step asks")
    parser.add_argument("--soak", type=int, default=1000, help="short calls one after another; 0: none")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    end_in_order()
    console = Console(width=180)
    load = MachineLoad()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(arguments, console.print))
    figures |= {"machine": machine(), "load": load.report(), "cores": psutil.cpu_count(), "targets": TARGETS}
    show(figures, console)
    path = write_figures("load", figures, arguments.out)
    bench_plots.load(figures, arguments.out / "load.png")
    console.print(f"figures: {path}, plot: {arguments.out / 'load.png'}")


if __name__ == "__main__":
    main()
