"""Opens the records database and brings its schema up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from server.errors import RecordsUnavailable, SchemaTooNew

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def open_database(url: str, *, busy_timeout_ms: int) -> Engine:
    """Return the engine of the one writer; its transactions begin as ``BEGIN IMMEDIATE`` on SQLite."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(
        parsed, connect_args={"timeout": busy_timeout_ms / 1000, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred: a read that becomes a write could then fail at once.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_for_reading(url: str, *, busy_timeout_ms: int) -> Engine:
    """Return an engine that cannot write. Raises RecordsUnavailable when there is no database yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, execution_options={"postgresql_readonly": True}, poolclass=NullPool)
    path = Path(parsed.database or "")
    if not path.is_file():
        raise RecordsUnavailable("missing", f"{path}: no records yet; the first call makes them")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy_timeout_ms / 1000)

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def migrate(engine: Engine) -> None:
    """Bring the schema to this version.

    Raises :class:`server.errors.SchemaTooNew` when a later Landline wrote it, RecordsUnavailable when the
    database cannot be written.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    try:
        with engine.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in known:
                raise SchemaTooNew(
                    f"records are at schema {current}, which this Landline does not know; expected one of"
                    f" {', '.join(sorted(known))}: start the newer Landline that wrote them"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise unavailable(error) from error


def unavailable(error: DBAPIError) -> RecordsUnavailable:
    """Say in words why the database could not be written."""
    original: Any = error.orig
    code = getattr(original, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return RecordsUnavailable("disk_full", "records cannot be written: the disk is full")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RecordsUnavailable("locked", "records cannot be written: another program holds the database")
    return RecordsUnavailable("failed", f"records cannot be written: {type(original).__name__}")
