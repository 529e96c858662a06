"""Tables of the records. Every personal column has a ``*_key_id`` beside it that names the key it is sealed with.

``none`` means not sealed. Times are UTC. The migrations build these tables; a test holds the two together.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect

NOT_SEALED: Final = "none"


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is UTC in Python whether or not the database keeps zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return UTC."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key_id(column: str) -> Column[str]:
    return Column(f"{column}_key_id", String(64), nullable=False, server_default=NOT_SEALED)


def _call_id() -> Column[str]:
    return Column("call_id", String(128), ForeignKey("call.call_id", ondelete="CASCADE"), nullable=False)


call = Table(
    "call",
    metadata,
    Column("call_id", String(128), primary_key=True),
    Column("door", String(32), nullable=False),
    Column("agent_name", String(128), nullable=False),
    Column("agent_version", String(64), nullable=False),
    Column("caller", Text, nullable=False),
    _key_id("caller"),
    Column("callee", Text, nullable=False),
    _key_id("callee"),
    Column("facts", JSON, nullable=False),
    _key_id("facts"),
    Column("codec", String(32), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("end_reason", String(32)),
    Column("duration_ms", Float),
    Column("statistics", JSON),
    Index("ix_call_started_at", "started_at"),
    Index("ix_call_ended_at", "ended_at"),
)

operation = Table(
    "operation",
    metadata,
    Column("call_id", String(128), ForeignKey("call.call_id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("op", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
"""What was accepted: makes repetition harmless."""

turn = Table(
    "turn",
    metadata,
    Column("id", Integer, primary_key=True),
    _call_id(),
    Column("sequence", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("heard", Text, nullable=False),
    _key_id("heard"),
    Column("said", Text, nullable=False),
    _key_id("said"),
    Column("turn_class", String(32), nullable=False),
    Column("interrupted", Boolean, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("ledger", JSON, nullable=False),
    UniqueConstraint("call_id", "sequence"),
)

tool_attempt = Table(
    "tool_attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    _call_id(),
    Column("sequence", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("tool", String(128), nullable=False),
    Column("arguments", JSON, nullable=False),
    _key_id("arguments"),
    Column("provenance", JSON),
    _key_id("provenance"),
    Column("idempotency_key", String(256), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", JSON),
    _key_id("result"),
    Column("duration_ms", Float, nullable=False),
    UniqueConstraint("call_id", "sequence"),
)

transition = Table(
    "transition",
    metadata,
    Column("id", Integer, primary_key=True),
    _call_id(),
    Column("sequence", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("name", String(64), nullable=False),
    Column("detail", JSON),
    _key_id("detail"),
    UniqueConstraint("call_id", "sequence"),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("call_id", String(128), ForeignKey("call.call_id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", JSON, nullable=False),
    _key_id("state"),
)
"""The last state of a call, for an agent that takes over; removed when the call ends."""
