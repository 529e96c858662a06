"""``landline tune``: replay recorded turns under many settings, and draw latency against early cut-offs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from server.commands.context import settings_of
from server.errors import LandlineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config import Settings
    from server.tuning.curve import Point
    from server.tuning.recordings import Recording
    from server.tuning.replay import HeardTurn, Timing
    from server.turns.settings import TurnSettings

CORPUS: Final = Path(__file__).resolve().parents[2] / "tests" / "data" / "pauses"


def tune(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Recorded turns (WAV, labels in NAME.json) or traces of calls. Otherwise the pause corpus."
        ),
    ] = None,
    cut_offs: Annotated[
        float, typer.Option(help="Share of turns that may be cut early, 0 to 1.", min=0.0, max=1.0)
    ] = 0.05,
    half: Annotated[str, typer.Option(help="Of the corpus: tuning, held-back or all.")] = "all",
    into: Annotated[Path, typer.Option(help="Folder for endpointing.png and endpointing.json.")] = Path(
        "var/tuning"
    ),
    stt_ms: Annotated[
        int, typer.Option(help="What your recogniser takes for a turn.", min=0, max=5000)
    ] = 200,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep what the models said here (it holds the words). The corpus always keeps it."),
    ] = None,
) -> None:
    """Show how soon each setting would have answered, and whom it would have cut off."""
    from rich.console import Console

    from server.tuning.curve import choose, current, grid, points
    from server.tuning.plot import draw
    from server.tuning.replay import Timing

    settings = settings_of(context)
    turns = _turn_settings(settings)
    timing = Timing(turns.early_transcribe_ms, stt_ms, turns.score_interval_ms or 100)
    console = Console()
    heard = _traced(folder)
    if not heard:
        recordings = _recordings(folder, half)
        heard = _hear(settings, turns, recordings, console, cache or _corpus_cache(settings, folder))
    found = points(heard, grid(turns, timing), current(turns, timing))
    chosen = choose(found, cut_offs)
    source = "pause corpus" if folder is None else folder.name
    draw(
        found,
        into / "endpointing.png",
        title=f"{source}, {len(heard)} turns, words {_words_ms(timing)} ms after speech",
    )
    _write_json(into / "endpointing.json", found, heard, timing)
    _print(console, found, chosen, cut_offs, into)


def _turn_settings(settings: Settings) -> TurnSettings:
    from dataclasses import fields

    from server.turns.settings import TurnSettings

    known = {field.name for field in fields(TurnSettings)}
    return TurnSettings(**settings.turns.model_dump(include=known))


def _traced(folder: Path | None) -> list[HeardTurn]:
    """Return the turns of the traces in ``folder``; none where it holds no traces."""
    from server.tuning.call_traces import turns_of
    from server.tuning.recordings import FOLDER_LIMIT
    from server.turns.trace import TraceError

    paths = sorted(folder.glob("*.jsonl")) if folder is not None else []
    if folder is None or not paths or (folder / "manifest.json").is_file():
        return []
    if len(paths) > FOLDER_LIMIT:
        raise LandlineError(f"{folder}: {len(paths)} traces; expected at most {FOLDER_LIMIT}")
    turns: list[HeardTurn] = []
    for path in paths:
        try:
            turns += turns_of(path.stem, path.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError, TraceError) as error:
            raise LandlineError(f"{path}: {error}") from None
    if not turns:
        raise LandlineError(f"{folder}: nobody spoke in these {len(paths)} calls")
    return turns


def _recordings(folder: Path | None, half: str) -> list[Recording]:
    from server.tuning.corpus import load_corpus
    from server.tuning.recordings import load_folder

    if half not in ("all", "tuning", "held-back"):
        raise LandlineError(f"--half {half!r}; expected all, tuning or held-back")
    if folder is not None and not (folder / "manifest.json").is_file():
        return load_folder(folder)
    if folder is None and not CORPUS.is_dir():
        raise LandlineError("the pause corpus is not installed here; name a folder of recorded turns")
    return load_corpus(folder or CORPUS, half="" if half == "all" else half)


def _corpus_cache(settings: Settings, folder: Path | None) -> Path | None:
    """Return where answers about the corpus are kept; those about an owner's callers are not kept unasked."""
    return settings.models_directory.parent / "tuning.jsonl" if folder is None else None


def _hear(
    settings: Settings, turns: TurnSettings, recordings: list[Recording], console: Any, cache: Path | None
) -> list[HeardTurn]:
    from rich.progress import Progress

    from server.tuning.local_models import LocalModels

    models = LocalModels(settings.models_directory, stt="whisper-base", language="en", threads=2, cache=cache)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("listening", total=len(recordings))
        return list(models.hear(recordings, turns, lambda: progress.advance(task)))


def _words_ms(timing: Timing) -> int:
    return timing.transcribe_after_ms + timing.stt_ms


def _write_json(path: Path, found: Sequence[Point], heard: Sequence[HeardTurn], timing: Timing) -> None:
    rows = [
        {
            "strategy": point.setting.strategy,
            "setting": point.setting.label,
            "options": dict(point.setting.options),
            "current": point.current,
            **asdict(point.summary),
            "cut_share": round(point.summary.cut_share, 4),
        }
        for point in found
    ]
    document = {"turns": len(heard), "timing_ms": asdict(timing), "points": rows}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _print(console: Any, found: Sequence[Point], chosen: Point | None, cut_offs: float, into: Path) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in (
        "strategy",
        "setting",
        "cut %",
        "not mended",
        "pauses",
        "P50",
        "P90",
        "no end",
    ):
        table.add_column(name, no_wrap=True, justify="left" if name in ("strategy", "setting") else "right")
    for point in found:
        took = point.summary
        mark = " *" if point.current else " <" if point is chosen else ""
        table.add_row(
            point.setting.strategy,
            point.setting.label + mark,
            f"{100 * took.cut_share:.1f}",
            f"{100 * took.spoken_over / max(1, took.turns):.1f}",
            f"{100 * took.cut_pause_share:.1f}",
            str(took.p50_ms),
            str(took.p90_ms),
            str(took.unanswered),
        )
    console.print(table)
    console.print("Shares in %, P50 and P90 in ms. Pauses: those that were cut.")
    console.print("Not mended: a ready reply would have been heard for longer than a turn is reopened after.")
    console.print(f"* the settings in force. Curve: {into / 'endpointing.png'}", highlight=False)
    if chosen is None:
        console.print(f"No setting cuts at most {100 * cut_offs:g} % of these turns.", highlight=False)
        return
    console.print(f"For at most {100 * cut_offs:g} % of turns cut early, in landline.yaml:", highlight=False)
    console.print("turns:")
    for key, value in chosen.setting.options:
        console.print(f"  {key}: {value}", highlight=False)
