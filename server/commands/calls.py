"""``landline calls``: what was said and done, from the running Landline or from the file."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.commands.context import ask_control, settings_of
from server.errors import ControlUnavailable, LandlineError

if TYPE_CHECKING:
    from server.config import Settings

app = typer.Typer(help="Calls and what was said in them.", no_args_is_help=True)

_AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


_SHOWN_ID = 12
"""Characters of an id in the list; `show` takes the beginning of one."""


@app.command("list")
def list_calls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: _AsJson = False,
) -> None:
    """List the latest calls."""
    settings = settings_of(context)
    try:
        found = ask_control(settings, "GET", "/internal/calls", query={"limit": limit})["calls"]
    except ControlUnavailable:
        found = _from_file(settings, lambda store, link: store.list_calls(link, limit=limit))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("call", "began", "caller", "agent", "turns", "length", "end")
    for call in found:
        table.add_row(
            call["call_id"][:_SHOWN_ID],
            _local(call["started_at"]),
            call["caller"],
            call["agent_name"],
            str(call["turns"]),
            _length(call["duration_ms"]),
            call["end_reason"] or "going on",
        )
    Console().print(table if found else "No calls yet.")


@app.command("show")
def show_call(
    context: typer.Context,
    call_id: Annotated[str, typer.Argument(help="Id as `landline calls list` shows it, or its beginning.")],
    as_json: _AsJson = False,
) -> None:
    """Show one call: every turn, tool and event."""
    settings = settings_of(context)
    try:
        found = ask_control(settings, "GET", f"/internal/calls/{call_id}")
    except ControlUnavailable:
        found = _from_file(settings, lambda store, link: store.show_call(link, call_id))
    if found is None:
        raise LandlineError(f"no call {call_id}; expected an id as `landline calls list` shows it")
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    _print_call(found)


def _print_call(call: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    head = Table.grid(padding=(0, 2))
    for name in ("call_id", "door", "agent_name", "caller", "callee", "codec", "started_at", "end_reason"):
        head.add_row(name.replace("_", " "), escape(str(call[name] or "")))
    head.add_row("length", _length(call["duration_ms"]))
    console.print(head)
    # A turn is written when it is over, its tools before that; they are shown below it.
    spoken_at = {item["turn"]: int(item["sequence"]) for item in call["turns"]}
    steps = sorted(
        (item for part in ("turns", "tools", "transitions") for item in call[part]),
        key=lambda item: (
            spoken_at.get(item["turn"], int(item["sequence"])) if "tool" in item else int(item["sequence"])
        ),
    )
    for step in steps:
        for line in _lines(step):
            console.print(escape(line), highlight=False)


def _lines(step: dict[str, Any]) -> list[str]:
    if "heard" in step:
        ledger = "  ".join(
            f"{name} {value:.0f}" for name, value in step["ledger"].items() if value is not None
        )
        cut = ", interrupted" if step["interrupted"] else ""
        lines = [f"  caller: {step['heard']}"] if step["heard"] else []
        lines.append(f"  agent:  {step['said']}")
        if step["sources"]:
            lines.append(f"          from {', '.join(map(str, step['sources']))}")
        return [f"turn {step['turn']} ({step['turn_class']}{cut})  {ledger}", *lines]
    if "tool" in step:
        return [
            f"  tool {step['tool']} {json.dumps(step['arguments'])} → {step['outcome']} {json.dumps(step['result'])}"
        ]
    return [f"  {step['name']} {json.dumps(step['detail'])}"]


def _from_file(settings: Settings, question: Any) -> Any:
    from server.records import store
    from server.records.database import open_for_reading

    engine = open_for_reading(settings.records_url, busy_timeout_ms=settings.records.busy_timeout_ms)
    try:
        with engine.connect() as connection:
            return question(store, connection)
    finally:
        engine.dispose()


def _local(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _length(duration_ms: float | None) -> str:
    if duration_ms is None:
        return ""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes}:{seconds:02}"
