"""What the WebSocket door costs and how evenly it sends, beside a bare ticker in the same minute.

``python -m scripts.bench_websocket [--calls 20] [--seconds 10]`` starts a real websocket process, a scripted agent that speaks on
every call, and as many calls at 16 kHz that send audio all the time; nothing else of Landline runs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import uvloop

from scripts.bench_media import bare_in_a_process
from scripts.websocket_phone import dial
from sip.leg_protocol import Resync
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent
from tests.fakes.websocket_process import running

_SETTLE_S = 1.0


async def _measure(calls: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="landline-ws-") as directory:
        async with running(Path(directory), call_limit=calls) as door:
            agent = ScriptedAgent(Behaviour.TONE)
            await agent.connect(door.leg_socket)
            await agent.wait_for(Resync)
            phones = [await dial(door.url) for _ in range(calls)]
            await asyncio.sleep(_SETTLE_S)
            process = psutil.Process(door.child.pid)
            before_s = sum(process.cpu_times()[:2])
            begun = [len(phone.received) for phone in phones]
            await asyncio.sleep(seconds)
            share = (sum(process.cpu_times()[:2]) - before_s) / seconds
            arrivals = [phone.received[first:] for phone, first in zip(phones, begun, strict=True)]
            gaps_ms = [(b.at_ns - a.at_ns) / 1e6 for heard in arrivals for a, b in pairwise(heard)]
            p50, p99 = np.percentile(gaps_ms, [50, 99])
            print(
                f"{calls} calls, {seconds:g} s: {share:.3f} of a core, {share / calls:.4f} a call,", end=" "
            )
            print(f"{process.memory_info().rss / 2**20:.0f} MB resident")
            print(f"frames a call: {min(map(len, arrivals))} to {max(map(len, arrivals))}")
            print(f"distance of arrivals: P50 {p50:.1f} ms, P99 {p99:.1f} ms")
            print(f"lateness of the door's ticks, ms: {(await door.status())['lateness_ms']}")
            for phone in phones:
                await phone.close()
            await agent.close()


async def _run(calls: int, seconds: float) -> None:
    print(f"bare ticker before, ms: {await bare_in_a_process(seconds / 2)}")
    await _measure(calls, seconds)
    print(f"bare ticker after, ms: {await bare_in_a_process(seconds / 2)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    uvloop.run(_run(arguments.calls, arguments.seconds))


if __name__ == "__main__":
    main()
