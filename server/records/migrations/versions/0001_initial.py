"""Calls, their operations, turns, tool attempts, transitions and last snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def _key_id(column: str) -> sa.Column[str]:
    return sa.Column(f"{column}_key_id", sa.String(64), nullable=False, server_default="none")


def _call_reference(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["call_id"], ["call.call_id"], name=op.f(f"fk_{table}_call_id"), ondelete="CASCADE"
    )


def _head(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("call_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("call_id", "sequence", name=op.f(f"uq_{table}_call_id")),
        _call_reference(table),
    ]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "call",
        sa.Column("call_id", sa.String(128), nullable=False),
        sa.Column("door", sa.String(32), nullable=False),
        sa.Column("agent_name", sa.String(128), nullable=False),
        sa.Column("agent_version", sa.String(64), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        _key_id("caller"),
        sa.Column("callee", sa.Text, nullable=False),
        _key_id("callee"),
        sa.Column("facts", sa.JSON, nullable=False),
        _key_id("facts"),
        sa.Column("codec", sa.String(32), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("end_reason", sa.String(32)),
        sa.Column("duration_ms", sa.Float),
        sa.Column("statistics", sa.JSON),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_call")),
    )
    op.create_index("ix_call_started_at", "call", ["started_at"])
    op.create_index("ix_call_ended_at", "call", ["ended_at"])
    op.create_table(
        "operation",
        sa.Column("call_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("op", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "sequence", name=op.f("pk_operation")),
        _call_reference("operation"),
    )
    op.create_table(
        "turn",
        *_head("turn"),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("heard", sa.Text, nullable=False),
        _key_id("heard"),
        sa.Column("said", sa.Text, nullable=False),
        _key_id("said"),
        sa.Column("turn_class", sa.String(32), nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("sources", sa.JSON, nullable=False),
        sa.Column("ledger", sa.JSON, nullable=False),
    )
    op.create_table(
        "tool_attempt",
        *_head("tool_attempt"),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("tool", sa.String(128), nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        _key_id("arguments"),
        sa.Column("provenance", sa.JSON),
        _key_id("provenance"),
        sa.Column("idempotency_key", sa.String(256), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("result", sa.JSON),
        _key_id("result"),
        sa.Column("duration_ms", sa.Float, nullable=False),
    )
    op.create_table(
        "transition",
        *_head("transition"),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("detail", sa.JSON),
        _key_id("detail"),
    )
    op.create_table(
        "snapshot",
        sa.Column("call_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        _key_id("state"),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_snapshot")),
        _call_reference("snapshot"),
    )


def downgrade() -> None:
    """Remove the tables."""
    for table in ("snapshot", "transition", "tool_attempt", "turn", "operation", "call"):
        op.drop_table(table)
