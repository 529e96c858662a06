"""The index's table of contents in SQLite: which documents and passages count, and their words (FTS5).

It is the truth; Chroma holds only vectors under the same ids. Replacing a document is one transaction here, so a
reader sees the old passages or the new ones and never neither.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from kb.errors import IndexDamaged
from kb.types import Chunk, Document

_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL, origin TEXT NOT NULL,
    sha256 TEXT NOT NULL, signature TEXT NOT NULL, added_at TEXT NOT NULL,
    PRIMARY KEY (collection, source)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, collection TEXT NOT NULL, source TEXT NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL,
    UNIQUE (collection, id)
);
CREATE INDEX IF NOT EXISTS passages_of_document ON passages (collection, source);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(title, text, tokenize = 'porter unicode61');
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_QUERY_WORD: Final = re.compile(r"\w+")
_TITLE_WEIGHT: Final = 1.0
_MAX_QUERY_WORDS: Final = 64


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document's row: what decides whether it has to be taken in again."""

    source: str
    origin: str
    sha256: str
    signature: str


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage's row."""

    id: str
    source: str
    title: str
    text: str


class Catalogue:
    """One SQLite file. Not thread-safe: its owner holds a lock."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
            if version > _VERSION:
                raise IndexDamaged(
                    f"{path}: written by a later version ({version}); expected {_VERSION} or less"
                )
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(
                f"{path}: cannot be opened ({error}); expected an index made by this program: move its folder"
                " away and add the documents again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def stored(self, collection: str) -> dict[str, StoredDocument]:
        """Return the documents' rows by source."""
        rows = self._database.execute(
            "SELECT source, origin, sha256, signature FROM documents WHERE collection = ?", (collection,)
        )
        return {row[0]: StoredDocument(*row) for row in rows}

    def documents(self, collection: str) -> list[Document]:
        """Return the documents in the order of their sources."""
        rows = self._database.execute(
            "SELECT d.source, d.title, count(p.number), d.sha256, d.added_at FROM documents d"
            " LEFT JOIN passages p ON p.collection = d.collection AND p.source = d.source"
            " WHERE d.collection = ? GROUP BY d.source ORDER BY d.source",
            (collection,),
        )
        return [
            Document(source, title, passages, sha256, datetime.fromisoformat(added_at))
            for source, title, passages, sha256, added_at in rows
        ]

    def collections(self) -> list[str]:
        """Return the names of the collections that hold documents."""
        return [
            row[0]
            for row in self._database.execute("SELECT DISTINCT collection FROM documents ORDER BY collection")
        ]

    def replace(
        self,
        collection: str,
        document: StoredDocument,
        title: str,
        passages: Sequence[tuple[str, Chunk]],
        added_at: datetime,
    ) -> list[str]:
        """Put the document's new passages in the place of its old ones; return the ids no longer in use."""
        with self._transaction():
            old = self._delete_passages(collection, document.source)
            self._database.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    collection,
                    document.source,
                    title,
                    document.origin,
                    document.sha256,
                    document.signature,
                    added_at.isoformat(),
                ),
            )
            for id, chunk in passages:
                cursor = self._database.execute(
                    "INSERT INTO passages (id, collection, source, title, text) VALUES (?, ?, ?, ?, ?)",
                    (id, collection, document.source, chunk.title, chunk.text),
                )
                self._database.execute(
                    "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                    (cursor.lastrowid, chunk.title, chunk.text),
                )
        return sorted(old - {id for id, _ in passages})

    def moved(self, collection: str, source: str, origin: str) -> None:
        """Note that the file of an unchanged document now lies elsewhere."""
        self._database.execute(
            "UPDATE documents SET origin = ? WHERE collection = ? AND source = ?",
            (origin, collection, source),
        )

    def remove(self, collection: str, source: str) -> list[str]:
        """Forget a document; return its passages' ids."""
        with self._transaction():
            old = self._delete_passages(collection, source)
            self._database.execute(
                "DELETE FROM documents WHERE collection = ? AND source = ?", (collection, source)
            )
        return sorted(old)

    def ids(self, collection: str) -> set[str]:
        """Return the ids of all passages that count."""
        rows = self._database.execute("SELECT id FROM passages WHERE collection = ?", (collection,))
        return {row[0] for row in rows}

    def passages(self, collection: str, ids: Sequence[str]) -> dict[str, StoredPassage]:
        """Return those of the passages that count."""
        marks = ",".join("?" * len(ids))
        rows = self._database.execute(
            f"SELECT id, source, title, text FROM passages WHERE collection = ? AND id IN ({marks})",
            (collection, *ids),
        )
        return {row[0]: StoredPassage(*row) for row in rows}

    def matching_words(self, collection: str, text: str, limit: int) -> dict[str, float]:
        """Return BM25 weights (0 and more) of the best passages that share words with ``text``, by id."""
        words = list(dict.fromkeys(_QUERY_WORD.findall(text.lower())))[:_MAX_QUERY_WORDS]
        if not words:
            return {}
        query = " OR ".join(f'"{word}"' for word in words)
        rows = self._database.execute(
            f"SELECT p.id, bm25(words, {_TITLE_WEIGHT}, 1.0) AS weight FROM words"
            " JOIN passages p ON p.number = words.rowid"
            " WHERE words MATCH ? AND p.collection = ? ORDER BY weight LIMIT ?",
            (query, collection, limit),
        )
        return {row[0]: max(0.0, -row[1]) for row in rows}

    def _delete_passages(self, collection: str, source: str) -> set[str]:
        rows = self._database.execute(
            "SELECT number, id FROM passages WHERE collection = ? AND source = ?", (collection, source)
        ).fetchall()
        self._database.executemany("DELETE FROM words WHERE rowid = ?", [(number,) for number, _ in rows])
        self._database.execute(
            "DELETE FROM passages WHERE collection = ? AND source = ?", (collection, source)
        )
        return {id for _, id in rows}

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)


class _Transaction:
    """``BEGIN IMMEDIATE`` … ``COMMIT``, or ``ROLLBACK`` on an error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            # A commit that failed leaves the transaction open; a full disk may have rolled it back already.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
