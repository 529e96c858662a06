"""Logs that hold no speech, names or numbers, whatever is logged."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server import telemetry
from server.telemetry import CLASSIFICATION, Kind, LogRelay

ROOT = Path(__file__).parents[2]
ROOMS = ("server", "sip", "models", "kb")
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    stream = io.StringIO()
    telemetry.configure("test", stream=stream)
    yield stream
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_safe_keys_are_written_with_process_and_time(out: io.StringIO) -> None:
    logging.getLogger("server.agent").info("call_opened", extra={"call": "c1", "calls": 2})
    (line,) = lines(out)
    assert (line["event"], line["process"], line["call"], line["calls"]) == ("call_opened", "test", "c1", 2)
    assert line["at"].endswith("Z")


@pytest.mark.parametrize("key", ["heard", "caller", "mood"], ids=["speech", "number", "unclassified"])
def test_what_is_personal_or_unknown_is_withheld_by_name(out: io.StringIO, key: str) -> None:
    logging.getLogger("server.agent").info("turn_ended", extra={key: "Anna 555-0199", "turn": 1})
    assert "Anna" not in out.getvalue()
    assert lines(out)[0]["withheld"] == [key]


def test_words_in_an_event_are_withheld(out: io.StringIO) -> None:
    logging.getLogger("server.agent").error("caller said %s", "Anna")
    assert "Anna" not in out.getvalue()
    assert lines(out)[0]["event"] == "unnamed_event"


def test_a_library_is_only_said_to_have_warned(out: io.StringIO) -> None:
    logging.getLogger("httpx").info("GET /calls/Anna")
    logging.getLogger("httpx").warning("GET /calls/Anna failed")
    assert "Anna" not in out.getvalue()
    assert [line["event"] for line in lines(out)] == ["library_warning"]


def test_a_traceback_shows_places_and_no_message(out: io.StringIO) -> None:
    try:
        raise ValueError("Anna said no")
    except ValueError:
        logging.getLogger("server.agent").exception("reply_failed")
    (line,) = lines(out)
    assert line["error"] == "ValueError"
    assert "test_telemetry.py" in line["traceback"][-1]
    assert "Anna" not in out.getvalue()


def test_a_value_that_is_no_plain_value_is_only_named_by_type(out: io.StringIO) -> None:
    logging.getLogger("server").info("odd_value", extra={"state": {"heard": "Anna"}, "path": Path("/a")})
    (line,) = lines(out)
    assert (line["state"], line["path"]) == ("dict", "/a")


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"event": "ready", "process": "sip", "heard": "Anna"}', "ready"),
        (b"Traceback: Anna", "library_output"),
        (b'["Anna"]', "library_output"),
        (b'{"event": "x", "traceback": "ValueError: Anna"}', "x"),
    ],
    ids=["json", "text", "list", "traceback"],
)
def test_childrens_lines_pass_the_same_gate(line: bytes, event: str) -> None:
    stream = io.StringIO()
    LogRelay(logging.StreamHandler(stream)).pass_on("sip", line + b"\n")
    assert "Anna" not in stream.getvalue()
    written = json.loads(stream.getvalue())
    assert (written["event"], written["process"]) == (event, "sip")


def test_a_log_file_never_exceeds_its_limit_by_more_than_a_line(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    file = tmp_path / "landline.log"
    handler = telemetry.configure("test", file=file, file_limit_bytes=2000)
    relay = LogRelay(handler)
    for _ in range(100):
        relay.pass_on("sip", b'{"event": "tick", "count": 123456}')
        logging.getLogger("server").info("tick")
    handler.close()
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5000
    assert file.stat().st_size > 0


def logged_keys(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the keys of ``extra={...}`` in every call of a logging method."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
        ):
            continue
        for keyword in node.keywords:
            if keyword.arg != "extra":
                continue
            assert isinstance(keyword.value, ast.Dict), f"line {node.lineno}: extra is to be a literal"
            for key in keyword.value.keys:
                assert isinstance(key, ast.Constant), f"line {node.lineno}: keys are to be literal"
                yield str(key.value), node.lineno


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_every_logged_key_of_the_source_is_classified_safe() -> None:
    found = [
        (f"{path.relative_to(ROOT)}:{line}", key)
        for path in sources()
        for key, line in logged_keys(ast.parse(path.read_text()))
    ]
    assert len(found) > 10
    assert [item for item in found if CLASSIFICATION.get(item[1]) is not Kind.SAFE] == []
    # The standard library raises KeyError for these, in the middle of whatever went wrong.
    assert [item for item in found if item[1] in telemetry._STANDARD] == []


def test_no_event_of_the_source_carries_values() -> None:
    guilty = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
            ):
                continue
            owner = node.func.value
            if not (
                isinstance(owner, ast.Name) and owner.id in ("_log", "log", "logger", "_logger", "logging")
            ):
                continue
            event = node.args[0] if node.args else None
            if not (isinstance(event, ast.Constant) and isinstance(event.value, str) and len(node.args) == 1):
                guilty.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert guilty == []


def test_no_key_is_both_safe_and_personal() -> None:
    assert CLASSIFICATION["caller"] is Kind.PERSONAL
    assert set(telemetry._SAFE).isdisjoint(telemetry._PERSONAL)
