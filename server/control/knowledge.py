"""Owner of the Chroma index: opened once, asked from threads of its own, embeddings from the speech worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from kb import AddReport, Document, KnowledgeBase, KnowledgeError, Passage
from kb.types import Embed
from models.errors import ModelError
from models.worker_client import WorkerClient

T = TypeVar("T")

_EMBED_TIMEOUT_S: Final = 20.0
_REOPEN_S: Final = 2.0
_THREADS: Final = 4

_log = logging.getLogger(__name__)


class KnowledgeUnavailable(Exception):
    """The index is not open, or the embeddings cannot be had; the text says which."""


class KnowledgeOwner:
    """The one owner of the index while ``landline serve`` runs."""

    def __init__(self, directory: Path, speech: WorkerClient, *, model: str, lock_timeout_s: float) -> None:
        self._directory = directory
        self._speech = speech
        self._model = model
        self._lock_timeout_s = lock_timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, "knowledge")
        self._stack = ExitStack()
        self._base: KnowledgeBase | None = None
        self.fault = "the knowledge base is being opened"
        """What is wrong, in words; empty when it is open."""

    async def run(self) -> None:
        """Open the index, trying again while another process holds it; then keep it until cancelled."""
        loop = asyncio.get_running_loop()
        while self._base is None:
            try:
                self._base = await loop.run_in_executor(self._threads, self._open, self._embedding(loop))
                self.fault = ""
            except KnowledgeError as error:
                self.fault = str(error)
                _log.error("knowledge_not_open", extra={"error": type(error).__name__})
                await asyncio.sleep(_REOPEN_S)
        await asyncio.Event().wait()

    def _open(self, embed: Embed) -> KnowledgeBase:
        opening = KnowledgeBase.open(
            self._directory, embed, lock_timeout_s=self._lock_timeout_s, model=self._model
        )
        return self._stack.enter_context(opening)

    def _embedding(self, loop: asyncio.AbstractEventLoop) -> Embed:
        def embed(texts: Sequence[str], /) -> NDArray[np.float32]:
            asked = asyncio.run_coroutine_threadsafe(self._embed(texts), loop)
            return asked.result(_EMBED_TIMEOUT_S + 5.0)

        return embed

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        reply = await self._speech.request("embed", {"texts": list(texts)}, timeout_s=_EMBED_TIMEOUT_S)
        dimensions = int(reply.header["dimensions"])
        return np.frombuffer(reply.payload, dtype="<f4").reshape(len(texts), dimensions)

    async def query(self, collection: str, text: str, limit: int) -> list[Passage]:
        """Return passages, best first. Raises KnowledgeUnavailable, kb.KnowledgeError."""
        return await self._ask(lambda base: base.query(collection, text, limit))

    async def add(self, collection: str, paths: Sequence[Path]) -> AddReport:
        """Take in documents. Raises as :meth:`query`."""
        return await self._ask(lambda base: base.add(collection, paths))

    async def documents(self, collection: str) -> list[Document]:
        """Return what the collection holds. Raises as :meth:`query`."""
        return await self._ask(lambda base: base.documents(collection))

    async def remove(self, collection: str, source: str) -> int:
        """Forget a document; return how many passages it had. Raises as :meth:`query`."""
        return await self._ask(lambda base: base.remove(collection, source))

    async def _ask(self, question: Callable[[KnowledgeBase], T]) -> T:
        base = self._base
        if base is None:
            raise KnowledgeUnavailable(self.fault)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, question, base)
        except (ModelError, TimeoutError) as error:
            raise KnowledgeUnavailable(
                f"no embeddings from the speech worker: {type(error).__name__}"
            ) from error

    async def close(self) -> None:
        """Let go of the index."""
        self._base = None
        self.fault = "the knowledge base is closed"
        # First, so that threads that wait for embeddings give up; and not in the loop, which they wait for.
        await self._speech.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self._stack.close()
