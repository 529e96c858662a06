"""A call as the turn machine saw it: every input with its time, one JSON object a line, to be replayed in virtual time.

Sans-I/O: lines in, lines out. A trace holds the caller's words, so it is written only where the owner asks for it.

The first line is ``{"trace": 1, "rate_hz": …, "last_turn": …, "settings": {…}}``; each further one has ``at`` (ns, from
the first input) and either ``input`` and its fields, or ``timeout``.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from server.turns import messages
from server.turns.endpointing import Expected
from server.turns.machine import TurnMachine
from server.turns.messages import TurnInput, TurnOutput
from server.turns.settings import TurnSettings

VERSION: Final = 1
_INPUTS: Final = {kind.__name__: kind for kind in typing.get_args(messages.TurnInput)}


class TraceError(ValueError):
    """A trace that cannot be read; the text says which line and what was expected."""


@dataclass(frozen=True, slots=True)
class Step:
    """One input (None: a timeout) and what the machine answered."""

    at: int
    event: TurnInput | None
    outputs: tuple[TurnOutput, ...]


class TraceWriter:
    """Turns what happens into lines. Times become relative to the first."""

    def __init__(self, settings: TurnSettings, *, rate_hz: int, last_turn: int = 0) -> None:
        self._head: dict[str, Any] | None = {
            "trace": VERSION,
            "rate_hz": rate_hz,
            "last_turn": last_turn,
            "settings": dataclasses.asdict(settings),
        }
        self._origin = 0

    def line(self, event: TurnInput | None, now: int) -> str:
        """Return the line, or with the first one the two lines, for an input or (None) a timeout."""
        head = ""
        if self._head is not None:
            head, self._head, self._origin = json.dumps(self._head) + "\n", None, now
        what: dict[str, Any] = {"timeout": True}
        if event is not None:
            what = {"input": type(event).__name__, **dataclasses.asdict(event)}
            # Only SpeechStart and SpeechStop have a moment of their own.
            if "at" in what:
                what["heard_at"] = what.pop("at") - self._origin
        return f"{head}{json.dumps({'at': now - self._origin, **what})}\n"


def replay(lines: Iterable[str], *, settings: TurnSettings | None = None) -> Iterator[Step]:
    """Drive a machine through a trace. ``settings`` other than the traced ones show what they would have done.

    Raises :class:`TraceError`.
    """
    numbered = enumerate(lines, 1)
    head = _parse(*next(numbered, (1, "")))
    if head.get("trace") != VERSION:
        raise TraceError(f"line 1: trace is {head.get('trace')!r}; expected version {VERSION}")
    try:
        machine = TurnMachine(
            settings or TurnSettings(**head["settings"]),
            rate_hz=int(head["rate_hz"]),
            last_turn=int(head["last_turn"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"line 1: expected settings, rate_hz and last_turn: {error}") from error
    for number, line in numbered:
        entry = _parse(number, line)
        event = None if entry.get("timeout") else _event(number, entry)
        at = _time(number, entry)
        if event is None:
            machine.handle_timeout(at)
        else:
            machine.handle_input(event, at)
        yield Step(at, event, tuple(machine.outputs()))


def _parse(number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise TraceError(f"line {number}: expected a JSON object: {error}") from error
    if not isinstance(entry, dict):
        raise TraceError(f"line {number}: expected a JSON object")
    return entry


def _time(number: int, entry: dict[str, Any]) -> int:
    at = entry.pop("at", None)
    if not isinstance(at, int):
        raise TraceError(f"line {number}: at is {at!r}; expected nanoseconds")
    return at


def _event(number: int, entry: dict[str, Any]) -> TurnInput:
    fields = {name: value for name, value in entry.items() if name not in ("at", "input")}
    kind = _INPUTS.get(str(entry.get("input")))
    if kind is None:
        raise TraceError(
            f"line {number}: input is {entry.get('input')!r}; expected one of {', '.join(_INPUTS)}"
        )
    if "heard_at" in fields:
        fields["at"] = fields.pop("heard_at")
    try:
        if "expected" in fields:
            fields["expected"] = Expected(**fields["expected"])
        event: TurnInput = kind(**fields)
    except TypeError as error:
        raise TraceError(f"line {number}: {error}") from error
    return event
