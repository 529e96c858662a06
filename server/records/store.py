"""Applies record operations and reads calls back, on a connection that the caller holds open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, assert_never

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from server.records import schema
from server.records.operations import (
    CallEnded,
    CallStarted,
    EndReason,
    Operation,
    Rejection,
    Snapshot,
    Tool,
    Transition,
    Turn,
)


def apply(connection: Connection, operations: Sequence[Operation]) -> tuple[list[Operation], list[Rejection]]:
    """Write the operations not yet known, in order; return those, and those that fit no call."""
    known = _known(connection, operations)
    written: list[Operation] = []
    rejections: list[Rejection] = []
    for item in operations:
        key = (item.call_id, item.sequence)
        if key in known:
            continue
        known.add(key)
        if reason := _misfit(connection, item):
            rejections.append(Rejection(*key, reason))
            continue
        _apply_one(connection, item)
        written.append(item)
    return written, rejections


def _misfit(connection: Connection, item: Operation) -> str:
    started = _exists(connection, item.call_id)
    if isinstance(item, CallStarted):
        return "call_started of a call that was started before" if started else ""
    return "" if started else f"{item.op} of a call that was never started"


def _known(connection: Connection, operations: Iterable[Operation]) -> set[tuple[str, int]]:
    table = schema.operation.c
    known: set[tuple[str, int]] = set()
    sequences: dict[str, list[int]] = {}
    for item in operations:
        sequences.setdefault(item.call_id, []).append(item.sequence)
    for call_id, numbers in sequences.items():
        query = select(table.sequence).where(
            table.call_id == call_id, table.sequence.between(min(numbers), max(numbers))
        )
        known |= {(call_id, sequence) for sequence in connection.scalars(query)}
    return known


def _apply_one(connection: Connection, item: Operation) -> None:
    key = {"call_id": item.call_id, "sequence": item.sequence, "at": item.at}
    if isinstance(item, CallStarted):
        _start(connection, item)  # first: the operation refers to it
    connection.execute(insert(schema.operation).values(**key, op=item.op))
    match item:
        case CallStarted():
            pass
        case Turn():
            fields = item.model_dump(exclude={"op"})
            connection.execute(insert(schema.turn).values(**fields))
        case Tool():
            fields = item.model_dump(exclude={"op"})
            connection.execute(insert(schema.tool_attempt).values(**fields))
        case Transition():
            connection.execute(insert(schema.transition).values(**key, name=item.name, detail=item.detail))
        case Snapshot():
            _keep_snapshot(connection, item)
        case CallEnded():
            _end(connection, item)
        case _:
            assert_never(item)


def _exists(connection: Connection, call_id: str) -> bool:
    query = select(schema.call.c.call_id).where(schema.call.c.call_id == call_id)
    return connection.execute(query).first() is not None


def _start(connection: Connection, item: CallStarted) -> None:
    connection.execute(
        insert(schema.call).values(
            call_id=item.call_id,
            door=item.door,
            agent_name=item.agent_name,
            agent_version=item.agent_version,
            caller=item.caller,
            callee=item.callee,
            facts=item.facts,
            codec=item.codec,
            started_at=item.at,
        )
    )


def _keep_snapshot(connection: Connection, item: Snapshot) -> None:
    table = schema.snapshot
    newer = select(table.c.sequence).where(table.c.call_id == item.call_id, table.c.sequence > item.sequence)
    if connection.execute(newer).first() is not None:
        return
    connection.execute(delete(table).where(table.c.call_id == item.call_id))
    connection.execute(
        insert(table).values(call_id=item.call_id, sequence=item.sequence, at=item.at, state=item.state)
    )


def _end(connection: Connection, item: CallEnded) -> None:
    table = schema.call
    # The first end stands, except that an agent which really saw the end knows better than a restart.
    open_or_guessed = table.c.ended_at.is_(None) | (table.c.end_reason == EndReason.INTERRUPTED.value)
    connection.execute(
        update(table)
        .where(table.c.call_id == item.call_id, open_or_guessed)
        .values(
            ended_at=item.at,
            end_reason=item.end_reason.value,
            duration_ms=item.duration_ms,
            statistics=item.statistics,
        )
    )
    connection.execute(delete(schema.snapshot).where(schema.snapshot.c.call_id == item.call_id))


def close_interrupted(connection: Connection) -> int:
    """Close every open call as interrupted, at the time of its last operation. Return how many."""
    calls, operations = schema.call, schema.operation
    closed = 0
    for call_id, started_at in connection.execute(
        select(calls.c.call_id, calls.c.started_at).where(calls.c.ended_at.is_(None))
    ).all():
        last: datetime = (
            connection.scalars(select(func.max(operations.c.at)).where(operations.c.call_id == call_id)).one()
            or started_at
        )
        connection.execute(
            update(calls)
            .where(calls.c.call_id == call_id)
            .values(
                ended_at=last,
                end_reason=EndReason.INTERRUPTED.value,
                duration_ms=(last - started_at).total_seconds() * 1000,
            )
        )
        connection.execute(delete(schema.snapshot).where(schema.snapshot.c.call_id == call_id))
        closed += 1
    return closed


def open_calls(connection: Connection) -> list[dict[str, Any]]:
    """Return calls without an end, each with its last sequence and snapshot, for an agent that takes over."""
    found = []
    for row in connection.execute(
        select(schema.call).where(schema.call.c.ended_at.is_(None)).order_by(schema.call.c.started_at)
    ).mappings():
        call_id = row["call_id"]
        last_sequence = connection.scalars(
            select(func.max(schema.operation.c.sequence)).where(schema.operation.c.call_id == call_id)
        ).one()
        snapshot = (
            connection.execute(select(schema.snapshot).where(schema.snapshot.c.call_id == call_id))
            .mappings()
            .first()
        )
        found.append(
            {
                **_plain(row),
                "sequence": last_sequence or 0,
                "snapshot": snapshot["state"] if snapshot is not None else None,
                "snapshot_sequence": snapshot["sequence"] if snapshot is not None else 0,
            }
        )
    return found


def list_calls(connection: Connection, *, limit: int, before: datetime | None = None) -> list[dict[str, Any]]:
    """Return the latest calls, newest first, each with its number of turns."""
    turns = (
        select(func.count(func.distinct(schema.turn.c.turn)))
        .where(schema.turn.c.call_id == schema.call.c.call_id)
        .scalar_subquery()
        .label("turns")
    )
    query = select(schema.call, turns).order_by(schema.call.c.started_at.desc()).limit(limit)
    if before is not None:
        query = query.where(schema.call.c.started_at < before)
    return [_plain(row) for row in connection.execute(query).mappings()]


_ID_BEGINNING: Final = 4
"""Characters of a call's id that must be given at least."""


def show_call(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """Return everything about one call in the order in which it happened, or None.

    The beginning of an id is enough where only one call has it.
    """
    row = connection.execute(select(schema.call).where(schema.call.c.call_id == call_id)).mappings().first()
    if row is None and len(call_id) >= _ID_BEGINNING:
        begins = schema.call.c.call_id.startswith(call_id, autoescape=True)
        rows = connection.execute(select(schema.call).where(begins).limit(2)).mappings().all()
        row = rows[0] if len(rows) == 1 else None
    if row is None:
        return None
    call_id = row["call_id"]
    parts = {"turns": schema.turn, "tools": schema.tool_attempt, "transitions": schema.transition}
    found: dict[str, Any] = _plain(row)
    for name, table in parts.items():
        query = select(table).where(table.c.call_id == call_id).order_by(table.c.sequence)
        found[name] = [_plain(item) for item in connection.execute(query).mappings()]
    return found


def _plain(row: RowMapping) -> dict[str, Any]:
    """Return a row as JSON-ready values, without key ids."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if not name.endswith("_key_id") and name != "id"
    }
