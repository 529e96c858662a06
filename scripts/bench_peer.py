"""``make bench-peer``: Landline and Pipecat with the same models, prompt and audio, over the same WebSocket, by turns.

Both are rung by the same caller on a raw PCM16 WebSocket at 16 kHz; one is idle while the other is measured, and which
comes first changes from round to round. In every call each agent hears the same lines in the same order: plain talk and
questions, some with a pause in them, and at the end an interruption. The gap counts from the packet with the last speech
sample to the first frame with speech that the caller's ears play; a turn in which the agent is heard before its caller
has finished is an early cut-off and has no gap.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import random
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table
from websockets.exceptions import WebSocketException

from models.speech_client import PiperClient
from scripts import bench_plots
from scripts.bench_latency import websocket_url
from scripts.bench_lines import (
    CONVERSATION,
    INTERRUPTED,
    INTERRUPTIONS,
    QUESTIONS,
    Line,
    Voices,
)
from scripts.bench_phone import BenchCall, WebSocketCall, ask, greeted, interrupt
from scripts.bench_statistics import (
    OUT,
    MachineLoad,
    describe_load,
    end_in_order,
    machine,
    percentile,
    share,
    summarise,
    write_figures,
)
from scripts.peer.processes import PeerProcesses, versions
from scripts.peer.variants import VARIANTS, variant
from scripts.softphone import CallRefused
from scripts.stack import Stack, free_port, running

LANDLINE: Final = "landline"


@dataclass(slots=True)
class Heard:
    """What one agent showed."""

    gaps_ms: dict[str, list[float]] = field(default_factory=lambda: {"talk": [], "question": []})
    turns: int = 0
    cut_off_early: int = 0
    paused_turns: int = 0
    """Turns with a pause of the caller's in them; the early cut-offs are among these."""
    unanswered: int = 0
    barge_in_ms: list[float] = field(default_factory=list)
    not_interrupted: int = 0
    """Interruptions that found the agent silent already, so that nothing was measured."""
    failed_calls: int = 0

    def all_gaps(self) -> list[float]:
        """Return the gaps of all turns."""
        return self.gaps_ms["talk"] + self.gaps_ms["question"]


async def turn(call: BenchCall, voices: Voices, line: Line, heard: Heard, kind: str) -> None:
    """Say a line and hear the answer out."""
    answer = await ask(call, voices, line)
    heard.turns += 1
    heard.paused_turns += bool(line.pause_ms)
    heard.cut_off_early += answer.cut_off_early
    heard.unanswered += not answer.answered
    if answer.gap_ms is not None:
        heard.gaps_ms[kind].append(answer.gap_ms)


async def barge_in(call: BenchCall, voices: Voices, line: Line, heard: Heard) -> None:
    """Speak over an answer; take how long the agent is still heard."""
    await call.say(voices.pcm(INTERRUPTED, call.rate_hz))
    try:
        silent_ms = await interrupt(call, voices, line)
    except TimeoutError:
        silent_ms = None
    if silent_ms is None:
        heard.not_interrupted += 1
    else:
        heard.barge_in_ms.append(silent_ms)


async def one_call(
    url: str, voices: Voices, lines: Sequence[tuple[str, Line]], last: Line, heard: Heard
) -> None:
    """One call through some lines and an interruption."""
    try:
        call = await WebSocketCall.dial(url)
    except (CallRefused, OSError, TimeoutError, WebSocketException):
        heard.failed_calls += 1
        return
    try:
        await greeted(call)
        for kind, line in lines:
            await turn(call, voices, line, heard, kind)
        await barge_in(call, voices, last, heard)
    except (TimeoutError, ConnectionError):
        heard.failed_calls += 1
    finally:
        await call.hang_up()


def lines_of(round_number: int, seed: int) -> tuple[list[tuple[str, Line]], Line]:
    """Return a round's lines, the same for every agent: half of all, talk and questions mixed, and an interruption."""
    shuffled = random.Random(seed + round_number // 2)
    talk = [("talk", line) for line in CONVERSATION]
    questions = [("question", line) for line in QUESTIONS]
    shuffled.shuffle(talk)
    shuffled.shuffle(questions)
    half = round_number % 2
    chosen = talk[half::2] + questions[half::2]
    shuffled.shuffle(chosen)
    return chosen, INTERRUPTIONS[round_number % len(INTERRUPTIONS)]


async def measure(
    urls: dict[str, str],
    voices: Voices,
    until: float,
    seed: int,
    results: dict[str, Heard],
    say: Callable[[str], None],
) -> None:
    """Ring all agents in turn while there is time for another round."""
    names = list(urls)
    number = 0
    began = time.monotonic()
    while not number or time.monotonic() + (time.monotonic() - began) / number < until:
        lines, last = lines_of(number, seed)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            await one_call(urls[name], voices, lines, last, results[name])
            gaps = results[name].all_gaps()
            middle = f"{percentile(gaps, 0.5):.0f} ms" if gaps else "none"
            say(f"round {number + 1}, {name}: {results[name].turns} turns so far, median gap {middle}")
        number += 1


async def warm(url: str) -> None:
    """One call without a question, unmeasured: what is read from the disk on first use is read then.

    Raises RuntimeError where the agent cannot be called.
    """
    try:
        call = await WebSocketCall.dial(url)
        await greeted(call)
        await call.hang_up()
    except (CallRefused, OSError, TimeoutError, WebSocketException) as error:
        raise RuntimeError(f"{url} cannot be called: {type(error).__name__}") from error


def earlier(path: Path, commit: str) -> dict[str, Heard]:
    """Return what an earlier run of the same commit heard, to be added to; empty where there is none."""
    if not path.is_file():
        return {}
    figures = json.loads(path.read_text())
    if figures["machine"]["commit"] != commit:
        return {}
    counted = ("turns", "cut_off_early", "unanswered", "not_interrupted", "failed_calls", "paused_turns")
    return {
        name: Heard(
            gaps_ms=agent["gaps_ms"],
            barge_in_ms=agent["barge_ins_ms"],
            **{key: agent[key] for key in counted},
        )
        for name, agent in figures["agents"].items()
    }


def figures_of(results: dict[str, Heard], load: dict[str, float], peers: dict[str, str]) -> dict[str, Any]:
    """Return everything that is kept; ``peers`` holds the versions of the peer's environment."""
    agents: dict[str, Any] = {}
    for name, heard in results.items():
        gaps = heard.all_gaps()
        agents[name] = {
            "gap_ms": summarise(gaps),
            "gap_of_talk_ms": summarise(heard.gaps_ms["talk"]),
            "gap_of_questions_ms": summarise(heard.gaps_ms["question"]),
            "barge_in_ms": summarise(heard.barge_in_ms),
            "turns": heard.turns,
            "paused_turns": heard.paused_turns,
            "cut_off_early": heard.cut_off_early,
            "cut_off_early_share": round(share(heard.cut_off_early, heard.turns), 1),
            "unanswered": heard.unanswered,
            "failed_calls": heard.failed_calls,
            "not_interrupted": heard.not_interrupted,
            "gaps_ms": {kind: [round(one) for one in values] for kind, values in heard.gaps_ms.items()},
            "barge_ins_ms": [round(one) for one in heard.barge_in_ms],
        }
        if name != LANDLINE:
            agents[name]["what"] = variant(name).what
            agents[name]["settings"] = variant(name).settings()
            agents[name]["landline_by_peer"] = ratios(results.get(LANDLINE), heard)
    return {
        "machine": machine(),
        "load": load,
        "versions": {"peer": peers, "landline": importlib.metadata.version("landline")},
        "variants": [name for name in results if name != LANDLINE],
        "agents": agents,
    }


def ratios(ours: Heard | None, peer: Heard) -> dict[str, float]:
    """Return Landline's gap as a share of the peer's, at the median and at P90; empty where one has none."""
    if ours is None:
        return {}
    found = {}
    for kind, mine, theirs in (
        ("", ours.all_gaps(), peer.all_gaps()),
        ("_talk", ours.gaps_ms["talk"], peer.gaps_ms["talk"]),
    ):
        if mine and theirs:
            for name, at in (("p50", 0.5), ("p90", 0.9)):
                found[f"{name}{kind}"] = round(percentile(mine, at) / percentile(theirs, at), 2)
    return found


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    table = Table(
        title="Response gap over the same WebSocket, in ms; Landline / peer in the last two columns"
    )
    headings = ("agent", "turns", "P50", "P90", "talk P50", "talk P90", "cut off early", "no answer", "barge-in P50",
                "P95", "ratio P50", "ratio P90")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "agent" else "right")
    for name, agent in figures["agents"].items():
        gap, talk, stop = agent["gap_ms"], agent["gap_of_talk_ms"], agent["barge_in_ms"]
        ratio = agent.get("landline_by_peer", {})
        table.add_row(
            name, str(agent["turns"]),
            *(f"{getattr(gap, key):.0f}" if gap else "" for key in ("p50", "p90")),
            *(f"{getattr(talk, key):.0f}" if talk else "" for key in ("p50", "p90")),
            f"{agent['cut_off_early']} ({agent['cut_off_early_share']:.1f} %)",
            str(agent["unanswered"]),
            *(f"{getattr(stop, key):.0f}" if stop else "" for key in ("p50", "p95")),
            *(f"{ratio[key]:.2f}" if key in ratio else "" for key in ("p50", "p90")),
        )  # fmt: skip
    console.print(table)
    for name in figures["variants"]:
        console.print(f"{name}: {variant(name).what}; {variant(name).settings()}")
    console.print(f"versions: {figures['versions']}")
    console.print(describe_load(figures["load"]))


async def _run(
    stack: Stack, peer: PeerProcesses | None, arguments: argparse.Namespace, until: float, console: Console
) -> dict[str, Heard]:
    urls = {LANDLINE: websocket_url(stack)} if arguments.only != "peer" else {}
    if peer is not None:
        urls |= {name: peer.url(name) for name in arguments.variants}
    voices = Voices(PiperClient(stack.run_directory / "tts.sock"), arguments.out / "voices")
    await voices.prepare([*CONVERSATION, *QUESTIONS, INTERRUPTED, *INTERRUPTIONS])
    for name, url in urls.items():
        await warm(url)
        console.print(f"{name} is warm")
    results = earlier(arguments.out / "peer.json", machine()["commit"]) if arguments.add else {}
    results = {name: results.get(name, Heard()) for name in urls}
    await measure(urls, voices, until, arguments.seed, results, console.print)
    return results


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=11.0, help="no further round is begun that would end later"
    )
    parser.add_argument("--variants", nargs="*", default=[one.name for one in VARIANTS])
    parser.add_argument("--seed", type=int, default=1, help="order of the lines")
    parser.add_argument(
        "--add", action="store_true", help="add to the figures of an earlier run of this commit"
    )
    parser.add_argument("--only", choices=("landline", "peer"), help="measure one of the two")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    end_in_order()
    console = Console(width=160)
    until = time.monotonic() + 60 * arguments.minutes
    load = MachineLoad()
    websocket = {
        "LANDLINE_WEBSOCKET__ENABLED": "true",
        "LANDLINE_WEBSOCKET__PORT": str(free_port(socket.SOCK_STREAM)),
    }
    with contextlib.ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="landline-peer-")))
        console.print("starting Landline …")
        stack = opened.enter_context(
            running(directory / "landline", **(websocket if arguments.only != "peer" else {}))
        )
        peer = None
        if arguments.only != "landline":
            console.print("starting the peer …")
            peer = PeerProcesses(directory / "peer")
            opened.callback(peer.stop)
            peer.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(_run(stack, peer, arguments, until, console))
    figures = figures_of(results, load.report(), versions())
    show(figures, console)
    path = write_figures("peer", figures, arguments.out)
    bench_plots.peer(figures, arguments.out / "peer.png")
    console.print(f"figures: {path}, plot: {arguments.out / 'peer.png'}")


if __name__ == "__main__":
    main()
