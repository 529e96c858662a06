"""Documents in, passages with citations out: loaders, chunker, Chroma index, retriever, its evaluation.

Imports nothing else of the product; embeddings are handed in. Importing this package does not import Chroma,
which takes a second: :meth:`KnowledgeBase.open` does.
"""

from kb.errors import (
    DocumentRejected,
    EmbeddingMismatch,
    IndexBusy,
    IndexDamaged,
    InvalidCollection,
    KnowledgeError,
)
from kb.extract import Extract, best_sentences
from kb.knowledge_base import KnowledgeBase
from kb.types import AddReport, Document, Embed, Passage

__all__ = [
    "AddReport",
    "Document",
    "DocumentRejected",
    "Embed",
    "EmbeddingMismatch",
    "Extract",
    "IndexBusy",
    "IndexDamaged",
    "InvalidCollection",
    "KnowledgeBase",
    "KnowledgeError",
    "Passage",
    "best_sentences",
]
