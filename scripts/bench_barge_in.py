"""``python -m scripts.bench_barge_in``: how long the agent is still heard when its caller speaks over it.

Asks for something with a long answer and interrupts it, at different moments and with different words, over SIP or over the
raw audio WebSocket. Counts from the packet with the first speech sample to the end of the last packet with speech of the
agent's before it falls silent.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from models.speech_client import PiperClient
from scripts import bench_plots
from scripts.bench_latency import websocket_url
from scripts.bench_lines import INTERRUPTED, INTERRUPTIONS, Voices
from scripts.bench_phone import QUIET_MS, BenchCall, SipCall, WebSocketCall, greeted, interrupt
from scripts.bench_statistics import (
    OUT,
    MachineLoad,
    describe_load,
    end_in_order,
    machine,
    summarise,
    write_figures,
)
from scripts.softphone import CallRefused, Softphone
from scripts.stack import Stack, free_port, running

_TARGETS_MS: Final = {"p50": 150, "p95": 250}
_PER_CALL: Final = 6
_AFTER_S: Final = (0.4, 1.8)
"""When the caller cuts in, counted from the agent's first word: the answer is 8 s long."""


@dataclass(slots=True)
class Results:
    """What was measured."""

    silent_ms: list[float] = field(default_factory=list)
    silent_already: int = 0
    unanswered: int = 0
    broken_calls: int = 0


async def one_call(
    call: BenchCall, voices: Voices, order: random.Random, results: Results, wanted: int
) -> None:
    """Interrupt an agent a few times in one call."""
    await greeted(call)
    for _ in range(min(_PER_CALL, wanted)):
        await call.say(voices.pcm(INTERRUPTED, call.rate_hz))
        try:
            silent_ms = await interrupt(
                call, voices, order.choice(INTERRUPTIONS), after_s=order.uniform(*_AFTER_S)
            )
        except TimeoutError:
            results.unanswered += 1
            continue
        if silent_ms is None:
            results.silent_already += 1
        else:
            results.silent_ms.append(silent_ms)
        # The interruption is answered as well.
        await call.wait_for_speech(time.monotonic_ns(), 12)
        await call.wait_for_quiet(QUIET_MS, 25)


async def measure(
    stack: Stack, arguments: argparse.Namespace, until: float, say: Callable[[str], None]
) -> Results:
    """Ring until there are enough interruptions or the time is over."""
    results = Results()
    voices = Voices(PiperClient(stack.run_directory / "tts.sock"), arguments.out / "voices")
    await voices.prepare([INTERRUPTED, *INTERRUPTIONS])
    order = random.Random(arguments.seed)
    phone = await Softphone.start() if arguments.over == "sip" else None
    try:
        while len(results.silent_ms) < arguments.times and time.monotonic() < until:
            try:
                call: BenchCall = (
                    await SipCall.dial(phone, stack.uri)
                    if phone
                    else await WebSocketCall.dial(websocket_url(stack))
                )
            except CallRefused:
                await asyncio.sleep(1)
                continue
            try:
                await one_call(call, voices, order, results, arguments.times - len(results.silent_ms))
            except (ConnectionError, TimeoutError):
                results.broken_calls += 1
            finally:
                await call.hang_up()
            say(f"{len(results.silent_ms)} of {arguments.times} barge-ins")
    finally:
        if phone is not None:
            await phone.close()
    return results


def figures_of(results: Results, over: str, load: dict[str, float]) -> dict[str, Any]:
    """Return everything that is kept."""
    return {
        "machine": machine(),
        "load": load,
        "over": over,
        "targets_ms": _TARGETS_MS,
        "silent_ms": summarise(results.silent_ms),
        "silent_already": results.silent_already,
        "unanswered": results.unanswered,
        "broken_calls": results.broken_calls,
        "silent_all_ms": [round(one) for one in results.silent_ms],
    }


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    silent = figures["silent_ms"]
    if silent is not None:
        console.print(
            f"barge-in to silence on the wire over {figures['over']}: P50 {silent.p50:.0f} ms (target ≤ 150),"
            f" P95 {silent.p95:.0f} ms (target ≤ 250), worst {silent.worst:.0f} ms (n = {silent.n})"
        )
    console.print(
        f"agent silent already {figures['silent_already']}, unanswered {figures['unanswered']},"
        f" broken calls {figures['broken_calls']}"
    )
    console.print(describe_load(figures["load"]))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=36, help="interruptions")
    parser.add_argument("--minutes", type=float, default=7.0, help="when no further call is made")
    parser.add_argument("--over", choices=("sip", "websocket"), default="sip")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    end_in_order()
    console = Console(width=160)
    until = time.monotonic() + 60 * arguments.minutes
    load = MachineLoad()
    settings: dict[str, str] = {}
    if arguments.over == "websocket":
        settings["LANDLINE_WEBSOCKET__ENABLED"] = "true"
        settings["LANDLINE_WEBSOCKET__PORT"] = str(free_port(socket.SOCK_STREAM))
    with tempfile.TemporaryDirectory(prefix="landline-bench-") as directory:
        console.print("starting Landline …")
        with running(Path(directory), **settings) as stack:
            results = asyncio.run(measure(stack, arguments, until, console.print))
    figures = figures_of(results, arguments.over, load.report())
    show(figures, console)
    name = "barge_in" if arguments.over == "sip" else "barge_in_websocket"
    path = write_figures(name, figures, arguments.out)
    bench_plots.barge_in(figures, arguments.out / f"{name}.png")
    console.print(f"figures: {path}, plot: {arguments.out / f'{name}.png'}")


if __name__ == "__main__":
    main()
