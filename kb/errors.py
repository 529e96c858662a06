"""Errors of the knowledge base.

::

    KnowledgeError                a person is told its text; it says what was expected
    ├── DocumentRejected          a document cannot be read: kind, encoding, size, no text
    ├── InvalidCollection         the name breaks Chroma's rule
    ├── IndexBusy                 another process owns the index
    ├── IndexDamaged              the files of the index cannot be opened
    └── EmbeddingMismatch         vectors of another model or shape than the collection holds
"""

from __future__ import annotations


class KnowledgeError(Exception):
    """Base of everything this room raises on purpose."""


class DocumentRejected(KnowledgeError):
    """One document cannot be taken in; the text names the file and what was expected."""


class InvalidCollection(KnowledgeError):
    """The name of a collection is not one that Chroma takes."""


class IndexBusy(KnowledgeError):
    """Another process owns the index directory."""


class IndexDamaged(KnowledgeError):
    """The files of the index cannot be opened; the documents themselves are not touched."""


class EmbeddingMismatch(KnowledgeError):
    """The embeddings handed in do not fit those that the collection holds."""
