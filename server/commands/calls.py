"""``landline calls``: what was said and done, from the running Landline or from the file."""

from __future__ import annotations

import json
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

    from server.commands.call_view import length, local

    table = Table("call", "began", "caller", "agent", "turns", "length", "end")
    for call in found:
        table.add_row(
            call["call_id"][:_SHOWN_ID],
            local(call["started_at"]),
            call["caller"],
            call["agent_name"],
            str(call["turns"]),
            length(call["duration_ms"]),
            call["end_reason"] or "going on",
        )
    Console().print(table if found else "No calls yet.")


@app.command("show")
def show_call(
    context: typer.Context,
    call_id: Annotated[str, typer.Argument(help="Id as `landline calls list` shows it, or its beginning.")],
    as_json: _AsJson = False,
) -> None:
    """Show one call: every turn with its latency ledger, every tool and event."""
    settings = settings_of(context)
    try:
        found = ask_control(settings, "GET", f"/internal/calls/{call_id}")
    except ControlUnavailable:
        found = _from_file(settings, lambda store, link: store.show_call(link, call_id))
    if found is None:
        raise LandlineError(f"no call {call_id}; expected an id as `landline calls list` shows it")
    from rich.console import Console

    from server.commands.call_view import print_call, with_sums

    if as_json:
        print(json.dumps(with_sums(found), ensure_ascii=False, indent=1))
        return
    print_call(found, Console())


def _from_file(settings: Settings, question: Any) -> Any:
    from server.records import store
    from server.records.database import open_for_reading

    engine = open_for_reading(settings.records_url, busy_timeout_ms=settings.records.busy_timeout_ms)
    try:
        with engine.connect() as connection:
            return question(store, connection)
    finally:
        engine.dispose()
