"""``landline bench latency``: the response gap of every class of turn on the wire, with its ledger.

Rings the sample clinic (with one slow tool added) on this machine with the real models, over SIP and RTP or over the raw
audio WebSocket. The gap is counted at the caller's end: from the packet with the last speech sample to the first packet
with speech of the agent's. Beside every gap stands the share of turns that were cut off early, and the lines include
some with a pause in them, so that it means something.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from models.speech_client import PiperClient
from scripts import bench_plots
from scripts.bench_agent import make_agent
from scripts.bench_lines import TURNS, Line, Voices
from scripts.bench_phone import BenchCall, SipCall, WebSocketCall, ask, greeted
from scripts.bench_statistics import (
    OUT,
    MachineLoad,
    Summary,
    describe_load,
    end_in_order,
    machine,
    percentile,
    share,
    summarise,
    write_figures,
)
from scripts.softphone import CallRefused, Softphone
from scripts.stack import Stack, free_port, running
from server.agent.ledger import STAGES

TARGETS_MS: Final = {"fixed": 450, "plain": 1000, "grounded": 1500, "tool": 450, "tool, filler first": 1000}
"""For the median of each class. A tool turn's own target is its filler's; one without a filler is a cached turn."""
_P95_TARGET_MS: Final = 2000
_SUMS: Final = ("gap", "filler_gap")
"""Entries of a ledger that are sums of others."""
_ROW_LIMIT_S: Final = 4.0


@dataclass(slots=True)
class Results:
    """Everything that was measured, in milliseconds unless the name says otherwise."""

    first_audio_ms: list[float] = field(default_factory=list)
    gaps_ms: dict[str, list[float]] = field(default_factory=dict)
    """To the first thing heard, by class; turns that begin with a filler are a class of their own."""
    content_gaps_ms: dict[str, list[float]] = field(default_factory=dict)
    """To the first content."""
    stages_ms: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    beside: dict[str, list[float]] = field(default_factory=dict)
    """What ledgers tell besides the stages: whether a prepared reply was used, what preparing in vain took."""
    ledger_error_ms: list[float] = field(default_factory=list)
    """Wire gap less the ledger's sum: what the agent does not see."""
    turns: int = 0
    turns_with_pause: int = 0
    cut_off_early: int = 0
    cut_off_lines: list[str] = field(default_factory=list)
    """Which lines were cut: the benchmark's own words, nobody's speech."""
    unanswered: int = 0
    calls: int = 0
    refused_calls: int = 0

    def all_gaps(self) -> list[float]:
        """Return every gap to the first thing heard."""
        return [gap for gaps in self.gaps_ms.values() for gap in gaps]


def take_turn(results: Results, wire_gap_ms: float | None, rows: Sequence[dict[str, Any]]) -> bool:
    """Add one exchange: its gap on the wire and the turns that the records hold for it. Returns whether it was cut off."""
    row = rows[-1] if rows else None
    # More than one turn for one line means that it was cut, whether or not the caller heard the answer to the first part.
    cut = len(rows) > 1
    if cut or row is None or wire_gap_ms is None or "gap" not in row["ledger"]:
        return cut
    book = row["ledger"]
    unseen_ms = wire_gap_ms - book.get("filler_gap", book["gap"])
    results.ledger_error_ms.append(unseen_ms)
    name = f"{row['turn_class']}, filler first" if "filler_gap" in book else row["turn_class"]
    results.gaps_ms.setdefault(name, []).append(wire_gap_ms)
    results.content_gaps_ms.setdefault(name, []).append(book["gap"] + unseen_ms)
    results.stages_ms.setdefault(name, []).append(stages(book))
    for key in book.keys() - stages(book).keys() - set(_SUMS):
        results.beside.setdefault(key, []).append(float(book[key]))
    return cut


def stages(book: dict[str, Any]) -> dict[str, float]:
    """Return the stages of a ledger, in order: the entries that add up to its gap."""
    return {name: float(book[name]) for name in STAGES if name in book}


async def measure_call(
    call: BenchCall, stack: Stack, voices: Voices, lines: Sequence[Line], results: Results, until: float
) -> None:
    """One call through some lines."""
    results.calls += 1
    results.first_audio_ms.append(await greeted(call))
    call_id = stack.calls()[-1]["call_id"]
    known = len(stack.wait_rows("turn", call_id, 1))
    for line in lines:
        if time.monotonic() > until:
            break
        answer = await ask(call, voices, line)
        results.turns += 1
        results.turns_with_pause += bool(line.pause_ms)
        results.unanswered += not answer.answered
        rows = await asyncio.to_thread(stack.wait_rows, "turn", call_id, known + 1, _ROW_LIMIT_S)
        fresh = [row for row in rows[known:] if row["heard"]]
        known = len(rows)
        if take_turn(results, answer.gap_ms, fresh) or answer.cut_off_early:
            results.cut_off_early += 1
            results.cut_off_lines.append(line.name)


async def measure(
    stack: Stack, arguments: argparse.Namespace, until: float, say: Callable[[str], None]
) -> Results:
    """Ring until all turns are taken or the time is over."""
    results = Results()
    voices = Voices(PiperClient(stack.run_directory / "tts.sock"), arguments.out / "voices")
    await voices.prepare(TURNS)
    order = random.Random(arguments.seed)
    phone = await Softphone.start() if arguments.over == "sip" else None
    try:
        while results.turns < arguments.turns and time.monotonic() < until:
            lines = list(TURNS)
            order.shuffle(lines)
            lines = lines[: arguments.turns - results.turns]
            try:
                call: BenchCall = (
                    await SipCall.dial(phone, stack.uri)
                    if phone
                    else await WebSocketCall.dial(websocket_url(stack))
                )
            except CallRefused:
                results.refused_calls += 1
                await asyncio.sleep(1)
                continue
            try:
                await measure_call(call, stack, voices, lines, results, until)
            except (ConnectionError, TimeoutError) as error:
                say(f"a call ended early: {type(error).__name__}")
            finally:
                await call.hang_up()
            gaps = results.all_gaps()
            middle = f", median gap {percentile(gaps, 0.5):.0f} ms" if gaps else ""
            say(f"{results.turns} of {arguments.turns} turns{middle}, {results.cut_off_early} cut off early")
    finally:
        if phone is not None:
            await phone.close()
    return results


def websocket_url(stack: Stack) -> str:
    """Return the address of the stack's WebSocket."""
    return f"ws://127.0.0.1:{stack.environment['LANDLINE_WEBSOCKET__PORT']}/v1/call"


def figures_of(results: Results, over: str, load: dict[str, float]) -> dict[str, Any]:
    """Return everything that is kept."""
    stage_names = list(
        dict.fromkeys(name for rows in results.stages_ms.values() for row in rows for name in row)
    )
    return {
        "machine": machine(),
        "load": load,
        "over": over,
        "turns": results.turns,
        "turns_with_pause": results.turns_with_pause,
        "calls": results.calls,
        "refused_calls": results.refused_calls,
        "cut_off_early": results.cut_off_early,
        "cut_off_early_share": round(share(results.cut_off_early, results.turns), 1),
        "cut_off_lines": results.cut_off_lines,
        "unanswered": results.unanswered,
        "gap_ms": {name: summarise(values) for name, values in results.gaps_ms.items()},
        "gap_of_all_ms": summarise(results.all_gaps()),
        "content_gap_ms": {name: summarise(values) for name, values in results.content_gaps_ms.items()},
        "stages": stage_names,
        "median_stage_ms": {
            name: {
                stage: round(percentile([row.get(stage, 0.0) for row in rows], 0.5)) for stage in stage_names
            }
            for name, rows in results.stages_ms.items()
        },
        "beside_the_stages_mean": {
            name: round(sum(values) / max(1, len(results.ledger_error_ms)), 2)
            for name, values in sorted(results.beside.items())
        },
        "wire_less_ledger_ms": summarise(results.ledger_error_ms),
        "wire_less_ledger_spread_ms": spread(results.ledger_error_ms),
        "first_audio_ms": summarise(results.first_audio_ms),
        "gaps_ms": {name: [round(one) for one in values] for name, values in results.gaps_ms.items()},
        "wire_less_ledger_all_ms": [round(one) for one in results.ledger_error_ms],
    }


def spread(values: Sequence[float]) -> float:
    """Return the 95th percentile of the distance from the median, 0 for no values."""
    if not values:
        return 0.0
    middle = percentile(values, 0.5)
    return round(percentile([abs(one - middle) for one in values], 0.95), 1)


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    table = Table(
        title=f"Response gap on the wire over {figures['over']}: last speech packet to first heard, in ms"
    )
    for heading in ("class", "turns", "P50", "target", "P95", "P99", "content P50", *figures["stages"]):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name in sorted(
        figures["gap_ms"], key=lambda one: list(TARGETS_MS).index(one) if one in TARGETS_MS else 99
    ):
        gap: Summary = figures["gap_ms"][name]
        medians = figures["median_stage_ms"][name]
        table.add_row(
            name, str(gap.n), f"{gap.p50:.0f}", f"≤ {TARGETS_MS[name]}" if name in TARGETS_MS else "",
            f"{gap.p95:.0f}", f"{gap.p99:.0f}", f"{figures['content_gap_ms'][name].p50:.0f}",
            *(str(medians[stage]) for stage in figures["stages"]),
        )  # fmt: skip
    console.print(table)
    everything: Summary | None = figures["gap_of_all_ms"]
    if everything is not None:
        console.print(
            f"all turns: P50 {everything.p50:.0f}, P95 {everything.p95:.0f} (target ≤ {_P95_TARGET_MS}),"
            f" P99 {everything.p99:.0f} ms (n = {everything.n})"
        )
    console.print(
        f"cut off early: {figures['cut_off_early']} of {figures['turns']} turns ({figures['cut_off_early_share']} %;"
        f" {figures['turns_with_pause']} of them hold a pause of the caller's); unanswered {figures['unanswered']};"
        f" calls {figures['calls']}, refused {figures['refused_calls']}"
    )
    for line in sorted(set(figures["cut_off_lines"])):
        console.print(f"  cut off: {line}", highlight=False)
    unseen: Summary | None = figures["wire_less_ledger_ms"]
    if unseen is not None:
        console.print(
            f"wire gap less the ledger's sum: median {unseen.p50:.0f} ms, P95 {unseen.p95:.0f} ms, 95 % within"
            f" {figures['wire_less_ledger_spread_ms']:.0f} ms of the median (n = {unseen.n})"
        )
    if figures["beside_the_stages_mean"]:
        beside = ", ".join(f"{name} {value:g}" for name, value in figures["beside_the_stages_mean"].items())
        console.print(f"beside the stages, mean of a turn: {beside}")
    first: Summary | None = figures["first_audio_ms"]
    if first is not None:
        console.print(
            f"first agent audio after the answer: P50 {first.p50:.0f} ms, worst {first.worst:.0f} ms"
        )
    console.print(describe_load(figures["load"]))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=112, help="turns to take")
    parser.add_argument("--minutes", type=float, default=16.0, help="when no further turn is begun")
    parser.add_argument("--over", choices=("sip", "websocket"), default="sip")
    parser.add_argument("--seed", type=int, default=1, help="order of the lines")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the benchmark."""
    arguments = parse()
    end_in_order()
    console = Console(width=160)
    until = time.monotonic() + 60 * arguments.minutes
    load = MachineLoad()
    settings: dict[str, str] = {}
    if arguments.over == "websocket":
        settings["LANDLINE_WEBSOCKET__ENABLED"] = "true"
        settings["LANDLINE_WEBSOCKET__PORT"] = str(free_port(socket.SOCK_STREAM))
    with tempfile.TemporaryDirectory(prefix="landline-bench-") as directory:
        settings["LANDLINE_AGENT__FOLDER"] = str(make_agent(Path(directory)))
        console.print("starting Landline …")
        with running(Path(directory) / "data", **settings) as stack:
            console.print(f"ringing over {arguments.over}")
            results = asyncio.run(measure(stack, arguments, until, console.print))
    figures = figures_of(results, arguments.over, load.report())
    show(figures, console)
    name = "latency" if arguments.over == "sip" else "latency_websocket"
    path = write_figures(name, figures, arguments.out)
    bench_plots.latency(figures, arguments.out / f"{name}.png")
    console.print(f"figures: {path}, plot: {arguments.out / f'{name}.png'}")


if __name__ == "__main__":
    main()
