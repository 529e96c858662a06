"""``landline bench``: what this machine gives its callers, measured on the wire.

The benchmarks belong to the source tree (they speak with a softphone and recordings of the tests) and run as processes of
their own; an installed Landline without its tree says so.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from server.errors import LandlineError

app = typer.Typer(help="Measure this machine with the real models.", no_args_is_help=True)

_TREE: Final = Path(__file__).resolve().parents[2]


def _run(name: str, *arguments: str) -> None:
    """Run a benchmark of the tree and end with its exit code. Raises LandlineError where there is no tree."""
    if not (_TREE / "scripts" / f"{name}.py").is_file():
        raise LandlineError(f"the benchmarks are part of the source tree; {_TREE} holds no scripts/{name}.py")
    done = subprocess.run([sys.executable, "-m", f"scripts.{name}", *arguments], cwd=_TREE, check=False)
    raise typer.Exit(done.returncode)


@app.command()
def latency(
    turns: Annotated[int, typer.Option(min=1, help="Turns to take.")] = 112,
    minutes: Annotated[float, typer.Option(min=0.5, help="When no further turn is begun.")] = 11.0,
    over: Annotated[str, typer.Option(help="sip, or websocket for the raw audio WebSocket.")] = "sip",
) -> None:
    """Response gap by class of turn, with its ledger and the early cut-offs, over a Landline of its own."""
    _run("bench_latency", "--turns", str(turns), "--minutes", str(minutes), "--over", over)


@app.command("barge-in")
def barge_in(
    times: Annotated[int, typer.Option(min=1, help="Interruptions.")] = 36,
    over: Annotated[str, typer.Option(help="sip, or websocket for the raw audio WebSocket.")] = "sip",
) -> None:
    """How long the agent is still heard when its caller speaks over it."""
    _run("bench_barge_in", "--times", str(times), "--over", over)
