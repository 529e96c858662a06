"""The knowledge base: one owner of one index directory.

``KnowledgeBase.open`` takes the directory's lock, so a second process gets :class:`kb.errors.IndexBusy`. Methods
may be called from several threads: a query waits for another's few milliseconds of reading or writing, never for
documents being embedded.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from kb.catalogue import Catalogue, StoredDocument
from kb.chunker import chunk_sections
from kb.document_files import Found, find_documents
from kb.errors import DocumentRejected, EmbeddingMismatch, IndexBusy, InvalidCollection, KnowledgeError
from kb.loaders import parse_document, read_document
from kb.ranking import rank
from kb.sections import SEPARATOR
from kb.types import AddReport, Chunk, Document, Embed, Passage
from kb.vectors import Vectors

_COLLECTION: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")
_CHUNKING: Final = "1"
"""Raised whenever loaders or chunker cut differently, so that stored documents are taken in again."""
_EMBED_BATCH: Final = 32
_CANDIDATES: Final = 24
_MAX_QUESTION_CHARACTERS: Final = 2000
MAX_LIMIT: Final = 50


def check_collection(name: str) -> str:
    """Return ``name``; raise :class:`InvalidCollection` where Chroma would refuse it."""
    if not _COLLECTION.fullmatch(name):
        raise InvalidCollection(
            f"{name!r} is no name for a collection; expected 3 to 512 of letters, digits, '.', '_' and '-',"
            " beginning and ending with a letter or digit"
        )
    return name


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KnowledgeBase:
    """Documents of any number of collections, searched by meaning and by words."""

    def __init__(
        self, catalogue: Catalogue, vectors: Vectors, embed: Embed, model: str, now: Callable[[], datetime]
    ) -> None:
        self._catalogue = catalogue
        self._vectors = vectors
        self._embed = embed
        self._signature = f"{_CHUNKING}/{model}"
        self._now = now
        self._held = threading.Lock()
        self._adding = threading.Lock()

    @classmethod
    @contextmanager
    def open(
        cls,
        directory: Path,
        embed: Embed,
        *,
        lock_timeout_s: float = 5.0,
        model: str = "",
        now: Callable[[], datetime] = _utc_now,
    ) -> Iterator[KnowledgeBase]:
        """Own the index in ``directory`` (made if missing) until the context ends.

        ``model`` names what ``embed`` runs: documents embedded by another model count as changed. Raises
        :class:`IndexBusy` when another process keeps the index for longer than ``lock_timeout_s``, and
        :class:`kb.errors.IndexDamaged`.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(directory / "owner.lock", timeout=lock_timeout_s)
            lock.acquire()
        except Timeout:
            raise IndexBusy(
                f"{directory} is in use by another process (landline serve, most likely); expected it to be free:"
                " ask that process, or stop it first"
            ) from None
        except OSError as error:
            raise KnowledgeError(
                f"{directory}: cannot be used ({error.strerror}); expected a writable folder"
            ) from error
        try:
            catalogue = Catalogue(directory / "catalogue.sqlite3")
            try:
                vectors = Vectors(directory / "chroma")
                try:
                    base = cls(catalogue, vectors, embed, model, now)
                    base._sweep()
                    yield base
                finally:
                    vectors.close()
            finally:
                catalogue.close()
        finally:
            lock.release()

    def add(self, collection: str, paths: Sequence[Path]) -> AddReport:
        """Take in files and directories; what is unchanged is not embedded again.

        A file of its own is called by its name, a file of a directory by its path below that directory; a
        document of that name is replaced. Documents whose file is gone from a directory given are removed. A
        file that fails is reported, and what the index held of it stays.
        """
        check_collection(collection)
        with self._adding:
            with self._stores():
                stored = self._catalogue.stored(collection)
            files = find_documents(paths, stored.values())
            added: list[str] = []
            unchanged: list[str] = []
            failed = list(files.failed)
            passages = 0
            for found in files.found:
                try:
                    count = self._add_file(collection, found, stored.get(found.source))
                except DocumentRejected as error:
                    failed.append((str(found.path), str(error).removeprefix(f"{found.path}: ")))
                    continue
                if count is None:
                    unchanged.append(found.source)
                else:
                    added.append(found.source)
                    passages += count
            for source in files.gone:
                self.remove(collection, source)
        return AddReport(tuple(added), tuple(unchanged), files.gone, passages, tuple(failed))

    def remove(self, collection: str, source: str) -> int:
        """Forget a document; return how many passages it had, 0 where there is none of that name."""
        check_collection(collection)
        with self._stores():
            ids = self._catalogue.remove(collection, source)
            self._vectors.delete(collection, ids)
            if not self._catalogue.ids(collection):
                self._vectors.drop(collection)
        return len(ids)

    def documents(self, collection: str) -> list[Document]:
        """Return what the collection holds, in the order of the sources' names."""
        check_collection(collection)
        with self._stores():
            return self._catalogue.documents(collection)

    def collections(self) -> list[str]:
        """Return the names of the collections that hold documents."""
        with self._stores():
            return self._catalogue.collections()

    def query(self, collection: str, text: str, limit: int = 4) -> list[Passage]:
        """Return up to ``limit`` passages, best first; none for an empty collection or question."""
        check_collection(collection)
        text = text.strip()[:_MAX_QUESTION_CHARACTERS]
        limit = max(0, min(limit, MAX_LIMIT))
        if not text or not limit:
            return []
        vector = self._embedded([text])[0]
        candidates = max(_CANDIDATES, 2 * limit)
        with self._stores():
            near = self._vectors.nearest(collection, vector, candidates)
            words = self._catalogue.matching_words(collection, text, candidates)
            near |= self._vectors.cosines(collection, vector, [id for id in words if id not in near])
            rows = self._catalogue.passages(collection, list(near))
        ranked = rank({id: cosine for id, cosine in near.items() if id in rows}, words)
        return [
            Passage(rows[id].text, rows[id].source, rows[id].title, score) for id, score in ranked[:limit]
        ]

    def _add_file(self, collection: str, found: Found, stored: StoredDocument | None) -> int | None:
        content = read_document(found.path)
        sha256 = hashlib.sha256(content).hexdigest()
        document = StoredDocument(found.source, found.origin, sha256, self._signature)
        if stored is not None and (stored.sha256, stored.signature) == (sha256, self._signature):
            if stored.origin != found.origin:
                with self._stores():
                    self._catalogue.moved(collection, found.source, found.origin)
            return None
        sections = parse_document(found.path, content)
        chunks = chunk_sections(sections)
        vectors = self._embedded([f"{chunk.title}. {chunk.text}" for chunk in chunks])
        ids = [self._id(document, number) for number in range(len(chunks))]
        title = sections[0].title.split(SEPARATOR)[0]
        self._write(collection, document, title, list(zip(ids, chunks, strict=True)), vectors)
        return len(chunks)

    def _write(
        self,
        collection: str,
        document: StoredDocument,
        title: str,
        passages: Sequence[tuple[str, Chunk]],
        vectors: NDArray[np.float32],
    ) -> None:
        """New vectors in, the catalogue switched, old vectors out: killed at any point, one set is whole."""
        with self._stores():
            self._vectors.put(collection, [id for id, _ in passages], vectors)
            old = self._catalogue.replace(collection, document, title, passages, self._now())
            self._vectors.delete(collection, old)

    @contextmanager
    def _stores(self) -> Iterator[None]:
        """Hold catalogue and vectors for a moment; never while something is embedded."""
        with self._held:
            try:
                yield
            except sqlite3.Error as error:
                raise KnowledgeError(
                    f"the index cannot be used ({error}); expected readable, writable files and free disk space;"
                    " what it held stays"
                ) from error

    def _sweep(self) -> None:
        """Drop vectors that a process killed in mid-write left behind."""
        with self._stores():
            for collection in self._catalogue.collections():
                stray = self._vectors.ids(collection) - self._catalogue.ids(collection)
                self._vectors.delete(collection, sorted(stray))

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), _EMBED_BATCH):
            batch = list(texts[start : start + _EMBED_BATCH])
            vectors = np.asarray(self._embed(batch), dtype=np.float32)
            if vectors.ndim != 2 or len(vectors) != len(batch) or not np.isfinite(vectors).all():
                raise EmbeddingMismatch(
                    f"embeddings of shape {vectors.shape} for {len(batch)} texts; expected one finite row each"
                )
            parts.append(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
        return np.concatenate(parts)

    def _id(self, document: StoredDocument, number: int) -> str:
        key = os.fsencode(f"{document.source}\0{document.sha256}\0{document.signature}\0{number}")
        return hashlib.sha256(key).hexdigest()[:32]
