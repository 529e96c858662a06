"""A call's record drawn for a terminal: each turn with its latency ledger as a bar of named stages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

STAGES: Final[Mapping[str, tuple[str, str]]] = {
    "silence": ("▒", "yellow"),
    "network": ("·", "bright_black"),
    "detect": ("░", "cyan"),
    "endpoint": ("▒", "yellow"),
    "stt_wait": ("▓", "blue"),
    "words": ("█", "magenta"),
    "voice": ("▆", "green"),
    "playout": ("▂", "bright_black"),
}
"""The parts of a gap in order of time → fill and colour; ``silence`` stands in older records."""
_OTHER_STAGE: Final = ("+", "white")
_UNACCOUNTED: Final = ("?", "red")
_ASIDE: Final = ("gap", "filler_gap", "barge_in", "speculation", "speculated")
_ASIDE_PREFIXES: Final = ("speculation_", "wasted_")
ROUNDING_MS: Final = 20.0
"""The stages may miss the gap by so much: each is rounded, and so is the wire's tick."""
_BAR_COLUMNS: Final = 60
_INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class LedgerParts:
    """A ledger told apart. All values are milliseconds."""

    stages: tuple[tuple[str, float], ...]
    gap_ms: float | None
    unaccounted_ms: float
    """The gap less the sum of its stages; 0 without a gap."""
    aside: Mapping[str, float]
    """What is no part of the gap."""


def parts_of(ledger: Mapping[str, float | None]) -> LedgerParts:
    """Tell the stages of a gap from what is recorded beside it.

    A name that is not known is a stage where the gap cannot be explained without it, else something beside.
    """
    known = {name: value for name, value in ledger.items() if value is not None}
    gap_ms = known.get("gap")
    stages = [(name, known[name]) for name in STAGES if name in known]
    unknown = [
        (name, value)
        for name, value in known.items()
        if name not in STAGES and name not in _ASIDE and not name.startswith(_ASIDE_PREFIXES)
    ]
    missing_ms = 0.0 if gap_ms is None else gap_ms - sum(value for _, value in stages)
    if unknown and abs(missing_ms - sum(value for _, value in unknown)) < abs(missing_ms):
        stages += unknown
        missing_ms -= sum(value for _, value in unknown)
    names = {name for name, _ in stages}
    aside = {name: value for name, value in known.items() if name not in names and name != "gap"}
    return LedgerParts(tuple(stages), gap_ms, missing_ms, aside)


def latest_turns(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns, of each its latest record."""
    latest: dict[int, dict[str, Any]] = {}
    for item in turns:
        known = latest.get(item["turn"])
        if known is None or item["revision"] >= known["revision"]:
            latest[item["turn"]] = item
    return [item for item in turns if latest[item["turn"]] is item]


def with_sums(call: dict[str, Any]) -> dict[str, Any]:
    """Return the record with ``unaccounted_ms`` in each turn: what its stages leave of its gap, None without one."""
    turns = []
    for item in call["turns"]:
        parts = parts_of(item["ledger"])
        turns.append({**item, "unaccounted_ms": None if parts.gap_ms is None else parts.unaccounted_ms})
    return {**call, "turns": turns}


def print_call(call: dict[str, Any], console: Console) -> None:
    """Draw one call as :func:`server.records.store.show_call` returns it."""
    head = Table.grid(padding=(0, 2))
    for name in ("call_id", "door", "agent_name", "caller", "callee", "codec", "started_at", "end_reason"):
        head.add_row(name.replace("_", " "), Text(_printable(str(call[name] or ""))))
    head.add_row("length", length(call["duration_ms"]))
    console.print(head)
    turns = latest_turns(call["turns"])
    longest_ms = max((parts_of(item["ledger"]).gap_ms or 0.0 for item in turns), default=0.0)
    # A turn is written when it is over, its tools before that; they are shown below it.
    spoken_at = {item["turn"]: int(item["sequence"]) for item in turns}
    steps = sorted(
        (*turns, *call["tools"], *call["transitions"]),
        key=lambda item: (
            spoken_at.get(item["turn"], int(item["sequence"])) if "tool" in item else int(item["sequence"])
        ),
    )
    columns = min(_BAR_COLUMNS, max(10, console.width - len(_INDENT) - 2))
    for step in steps:
        for line in _lines(step, longest_ms / columns):
            console.print(line, highlight=False, soft_wrap=True)


def length(duration_ms: float | None) -> str:
    """Return minutes and seconds."""
    if duration_ms is None:
        return ""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes}:{seconds:02}"


def local(text: str) -> str:
    """Return an ISO time in this machine's zone."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _lines(step: dict[str, Any], ms_per_column: float) -> Iterator[Text]:
    if "heard" in step:
        yield from _turn_lines(step, ms_per_column)
    elif "tool" in step:
        yield _labelled("tool", _tool(step))
    else:
        yield Text(f"  {step['name']} {json.dumps(step['detail'])}")


def _turn_lines(turn: dict[str, Any], ms_per_column: float) -> Iterator[Text]:
    parts = parts_of(turn["ledger"])
    yield _headline(turn, parts)
    if turn["heard"]:
        yield _labelled("caller", turn["heard"])
    yield _labelled("agent", turn["said"])
    if turn["sources"]:
        yield _labelled("from", ", ".join(map(str, turn["sources"])))
    if parts.gap_ms is None:
        if parts.stages:
            yield Text(_INDENT) + _legend(parts)
    else:
        yield Text(_INDENT) + bar(parts, ms_per_column)
        yield Text(_INDENT) + _legend(parts)
    if beside := _beside(parts.aside):
        yield Text(f"{_INDENT}{beside}", "bright_black")


def _headline(turn: dict[str, Any], parts: LedgerParts) -> Text:
    line = Text(f"turn {turn['turn']}", "bold")
    line.append(f"  {turn['turn_class']}", "not bold")
    if parts.gap_ms is not None:
        line.append(f"  gap {parts.gap_ms:.0f} ms", "bold")
    if parts.aside.get("speculation", 0) > 0:
        line.append("  speculation hit", "green")
    elif "speculation" in parts.aside and parts.aside.get("speculation_misses", 1):
        line.append("  speculation missed", "yellow")
    if turn["revision"]:
        line.append(f"  reopened {turn['revision']}×", "yellow")
    if turn["interrupted"]:
        line.append("  interrupted", "red")
    return line


def _labelled(label: str, text: str) -> Text:
    return Text(f"  {label + ':':8}", "bright_black") + Text(_printable(text))


def _printable(text: str) -> str:
    """Return a caller's text without what would command the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _tool(ran: dict[str, Any]) -> str:
    text = f"{ran['tool']} {json.dumps(ran['arguments'], ensure_ascii=False)} → {ran['outcome']}"
    return f"{text} {json.dumps(ran['result'], ensure_ascii=False)} in {ran['duration_ms']:.0f} ms"


def bar(parts: LedgerParts, ms_per_column: float) -> Text:
    """Return the gap as a bar: every stage its part, and in red what none explains."""
    line = Text()
    drawn, until_ms = 0, 0.0
    for name, value_ms in _segments(parts):
        fill, colour = _look(name)
        until_ms += max(0.0, value_ms)
        columns = round(until_ms / ms_per_column) - drawn if ms_per_column > 0 else 0
        line.append(fill * columns, colour)
        drawn += columns
    return line


def _segments(parts: LedgerParts) -> list[tuple[str, float]]:
    missing = [("unaccounted", parts.unaccounted_ms)] if _is_off(parts) else []
    return [*parts.stages, *missing]


def _legend(parts: LedgerParts) -> Text:
    line = Text()
    for name, value_ms in _segments(parts):
        fill, colour = _look(name)
        line.append(fill, colour)
        line.append(f" {name.replace('_', ' ')} {value_ms:.0f}  ", "red" if name == "unaccounted" else "")
    if parts.gap_ms is not None:
        line.append(f"= {parts.gap_ms:.0f} ms", "bold")
    return line


def _beside(aside: Mapping[str, float]) -> str:
    """Return what is recorded beside the gap, in words."""
    said: list[str] = []
    for name, value in aside.items():
        if name in ("speculation", "speculated"):
            continue
        if name == "filler_gap":
            said.append(f"first sound (a filler) after {value:.0f} ms")
        elif name == "barge_in":
            said.append(f"silent {value:.0f} ms after the caller spoke over it")
        elif name.startswith(_ASIDE_PREFIXES):
            if value:
                said.append(_speculation(name, value))
        else:
            said.append(f"{name.replace('_', ' ')} {value:.0f}")
    return "; ".join(said)


def _speculation(name: str, value: float) -> str:
    if name == "speculation_misses":
        return f"{value:.0f} prepared replies dropped"
    if name == "speculation_reused":
        return f"{value:.0f} reused after the caller went on"
    if name.startswith("wasted_"):
        return f"wasted {value:.0f} ms of {name.removeprefix('wasted_').removesuffix('_ms')}"
    return f"{name.replace('_', ' ')} {value:.0f}"


def _is_off(parts: LedgerParts) -> bool:
    return abs(parts.unaccounted_ms) > ROUNDING_MS


def _look(name: str) -> tuple[str, str]:
    return _UNACCOUNTED if name == "unaccounted" else STAGES.get(name, _OTHER_STAGE)
