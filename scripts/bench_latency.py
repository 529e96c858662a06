"""``make bench``: response gap, barge-in, failover and memory of the whole stack, taken on the wire.

Rings the sample clinic over real SIP and RTP on this machine with the real models. The gap is counted
at the caller's end: from the packet with the last speech sample to the first packet with content (a
filler is counted apart). Beside every gap stands the share of turns that were cut off early.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scripts.caller import Telephone
from scripts.softphone import SPEECH_DBFS
from scripts.stack import Stack, running

LINES = (
    "Are you a machine?",
    "I am a little nervous about coming to see you.",
    "What are your hours on Saturday?",
    "Where can I park?",
    "My mother used to come to you.",
    "Do I need to fast before a blood test?",
    "I like your clinic a lot.",
    "Thank you very much.",
    "Do you take Blue Cross?",
    "It has been very cold this week.",
    "When do you close on Friday?",
    "What should I bring to my first visit?",
    "I have never been to a clinic like yours.",
    "Are you open on Sunday?",
    "How do I get a refund?",
)
"""Questions of every class; which class a turn really took is read from its record."""

_TARGETS_MS = {"fixed": 900, "plain": 2000, "grounded": 3000, "tool": 4500}
_STAGES = ("silence", "stt_wait", "words", "voice", "playout")
_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Results:
    """Everything that was measured, in milliseconds unless the name says otherwise."""

    first_audio_ms: list[float] = field(default_factory=list)
    gaps_ms: dict[str, list[float]] = field(default_factory=dict)
    filler_gaps_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    ledger_error_ms: list[float] = field(default_factory=list)
    """Wire gap less the ledger's: what the agent cannot see."""
    turns: int = 0
    cut_off_early: int = 0
    unanswered: int = 0
    barge_in_ms: list[float] = field(default_factory=list)
    failover_killed_ms: list[float] = field(default_factory=list)
    failover_stopped_ms: list[float] = field(default_factory=list)
    resident_mb: dict[str, float] = field(default_factory=dict)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


async def measure_gaps(
    stack: Stack, telephone: Telephone, results: Results, advance: Callable[[], None]
) -> None:
    """One call through all lines."""
    caller = await telephone.ring(stack.uri)
    await caller.prepare(LINES)
    greeting = await caller.listen(0)
    results.first_audio_ms.append((greeting.heard_from_ns - caller.call.answered_ns) / _NS_PER_MS)
    call_id = stack.calls()[-1]["call_id"]
    known = len(stack.wait_rows("turn", call_id, 1))
    for line in LINES:
        exchange = await caller.ask(line)
        rows = stack.wait_rows("turn", call_id, known + 1)
        fresh = [row for row in rows[known:] if row["heard"]]
        known = len(rows)
        results.turns += 1
        advance()
        if not fresh:
            results.unanswered += 1
            continue
        # A line has no pause in it: more than one turn for it means that it was cut.
        results.cut_off_early += len(fresh) > 1
        row = fresh[-1]
        ledger = row["ledger"]
        if len(fresh) > 1 or not ledger:
            continue
        first_ms = ledger.get("filler_gap", ledger["gap"])
        unseen_ms = exchange.gap_ms - first_ms
        results.ledger_error_ms.append(unseen_ms)
        results.gaps_ms.setdefault(row["turn_class"], []).append(ledger["gap"] + unseen_ms)
        results.stages_ms.setdefault(row["turn_class"], []).append({name: ledger[name] for name in _STAGES})
        if "filler_gap" in ledger:
            results.filler_gaps_ms.append(exchange.gap_ms)
    await caller.call.hang_up()


async def measure_barge_in(stack: Stack, telephone: Telephone) -> float:
    """Speak over the greeting; return from the first speech packet sent to the last speech received."""
    caller = await telephone.ring(stack.uri)
    await caller.prepare(["Sorry, where can I park?"])
    await caller.call.wait_for_audio(SPEECH_DBFS, 0, 10)
    await asyncio.sleep(1.0)
    began_ns = time.monotonic_ns()
    await caller.say("Sorry, where can I park?")
    silent_ns = caller.last_speech_before_pause_ns(began_ns)
    await caller.call.hang_up()
    return (silent_ns - began_ns) / _NS_PER_MS


async def measure_failover(stack: Stack, telephone: Telephone, signal_number: int) -> float:
    """Hurt the agent in a quiet moment; return when the one that took over is heard."""
    caller = await telephone.ring(stack.uri)
    await caller.listen(0)
    await caller.ask("What are your hours on Saturday?")
    hurt_ns = time.monotonic_ns()
    os.kill(stack.active_agent().pid, signal_number)
    # Nobody speaks now: what is heard next is the agent that took over.
    heard_ns = await caller.call.wait_for_audio(SPEECH_DBFS, hurt_ns, 15)
    await caller.call.wait_for_quiet(900, 15)
    await caller.call.hang_up()
    return (heard_ns - hurt_ns) / _NS_PER_MS


async def measure(stack: Stack, calls: int, console: Console) -> Results:
    """Take every figure."""
    results = Results()
    telephone = await Telephone.start(stack.run_directory)
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("response gap", total=calls * len(LINES))
            for _ in range(calls):
                await measure_gaps(stack, telephone, results, lambda: progress.advance(task))
            results.resident_mb = stack.resident_mb()
            task = progress.add_task("barge-in", total=8)
            for _ in range(8):
                results.barge_in_ms.append(await measure_barge_in(stack, telephone))
                progress.advance(task)
            task = progress.add_task("failover", total=6)
            for kind, taken in (
                (signal.SIGKILL, results.failover_killed_ms),
                (signal.SIGSTOP, results.failover_stopped_ms),
            ):
                for _ in range(3):
                    taken.append(await measure_failover(stack, telephone, kind))
                    await asyncio.to_thread(stack.wait_ready, 60)
                    await asyncio.sleep(3)
                    progress.advance(task)
    finally:
        await telephone.close()
    return results


def show(results: Results, console: Console) -> None:
    """Print the figures."""
    table = Table(title="Response gap on the wire: last speech sample sent to first content heard (ms)")
    for heading in ("class", "turns", "median", "P95", "target (median)", *_STAGES):
        table.add_column(heading, justify="right")
    for turn_class, target in _TARGETS_MS.items():
        gaps = results.gaps_ms.get(turn_class, [])
        if not gaps:
            table.add_row(turn_class, "0")
            continue
        stages = [
            f"{statistics.median(row[name] for row in results.stages_ms[turn_class]):.0f}" for name in _STAGES
        ]
        table.add_row(
            turn_class,
            str(len(gaps)),
            f"{statistics.median(gaps):.0f}",
            f"{percentile(gaps, 0.95):.0f}",
            f"≤ {target}",
            *stages,
        )
    console.print(table)
    share = 100 * results.cut_off_early / max(1, results.turns)
    console.print(
        f"turns {results.turns}, cut off early {results.cut_off_early} ({share:.1f} %), "
        f"without an answer {results.unanswered}"
    )
    rows: tuple[tuple[str, list[float], int | None], ...] = (
        ("first agent audio after answer", results.first_audio_ms, 300),
        ("filler heard (turns that have one)", results.filler_gaps_ms, 1200),
        ("wire gap less the ledger's (what the agent cannot see)", results.ledger_error_ms, None),
        ("barge-in to silence", results.barge_in_ms, 250),
        ("agent killed: conversation resumed", results.failover_killed_ms, 3000),
        ("agent stopped: conversation resumed", results.failover_stopped_ms, 3000),
    )
    for name, values, target_ms in rows:
        if values:
            console.print(
                f"{name}: median {statistics.median(values):.0f} ms, max {max(values):.0f} ms"
                f" ({'' if target_ms is None else f'target ≤ {target_ms} ms, '}n = {len(values)})"
            )
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in results.resident_mb.items() if name != "all")
    console.print(f"resident {results.resident_mb.get('all', 0):.0f} MB (target ≤ 4096): {sizes}")


def draw(results: Results, png: Path) -> None:
    """Draw the gaps of every class beside their targets."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    classes = [name for name in _TARGETS_MS if results.gaps_ms.get(name)]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    axes.boxplot(
        [results.gaps_ms[name] for name in classes],
        tick_labels=classes,
        orientation="horizontal",
        whis=(5, 95),
    )
    for row, name in enumerate(classes, 1):
        axes.plot([_TARGETS_MS[name]] * 2, [row - 0.35, row + 0.35], color="#c0392b", linewidth=2)
    axes.set(
        title="Response gap on the wire (box: quartiles, whiskers: 5 to 95 %; red: target for the median)",
        xlabel="milliseconds",
        xlim=(0, None),
    )
    figure.savefig(png, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4, help="calls through all lines, one after another")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    console.print(
        f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="landline-bench-") as directory,
        running(Path(directory)) as stack,
    ):
        results = asyncio.run(measure(stack, arguments.calls, console))
    show(results, console)
    (out / "latency.json").write_text(json.dumps(asdict(results), indent=1))
    draw(results, out / "latency.png")
    console.print(f"figures: {out / 'latency.json'}, plot: {out / 'latency.png'}")


if __name__ == "__main__":
    main()
