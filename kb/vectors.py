"""Chroma, kept to what it is needed for: vectors under ids, nearest first.

Telemetry is off and every collection is made with ``embedding_function=None``: Chroma's default one would fetch a
model from the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kb.errors import EmbeddingMismatch, IndexDamaged, KnowledgeError

_WRITE_BATCH: Final = 1000


class Vectors:
    """The Chroma client of one directory. Not thread-safe: its owner holds a lock."""

    def __init__(self, directory: Path) -> None:
        # Chroma takes about a second to import; whoever only loads this package must not pay for it.
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError, NotFoundError

        self._chroma_error: type[Exception] = ChromaError
        self._not_found: type[Exception] = NotFoundError
        self._directory = directory
        self._collections: dict[str, Any] = {}
        try:
            self._client: Any = chromadb.PersistentClient(
                path=directory, settings=Settings(anonymized_telemetry=False)
            )
        except Exception as error:
            raise IndexDamaged(
                f"{directory}: Chroma cannot open it ({error}); expected an index made by this program: move its"
                " folder away and add the documents again"
            ) from error

    def close(self) -> None:
        """Let go of Chroma's files."""
        self._collections.clear()
        self._client.close()

    def put(self, collection: str, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Write vectors under ids, over what is there."""
        with self._explained(collection):
            store = self._open(collection, create=True)
            for start in range(0, len(ids), _WRITE_BATCH):
                batch = slice(start, start + _WRITE_BATCH)
                store.upsert(ids=list(ids[batch]), embeddings=vectors[batch])

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Forget ids; unknown ones are no error."""
        with self._explained(collection):
            store = self._open(collection, create=False)
            for start in range(0, len(ids) if store is not None else 0, _WRITE_BATCH):
                store.delete(ids=list(ids[start : start + _WRITE_BATCH]))

    def drop(self, collection: str) -> None:
        """Forget a whole collection, its number of dimensions included."""
        self._collections.pop(collection, None)
        with self._explained(collection):
            try:
                self._client.delete_collection(collection)
            except self._not_found:
                pass

    def ids(self, collection: str) -> set[str]:
        """Return all ids."""
        with self._explained(collection):
            store = self._open(collection, create=False)
            return set() if store is None else set(store.get(include=[])["ids"])

    def nearest(self, collection: str, vector: NDArray[np.float32], limit: int) -> dict[str, float]:
        """Return the cosine of the nearest ids."""
        with self._explained(collection):
            store = self._open(collection, create=False)
            if store is None:
                return {}
            found = store.query(query_embeddings=vector[None, :], n_results=limit, include=["distances"])
        return {
            id: 1.0 - float(distance)
            for id, distance in zip(found["ids"][0], found["distances"][0], strict=True)
        }

    def cosines(self, collection: str, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """Return the cosine of given ids (vectors are of length 1)."""
        with self._explained(collection):
            store = self._open(collection, create=False)
            if store is None or not ids:
                return {}
            found = store.get(ids=list(ids), include=["embeddings"])
        return {
            id: float(np.dot(stored, vector))
            for id, stored in zip(found["ids"], found["embeddings"], strict=True)
        }

    @contextmanager
    def _explained(self, collection: str) -> Iterator[None]:
        """Say in words what Chroma objects to."""
        try:
            yield
        except self._chroma_error as error:
            if "dimension" in str(error).lower():
                raise EmbeddingMismatch(
                    f"collection {collection} holds vectors of another embedding model ({error}); expected the"
                    " model it was made with: remove its documents and add them again"
                ) from error
            raise KnowledgeError(
                f"collection {collection}: the index cannot be used ({error}); expected readable, writable files"
                " and free disk space; what it held stays"
            ) from error

    def _open(self, collection: str, *, create: bool) -> Any:
        if collection not in self._collections:
            try:
                if create:
                    self._collections[collection] = self._client.get_or_create_collection(
                        collection, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
                    )
                else:
                    self._collections[collection] = self._client.get_collection(
                        collection, embedding_function=None
                    )
            except self._not_found:
                return None
        return self._collections[collection]
