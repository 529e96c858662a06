"""``python -m scripts.bench_failover``: how soon a call goes on whose agent was killed or hung, and what all of it weighs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from scripts.bench_statistics import (
    NS_PER_MS,
    OUT,
    MachineLoad,
    describe_load,
    end_in_order,
    machine,
    summarise,
    write_figures,
)
from scripts.caller import Telephone
from scripts.softphone import SPEECH_DBFS
from scripts.stack import Stack, running

_TARGET_MS: Final = 3000
_MEMORY_TARGET_MB: Final = 4096


async def failover(stack: Stack, telephone: Telephone, signal_number: int) -> float:
    """Hurt the agent in a quiet moment; return when the one that took over is heard, in ms."""
    caller = await telephone.ring(stack.uri)
    await caller.listen(0)
    await caller.ask("What are your hours on Saturday?")
    hurt_ns = time.monotonic_ns()
    os.kill(stack.active_agent().pid, signal_number)
    # Nobody speaks now: what is heard next is the agent that took over.
    heard_ns = await caller.call.wait_for_audio(SPEECH_DBFS, hurt_ns, 15)
    await caller.call.wait_for_quiet(900, 15)
    await caller.call.hang_up()
    return (heard_ns - hurt_ns) / NS_PER_MS


async def measure(stack: Stack, times: int, console: Console) -> dict[str, list[float]]:
    """Kill and stop agents by turns."""
    taken: dict[str, list[float]] = {"killed": [], "stopped": []}
    telephone = await Telephone.start(stack.run_directory)
    try:
        for name, kind in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
            for _ in range(times):
                taken[name].append(await failover(stack, telephone, kind))
                await asyncio.to_thread(stack.wait_ready, 60)
                await asyncio.sleep(3)
                console.print(f"agent {name}: {taken[name][-1]:.0f} ms")
    finally:
        await telephone.close()
    return taken


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    end_in_order()
    console = Console(width=140)
    load = MachineLoad()
    with (
        tempfile.TemporaryDirectory(prefix="landline-bench-") as directory,
        running(Path(directory)) as stack,
    ):
        resident = stack.resident_mb()
        taken = asyncio.run(measure(stack, arguments.times, console))
    for name, values in taken.items():
        console.print(
            f"agent {name}: conversation resumed, median {statistics.median(values):.0f} ms,"
            f" worst {max(values):.0f} ms (target ≤ {_TARGET_MS} ms, n = {len(values)})"
        )
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in resident.items() if name != "all")
    console.print(f"resident {resident.get('all', 0):.0f} MB (target ≤ {_MEMORY_TARGET_MB}): {sizes}")
    busy = load.report()
    figures = {
        "machine": machine(),
        "load": busy,
        "resumed_ms": {name: summarise(values) for name, values in taken.items()},
        "resident_mb": {name: round(size) for name, size in resident.items()},
    }
    console.print(describe_load(busy))
    console.print(f"figures: {write_figures('failover', figures, arguments.out)}")


if __name__ == "__main__":
    main()
