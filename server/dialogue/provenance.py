"""Finds values in what was said, and refuses arguments that nobody said: the gate before every tool. Sans-I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from server.dialogue.replies import Provenance
from server.dialogue.state import SlotValue, State, TurnRecord, canonical
from server.dialogue.tools import Tool, Value
from server.dialogue.triggers import normalise
from server.dialogue.understanding.dates import find_date, find_dates
from server.dialogue.understanding.names import find_name
from server.dialogue.understanding.numbers import cardinals, digit_runs, find_digits
from server.dialogue.understanding.times import find_time, find_times

UTTERANCES_SEARCHED: Final = 40


@dataclass(frozen=True, slots=True)
class Found:
    """A value understood from one utterance."""

    text: str
    quote: str
    strong: bool
    note: str = ""


def understand(kind: str, text: str, today: date, *, expected: bool, digits: int = 4) -> Found | None:
    """Return the value of a kind that was meant by ``text``. ``expected``: it was just asked for."""
    match kind:
        case "date":
            day = find_date(text, today, expected=expected)
            return Found(canonical(day.value), day.quote, day.strong, day.note) if day else None
        case "time":
            moment = find_time(text, expected=expected)
            return Found(canonical(moment.value), moment.quote, moment.strong) if moment else None
        case "digits":
            run = find_digits(text, digits)
            return Found(run.value, text.strip(), strong=expected) if run else None
        case "name":
            name = find_name(text, expected=expected)
            return Found(name.value, text.strip(), name.strong) if name else None
        case "text":
            return Found(text.strip(), text.strip(), strong=False) if expected and text.strip() else None
        case _:
            raise AssertionError(kind)


def said(kind: str, canonical_text: str, turn: TurnRecord) -> bool:
    """Return whether this turn's words supply the value."""
    today = date.fromisoformat(turn.day)
    match kind:
        case "date":
            return any(canonical(item.value) == canonical_text for item in find_dates(turn.heard, today))
        case "time":
            return any(canonical(item.value) == canonical_text for item in find_times(turn.heard))
        case "digits":
            runs = digit_runs(turn.heard)
            return bool(canonical_text) and (canonical_text in runs or canonical_text == "".join(runs))
        case "number":
            return canonical_text.isdigit() and int(canonical_text) in cardinals(turn.heard)
        case "name":
            found = (find_name(turn.heard, expected=flag) for flag in (True, False))
            if any(item is not None and item.value.lower() == canonical_text.lower() for item in found):
                return True
            return _words_in(canonical_text, turn.heard)
        case "text":
            return _words_in(canonical_text, turn.heard)
        case _:
            return False


def _words_in(wanted: str, text: str) -> bool:
    phrase = normalise(wanted)
    return bool(phrase) and f" {phrase} " in f" {normalise(text)} "


def find_origin(kind: str, canonical_text: str, state: State) -> Provenance | None:
    """Return the latest utterance of the call that supplies a value."""
    for turn in reversed(state.turns[-UTTERANCES_SEARCHED:]):
        if said(kind, canonical_text, turn):
            return Provenance("utterance", f"turn {turn.number}", turn.heard)
    return None


def prove_proposal(
    tool: Tool, arguments: Mapping[str, Any], state: State, today: date
) -> dict[str, SlotValue]:
    """Return those of a model's arguments that the caller really said; the others are left out."""
    proven: dict[str, SlotValue] = {}
    for parameter in tool.parameters:
        raw = arguments.get(parameter.name)
        if raw is None or not str(raw).strip():
            continue
        text = _read(parameter.kind, str(raw).strip(), today)
        if text and (origin := find_origin(parameter.kind, text, state)) is not None:
            proven[parameter.name] = SlotValue(parameter.kind, text, origin)
    return proven


def _read(kind: str, raw: str, today: date) -> str:
    if kind == "digits":
        return "".join(digit_runs(raw))
    if kind in ("date", "time"):
        found = understand(kind, raw, today, expected=True)
        return found.text if found else ""
    return raw


def unproven(tool: Tool, arguments: Mapping[str, SlotValue], state: State) -> list[str]:
    """Return the names of arguments without a valid origin: such a call must not run."""
    wrong = [name for name, item in arguments.items() if not _holds(tool, name, item, state)]
    missing = [item.name for item in tool.parameters if item.required and item.name not in arguments]
    return [*wrong, *missing]


def _holds(tool: Tool, name: str, item: SlotValue, state: State) -> bool:
    parameter = tool.parameter(name)
    if parameter is None or parameter.kind != item.kind:
        return False
    origin = item.provenance
    match origin.kind:
        case "utterance":
            turn = _turn(origin.reference, state)
            return turn is not None and origin.quote in turn.heard and said(item.kind, item.text, turn)
        case "record":
            tool_name, _, key = origin.reference.partition(":")
            return state.records.get(tool_name, {}).get(key) == item.text
        case "confirmation":
            turn = _turn(origin.reference, state)
            return turn is not None and origin.quote in turn.heard


def _turn(reference: str, state: State) -> TurnRecord | None:
    word, _, number = reference.partition(" ")
    return state.utterance(int(number)) if word == "turn" and number.isdigit() else None


def authorised(tool: Tool, arguments: Mapping[str, SlotValue], state: State) -> bool:
    """Return whether the caller may use a tool on these arguments: the ones that name what was verified match."""
    if tool.authentication == "none":
        return True
    named = {name: item.text for name, item in arguments.items() if name in state.verified}
    return bool(named) and all(state.verified[name] == text for name, text in named.items())


def values(arguments: Mapping[str, SlotValue]) -> dict[str, Value]:
    """Return the plain typed values."""
    return {name: item.value for name, item in arguments.items()}
