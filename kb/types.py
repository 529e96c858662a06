"""What goes into the knowledge base and what comes out. Sans-I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embed(Protocol):
    """Turns texts into vectors; handed in, because this room knows no model."""

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return ``[len(texts), dimensions]``, each row of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading."""

    title: str
    """Heading path, ``Document > Heading > Subheading``."""
    blocks: tuple[str, ...]
    """Paragraphs, list items and table rows as plain sentences, in order."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One to three sentences that can be spoken, with the heading path over them."""

    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Passage:
    """An answer's evidence."""

    text: str
    source: str
    """Name of the document within its collection."""
    title: str
    """Heading path."""
    score: float
    """0 to 1; comparable with the confidence threshold."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that the index holds."""

    source: str
    title: str
    passages: int
    sha256: str
    """Of the file's bytes when it was added."""
    added_at: datetime
    """UTC."""


@dataclass(frozen=True, slots=True)
class AddReport:
    """What became of the files of one ``add``."""

    added: tuple[str, ...] = ()
    """Sources that are new or changed."""
    unchanged: tuple[str, ...] = ()
    """Sources whose content the index held already; they were not embedded again."""
    removed: tuple[str, ...] = ()
    """Sources whose file is gone from a directory that was given."""
    passages: int = 0
    """Passages written for ``added``."""
    failed: tuple[tuple[str, str], ...] = ()
    """(path, reason that says what was expected). What the index held of such a file stays as it was."""
