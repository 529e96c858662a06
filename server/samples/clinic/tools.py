"""Riverside Clinic's appointments: an SQLite database of the clinic's own, and the tools that work on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from server.dialogue.errors import ToolError
from server.dialogue.speaking import WEEKDAY_NAMES, speak_list, speak_time
from server.dialogue.tools import Digits, PersonName, ToolContext, ToolResult, tool
from server.dialogue.understanding.names import likeness

OPENING: Final[dict[int, tuple[time, time]]] = {
    **{weekday: (time(8), time(18)) for weekday in range(5)},
    5: (time(9), time(13)),
}
"""Weekday (Monday is 0) to opening and closing; a day that is not there is closed."""
LAST_START: Final[dict[int, time]] = {**dict.fromkeys(range(5), time(17, 30)), 5: time(12, 30)}
STEP_MINUTES: Final = 15
HORIZON_DAYS: Final = 365
ALTERNATIVES: Final = 3
SAME_NAME: Final = 0.72
"""Likeness from which two names count as one: recognition writes "Lopes" for "Lopez"."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS appointment (
    reference TEXT PRIMARY KEY CHECK (length(reference) = 4),
    day TEXT NOT NULL,
    time TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('booked', 'cancelled'))
);
CREATE UNIQUE INDEX IF NOT EXISTS appointment_slot ON appointment (day, time) WHERE status = 'booked';
CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, status TEXT NOT NULL, data TEXT NOT NULL);
"""
_SEED: Final = (
    # working days ahead, time, name, reference
    (1, "09:15", "Anna Fischer", "1374"),
    (2, "11:45", "Maria Lopez", "4821"),
    (2, "14:45", "Peter Brown", "2960"),
    (3, "14:15", "James Wilson", "7305"),
    (5, "16:15", "Sarah Cohen", "5518"),
    (8, "08:45", "David Miller", "9042"),
)


def prepare(database: Path, today: date) -> None:
    """Create the tables; put in the sample appointments, relative to ``today``, where there are none yet."""
    with closing(sqlite3.connect(database, timeout=5.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM appointment").fetchone()[0] == 0:
            connection.executemany(
                "INSERT INTO appointment (day, time, name, reference, status) VALUES (?, ?, ?, ?, 'booked')",
                [(_working_day(today, ahead).isoformat(), at, name, ref) for ahead, at, name, ref in _SEED],
            )
        connection.execute("COMMIT")


def _working_day(today: date, ahead: int) -> date:
    day = today
    while ahead:
        day += timedelta(days=1)
        ahead -= day.weekday() < 5
    return day


@contextmanager
def _transaction(context: ToolContext) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(context.database, timeout=2.0, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise ToolError(f"appointments: {type(error).__name__}") from error


def _once(context: ToolContext, work: Callable[[sqlite3.Connection], ToolResult]) -> ToolResult:
    """Do a write at most once per idempotency key: a repeated run gets the first one's answer."""
    with _transaction(context) as connection:
        row = connection.execute("SELECT * FROM done WHERE key = ?", (context.idempotency_key,)).fetchone()
        if row is not None:
            return ToolResult(row["status"], _thaw(json.loads(row["data"])))
        result = work(connection)
        connection.execute(
            "INSERT INTO done (key, status, data) VALUES (?, ?, ?)",
            (context.idempotency_key, result.status, json.dumps(result.data, default=_freeze)),
        )
        return result


def _freeze(value: object) -> str:
    assert isinstance(value, date | time)
    return value.isoformat()


def _thaw(data: dict[str, str]) -> dict[str, object]:
    read: dict[str, Callable[[str], object]] = {"day": date.fromisoformat, "time": time.fromisoformat}
    return {name: read.get(name, str)(value) for name, value in data.items()}


def _slots(day: date, now: datetime) -> list[time]:
    if day.weekday() not in OPENING:
        return []
    found: list[time] = []
    at = datetime.combine(day, OPENING[day.weekday()][0])
    while at.time() <= LAST_START[day.weekday()]:
        if day > now.date() or at.time() > now.time():
            found.append(at.time())
        at += timedelta(minutes=STEP_MINUTES)
    return found


def _free(connection: sqlite3.Connection, day: date, now: datetime) -> list[time]:
    rows = connection.execute(
        "SELECT time FROM appointment WHERE day = ? AND status = 'booked'", (day.isoformat(),)
    )
    taken = {row["time"] for row in rows}
    return [at for at in _slots(day, now) if at.isoformat("minutes") not in taken]


def _refusal(connection: sqlite3.Connection, day: date, at: time | None, now: datetime) -> ToolResult | None:
    """Return why there can be no appointment then, with what is free instead; None where there can."""
    data: dict[str, object] = {"day": day}
    if day < now.date():
        return ToolResult("past", data)
    if (day - now.date()).days > HORIZON_DAYS:
        return ToolResult("too_far", data)
    if day.weekday() not in OPENING:
        return ToolResult("closed", data)
    free = _free(connection, day, now)
    if not free:
        return ToolResult("full", data)
    if at is None or at in free:
        return None
    near = sorted(sorted(free, key=lambda item: abs(_minutes(item) - _minutes(at)))[:ALTERNATIVES])
    opens, closes = OPENING[day.weekday()]
    outside = not opens <= at <= LAST_START[day.weekday()]
    return ToolResult(
        "outside" if outside else "taken", {**data, "alternatives": near, "opens": opens, "closes": closes}
    )


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


def _row(connection: sqlite3.Connection, reference: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM appointment WHERE reference = ? AND status = 'booked'", (reference,)
    ).fetchone()
    return row


def _described(row: sqlite3.Row) -> dict[str, object]:
    return {
        "reference": row["reference"],
        "day": date.fromisoformat(row["day"]),
        "time": time.fromisoformat(row["time"]),
        "name": row["name"],
    }


@tool(effect="read", offered=False)
def check_day(context: ToolContext, *, day: date) -> ToolResult:
    """Say whether appointments can be had on a day."""
    with _transaction(context) as connection:
        return _refusal(connection, day, None, context.now) or ToolResult("open", {"day": day})


@tool(effect="read", offered=False)
def check_time(context: ToolContext, *, day: date, time: time) -> ToolResult:
    """Say whether a time is free, and what is free near it where it is not."""
    with _transaction(context) as connection:
        return _refusal(connection, day, time, context.now) or ToolResult("free", {"day": day, "time": time})


@tool(effect="read", offered=False)
def free_times(context: ToolContext, *, day: date) -> ToolResult:
    """Name times that are free on a day."""
    with _transaction(context) as connection:
        if refusal := _refusal(connection, day, None, context.now):
            return refusal
        free = _free(connection, day, context.now)
    whole = [at for at in free if at.minute in (0, 30)] or free
    step = max(1, len(whole) // 4)
    return ToolResult("free", {"day": day, "times": whole[::step][:4]})


@tool(
    effect="write",
    fallback="I'm sorry, I can't book anything right now. Would you like to speak to a person?",
    examples=("The doctor should have a look at my knee.", "Do you have anything free on Thursday?"),
)
def book_appointment(context: ToolContext, *, day: date, time: time, name: PersonName) -> ToolResult:
    """Book a new appointment at the clinic."""

    def work(connection: sqlite3.Connection) -> ToolResult:
        if refusal := _refusal(connection, day, time, context.now):
            return refusal
        reference = _new_reference(connection, day, time)
        connection.execute(
            "INSERT INTO appointment (reference, day, time, name, status) VALUES (?, ?, ?, ?, 'booked')",
            (reference, day.isoformat(), time.isoformat("minutes"), name),
        )
        return ToolResult("booked", {"reference": reference, "day": day, "time": time, "name": str(name)})

    return _once(context, work)


def _new_reference(connection: sqlite3.Connection, day: date, at: time) -> str:
    """Return a free number of four different-looking digits, the same for the same state of the book."""
    start = (day.toordinal() * 97 + _minutes(at) * 31) % 9000
    used = {row["reference"] for row in connection.execute("SELECT reference FROM appointment")}
    for offset in range(9000):
        reference = str(1000 + (start + offset * 7) % 9000)
        if reference not in used:
            return reference
    raise ToolError("appointments: every number is in use")


@tool(effect="read", offered=False)
def find_appointment(context: ToolContext, *, reference: Digits, name: PersonName) -> ToolResult:
    """Find a booked appointment by its number, if the name fits."""
    with _transaction(context) as connection:
        row = _row(connection, reference)
    if row is None:
        return ToolResult("unknown")
    family, given = row["name"].split()[-1], str(name).split()[-1]
    if max(likeness(row["name"], name), likeness(family, given)) < SAME_NAME:
        return ToolResult("other_name")
    booked = {f"booked_{key}": value for key, value in _described(row).items()}
    return ToolResult("found", booked, verified={"reference": str(reference)})


@tool(
    effect="write",
    authentication="verified",
    fallback="I'm sorry, I can't cancel anything right now. Would you like to speak to a person?",
    examples=("I can't make it on Monday after all.",),
)
def cancel_appointment(context: ToolContext, *, reference: Digits) -> ToolResult:
    """Cancel a booked appointment."""

    def work(connection: sqlite3.Connection) -> ToolResult:
        row = _row(connection, reference)
        if row is None:
            return ToolResult("unknown")
        connection.execute("UPDATE appointment SET status = 'cancelled' WHERE reference = ?", (reference,))
        return ToolResult("cancelled", _described(row))

    return _once(context, work)


@tool(
    effect="write",
    authentication="verified",
    fallback="I'm sorry, I can't move anything right now. Would you like to speak to a person?",
    examples=("Something came up, could we do it another day?",),
)
def reschedule_appointment(context: ToolContext, *, reference: Digits, day: date, time: time) -> ToolResult:
    """Move a booked appointment to another day or time."""

    def work(connection: sqlite3.Connection) -> ToolResult:
        row = _row(connection, reference)
        if row is None:
            return ToolResult("unknown")
        if refusal := _refusal(connection, day, time, context.now):
            return refusal
        connection.execute(
            "UPDATE appointment SET day = ?, time = ? WHERE reference = ?",
            (day.isoformat(), time.isoformat("minutes"), reference),
        )
        return ToolResult(
            "moved", {"reference": str(reference), "day": day, "time": time, "name": row["name"]}
        )

    return _once(context, work)


@tool(effect="read", examples=("Is anybody there this evening?",))
def opening_hours(context: ToolContext, *, day: date | None = None) -> ToolResult:
    """Tell the opening hours, of one day or of the whole week."""
    if day is None:
        return ToolResult("week", {"hours": _week()})
    weekday = WEEKDAY_NAMES[day.weekday()]
    ahead = (day - context.now.date()).days
    when = f"Today, {weekday}," if ahead == 0 else f"Tomorrow, {weekday}," if ahead == 1 else f"On {weekday}"
    if day.weekday() not in OPENING:
        return ToolResult("closed", {"when": when, "weekday": weekday, "day": day})
    return ToolResult("open", {"when": when, "weekday": weekday, "day": day, "hours": _hours(day.weekday())})


def _hours(weekday: int) -> str:
    opens, closes = OPENING[weekday]
    return f"from {speak_time(opens, part_of_day=True)} to {speak_time(closes, part_of_day=True)}"


def _week() -> str:
    spans: list[tuple[int, int]] = []
    for weekday in sorted(OPENING):
        if spans and spans[-1][1] == weekday - 1 and OPENING[weekday] == OPENING[spans[-1][0]]:
            spans[-1] = (spans[-1][0], weekday)
        else:
            spans.append((weekday, weekday))
    parts = [f"{_days(first, last)} {_hours(first)}" for first, last in spans]
    closed = [WEEKDAY_NAMES[weekday] for weekday in range(7) if weekday not in OPENING]
    ending = f" On {speak_list(closed, joint='and')} the clinic is closed." if closed else ""
    return f"{speak_list(parts, joint='and')}.{ending}"


def _days(first: int, last: int) -> str:
    if first == last:
        return f"on {WEEKDAY_NAMES[first]}"
    return f"from {WEEKDAY_NAMES[first]} to {WEEKDAY_NAMES[last]}"
