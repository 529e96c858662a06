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
from kb.extract import READ_ALOUD_SCORE, Extract, best_sentences
from kb.knowledge_base import KnowledgeBase
from kb.ranking import CONFIDENCE_THRESHOLD
from kb.types import AddReport, Document, Embed, Passage

__all__ = [
    "AddReport",
    "CONFIDENCE_THRESHOLD",
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
    "READ_ALOUD_SCORE",
    "best_sentences",
]
