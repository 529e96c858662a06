"""``make demo``: a caller who speaks a script rings the sample clinic over real SIP and RTP.

Prints the conversation live with each turn's latency and class, and leaves a stereo WAV (left the
caller, right the agent) and a PNG with both waveforms and the latency ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from scripts.caller import Exchange, Telephone
from scripts.stack import Stack, running

SCRIPT = (
    "Hello. Are you a machine?",
    "What are your hours on Saturday?",
    "Where can I park?",
    "Do I need to fast before a blood test?",
    "I would like to book an appointment next Tuesday at half past ten.",
    "My name is Maria Lopez.",
    "Yes, please.",
    "Can you tell me a little about the clinic?",
    "No, that is all. Thank you, goodbye.",
)
_STAGES = ("silence", "stt_wait", "words", "voice", "playout")
_COLOURS = ("#9aa5b1", "#e0a458", "#5b8e7d", "#8f6593", "#3d5a80")


@dataclass(slots=True)
class Told:
    """An exchange beside its row in the records."""

    exchange: Exchange
    row: dict[str, Any]


async def converse(stack: Stack, out: Path, console: Console) -> list[Told]:
    """Ring, speak the script, print what happens; return the turns."""
    telephone = await Telephone.start(stack.run_directory)
    told: list[Told] = []
    caller = await telephone.ring(stack.uri)
    console.print(f"[dim]ringing {stack.uri} … answered[/dim]")
    try:
        await caller.listen(0)
        call_id = stack.calls()[-1]["call_id"]
        _print_agent(console, stack.wait_rows("turn", call_id, 1)[0]["said"], "greeting", None)
        for line in SCRIPT:
            await caller.prepare([line])
            console.print(f"[bold cyan]caller[/] {line}")
            exchange = await caller.ask(line)
            rows = [r for r in stack.wait_rows("turn", call_id, len(told) + 2) if r["heard"]]
            row: dict[str, Any] = rows[-1] if rows else {"said": "", "turn_class": "?", "ledger": {}}
            told.append(Told(exchange, row))
            _print_agent(console, row["said"], row["turn_class"], exchange, row["ledger"])
            if caller.call.ended.is_set():
                break
    finally:
        if not caller.call.ended.is_set():
            await caller.call.hang_up()
        caller.call.write_stereo_wav(out / "demo.wav")
        await telephone.close()
    return told


def _print_agent(
    console: Console,
    said: str,
    turn_class: str,
    exchange: Exchange | None,
    ledger: dict[str, int] | None = None,
) -> None:
    console.print(f"[bold green]agent[/]  {said}")
    if exchange is None:
        return
    parts = " + ".join(f"{name} {ledger[name]}" for name in _STAGES if name in ledger) if ledger else ""
    console.print(f"        [dim]{turn_class}: {exchange.gap_ms:.0f} ms on the wire   {parts}[/dim]")


def draw(told: list[Told], wav: Path, png: Path) -> None:
    """Draw both waveforms and the ledger."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    caller, agent, rate_hz = _channels(wav)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(13, 8), height_ratios=(1, 1.1), layout="constrained")
    seconds = np.arange(len(caller)) / rate_hz
    top.plot(seconds, caller / 32768 + 1, linewidth=0.4, color="#3d5a80", label="caller")
    top.plot(seconds, agent / 32768 - 1, linewidth=0.4, color="#5b8e7d", label="agent")
    top.set(title="One call, both directions as on the wire", xlabel="seconds", yticks=[1, -1], ylim=(-2, 2))
    top.set_yticklabels(["caller", "agent"])
    top.margins(x=0)

    rows = [item for item in told if item.row["ledger"]]
    labels = [f"{item.exchange.said[:44]}  ({item.row['turn_class']})" for item in rows]
    left = np.zeros(len(rows))
    for stage, colour in zip(_STAGES, _COLOURS, strict=True):
        widths = np.array([item.row["ledger"].get(stage, 0) for item in rows], dtype=float)
        bottom.barh(labels, widths, left=left, color=colour, label=stage)
        left += widths
    fillers = [
        (n, item.row["ledger"]["filler_gap"])
        for n, item in enumerate(rows)
        if "filler_gap" in item.row["ledger"]
    ]
    if fillers:
        bottom.scatter(
            [x for _, x in fillers],
            [n for n, _ in fillers],
            marker="D",
            color="black",
            label="filler heard",
            zorder=3,
        )
    bottom.invert_yaxis()
    bottom.set(title="From the caller's last word to the first word of content", xlabel="milliseconds")
    bottom.legend(loc="lower right")
    figure.savefig(png, dpi=110)
    plt.close(figure)


def _channels(wav: Path) -> tuple[NDArray[np.int16], NDArray[np.int16], int]:
    with wave.open(str(wav)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
        return samples[:, 0], samples[:, 1], file.getframerate()


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="where WAV and PNG go")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="landline-demo-") as directory:
        console.print("[dim]starting a Landline of its own …[/dim]")
        with running(Path(directory)) as stack:
            told = asyncio.run(converse(stack, out, console))
    draw(told, out / "demo.wav", out / "demo.png")
    console.print(
        f"\nlisten: {out / 'demo.wav'} (left the caller, right the agent)\nlook:   {out / 'demo.png'}"
    )


if __name__ == "__main__":
    main()
