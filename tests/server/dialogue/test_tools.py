"""Tools: declared by signature, limited in time, repeated without a second effect."""

from __future__ import annotations

import threading
from datetime import date, time
from pathlib import Path

import pytest

from server.dialogue.errors import AgentFileError
from server.dialogue.tools import Digits, ToolContext, ToolRegistry, ToolResult, Value, open_tools, tool
from tests.fakes.dialogue import CLINIC, NOW

pytestmark = pytest.mark.anyio

TUESDAY = date(2026, 11, 24)


def test_the_schema_comes_from_the_signature() -> None:
    @tool(effect="write")
    def order(context: ToolContext, *, day: date, number: Digits, at: time | None = None) -> ToolResult:
        """Order something.

        More for readers only.
        """
        return ToolResult("ordered", {"day": day, "number": number, "at": at, "database": context.database})

    declared = order.__dict__["landline_tool"]
    assert declared.spec().description == "Order something."
    assert declared.spec().parameters == {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "number": {"type": "string", "pattern": "^[0-9]+$"},
            "at": {"type": "string", "format": "time"},
        },
        "required": [],
        "additionalProperties": False,
    }


def test_a_parameter_of_an_unknown_type_is_refused_when_it_is_declared() -> None:
    with pytest.raises(TypeError, match="parameter what: expected one of date"):

        @tool(effect="read")
        def wrong(context: ToolContext, *, what: dict[str, str]) -> ToolResult:
            """Do something."""
            return ToolResult(str(what), {"context": context})


async def test_a_write_with_the_same_key_happens_once(tmp_path: Path) -> None:
    tools = open_tools(CLINIC, "tools.py", tmp_path / "clinic.db", today=NOW.date())
    booking: dict[str, Value] = {"day": TUESDAY, "time": time(10, 30), "name": "Nora Peters"}
    first = await tools.run("book_appointment", booking, now=NOW, idempotency_key="k1")
    again = await tools.run("book_appointment", booking, now=NOW, idempotency_key="k1")
    other = await tools.run("book_appointment", booking, now=NOW, idempotency_key="k2")
    assert first.result.status == "booked"
    assert dict(again.result.data) == dict(first.result.data)
    assert other.result.status == "taken"


async def test_a_cancelled_time_can_be_booked_again(tmp_path: Path) -> None:
    tools = open_tools(CLINIC, "tools.py", tmp_path / "clinic.db", today=NOW.date())
    await tools.run("cancel_appointment", {"reference": "4821"}, now=NOW, idempotency_key="k1")
    booking: dict[str, Value] = {"day": TUESDAY, "time": time(11, 45), "name": "Nora Peters"}
    assert (
        await tools.run("book_appointment", booking, now=NOW, idempotency_key="k2")
    ).result.status == "booked"


async def test_preparing_again_keeps_what_was_booked(tmp_path: Path) -> None:
    database = tmp_path / "clinic.db"
    for _ in range(2):
        tools = open_tools(CLINIC, "tools.py", database, today=NOW.date())
        booking: dict[str, Value] = {"day": TUESDAY, "time": time(10, 30), "name": "Nora Peters"}
        run = await tools.run("book_appointment", booking, now=NOW, idempotency_key="same")
        assert run.result.status == "booked"


async def test_a_tool_that_hangs_is_given_up(tmp_path: Path) -> None:
    release = threading.Event()

    @tool(effect="read", timeout_s=0.0)
    def slow(context: ToolContext) -> ToolResult:
        """Wait for ever."""
        release.wait(5)
        return ToolResult("late", {"context": context})

    tools = ToolRegistry([slow.__dict__["landline_tool"]], tmp_path / "x.db")
    run = await tools.run("slow", {}, now=NOW, idempotency_key="")
    release.set()
    assert run.outcome == "failed"


def _ruin(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "clinic.db").write_bytes(b"not a database" * 100)


async def test_a_tool_that_breaks_is_a_failed_run(tmp_path: Path) -> None:
    @tool(effect="read")
    def broken(context: ToolContext) -> ToolResult:
        """Break."""
        raise KeyError(str(context.database))

    tools = ToolRegistry([broken.__dict__["landline_tool"]], tmp_path / "x.db")
    assert (await tools.run("broken", {}, now=NOW, idempotency_key="")).outcome == "failed"


async def test_a_database_that_is_no_database_is_a_failed_run(tmp_path: Path) -> None:
    tools = open_tools(CLINIC, "tools.py", tmp_path / "clinic.db", today=NOW.date())
    _ruin(tmp_path)
    run = await tools.run("check_day", {"day": TUESDAY}, now=NOW, idempotency_key="")
    assert run.outcome == "failed"


def test_a_module_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(AgentFileError, match=r"tools\.py: ModuleNotFoundError"):
        open_tools(tmp_path, "tools.py", tmp_path / "x.db", today=NOW.date())
