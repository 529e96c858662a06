"""How late media leaves the sip process with many calls at once, beside a bare ticker in the same minute.

``python -m scripts.bench_media [--calls 20] [--seconds 20]`` starts a real sip process, a scripted agent that speaks on
every call, and as many calls of a real softphone; nothing else of Landline runs. The bare ticker is the same ticker in
a process that does nothing else, before and after: what it shows is the machine's doing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import uvloop

from scripts.softphone import Softphone
from sip.leg_protocol import Resync
from sip.ticker import LatenessHistogram, Ticker
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent


async def _bare(seconds: float) -> dict[str, float]:
    ticker = Ticker(lambda *_: None)
    ticker.start()
    await asyncio.sleep(seconds)
    ticker.stop()
    return ticker.lateness.summary_ms()


async def bare_in_a_process(seconds: float) -> dict[str, float]:
    """Return how late a ticker is in a process that does nothing else."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.bench_media", "--bare", str(seconds), stdout=subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(child.communicate(), seconds + 30)
    summary: dict[str, float] = json.loads(output)
    return summary


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _status(directory: Path) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(directory / "sip-status.sock"))
    status: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 5))
    writer.close()
    return status


async def _loaded(
    calls: int, seconds: float, directory: Path
) -> tuple[dict[str, Any], float, LatenessHistogram]:
    """Return the sip process's status, its CPU share, and how late packets were at the softphone."""
    port = _free_port()
    config = directory / "sip.json"
    config.write_text(
        json.dumps(
            {
                "run_directory": str(directory),
                "host": "127.0.0.1",
                "port": port,
                "call_limit": calls,
                "rtp_port_first": 30_000,
                "rtp_port_last": 30_000 + 4 * calls + 3,
            }
        )
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip", str(config), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    agent = ScriptedAgent(Behaviour.TONE, capacity=calls)
    try:
        await agent.connect(directory / "leg.sock")
        await agent.wait_for(Resync)
        phone = await Softphone.start()
        made = [await phone.dial(f"sip:clinic@127.0.0.1:{port}") for _ in range(calls)]
        process = psutil.Process(child.pid)
        before = process.cpu_times()
        await asyncio.sleep(seconds)
        after = process.cpu_times()
        status = await _status(directory)
        arrivals = LatenessHistogram()
        for call in made:
            # Against the least delayed packet of the call: 20 ms a packet by its timestamp.
            delays = [
                packet.at_ns - ((packet.timestamp - call.received[0].timestamp) & 0xFFFFFFFF) * 125_000
                for packet in call.received
            ]
            for delay in delays:
                arrivals.add(delay - min(delays))
        await phone.close()
        await agent.close()
    finally:
        if child.returncode is None:
            child.terminate()
            await asyncio.wait_for(child.wait(), 10)
    used = after.user - before.user + after.system - before.system
    return status, used / seconds, arrivals


def row(name: str, lateness: Mapping[str, float]) -> str:
    """Return one line of the table."""
    values = "  ".join(f"{lateness[key]:8.2f}" for key in ("p50", "p99", "p999", "max"))
    return f"{name:<34}{values}"


async def _bench(calls: int, seconds: float) -> None:
    before = await bare_in_a_process(seconds / 2)
    with tempfile.TemporaryDirectory(prefix="landline-bench-") as directory:
        status, cpu, arrivals = await _loaded(calls, seconds, Path(directory))
    after = await bare_in_a_process(seconds / 2)
    print(f"lateness of sending, ms             {'p50':>6}  {'p99':>8}  {'p99.9':>8}  {'max':>8}")
    print(row("bare ticker, before", before))
    print(row(f"sip process, {calls} calls", status["lateness_ms"]))
    print(row("bare ticker, after", after))
    print(row("the same at the softphone", arrivals.summary_ms()))
    print(f"CPU of the sip process: {100 * cpu:.1f} % of a core, {100 * cpu / calls:.2f} % a call")
    print(f"ticks skipped {status['ticks_skipped']}, datagrams unsent {status['datagrams_unsent']}")


def main() -> None:
    """Run the benchmark, or, for itself, one bare ticker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--bare", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if arguments.bare:
            print(json.dumps(runner.run(_bare(arguments.bare))))
        else:
            runner.run(_bench(arguments.calls, arguments.seconds))


if __name__ == "__main__":
    main()
