"""Collects headings and blocks, in the order in which a parser meets them, into sections. Sans-I/O."""

from __future__ import annotations

from kb.sentences import squeeze
from kb.types import Section

SEPARATOR = " > "


def humanise(stem: str) -> str:
    """Return a file's name as a title: ``opening-hours`` becomes ``Opening hours``."""
    words = squeeze(stem.replace("-", " ").replace("_", " "))
    return words[:1].upper() + words[1:]


def as_sentence(text: str) -> str:
    """Return the text with a full stop where it ends in none of ``.!?:``, so that it can be read out."""
    text = squeeze(text)
    return text if not text or text.rstrip("\"'”’)]")[-1:] in ".!?:" else text.rstrip(",;") + "."


def row_sentence(header: list[str], cells: list[str]) -> str:
    """Return a table's row as one sentence, every cell with the heading of its column."""
    pairs = []
    for index, cell in enumerate(cells):
        name = header[index] if index < len(header) else ""
        if cell:
            pairs.append(f"{name}: {cell}" if name and index else cell)
    return as_sentence(", ".join(pairs))


class SectionBuilder:
    """Sections in the making. The first heading of level 1 replaces the title handed in."""

    def __init__(self, title: str) -> None:
        self._title = squeeze(title)
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._sections: list[Section] = []

    def heading(self, level: int, text: str) -> None:
        """Begin a new section."""
        text = squeeze(text)
        if not text:
            return
        self._flush()
        if level == 1 and not self._path and not self._sections:
            self._title = text
            return
        self._path = [(depth, name) for depth, name in self._path if depth < level]
        self._path.append((level, text))

    def block(self, text: str) -> None:
        """Append a paragraph, list item or table row."""
        sentence = as_sentence(text)
        if sentence:
            self._blocks.append(sentence)

    def sections(self) -> list[Section]:
        """Return what was collected; sections without text are left out."""
        self._flush()
        return self._sections

    def _flush(self) -> None:
        if self._blocks:
            title = SEPARATOR.join([self._title, *(name for _, name in self._path)])
            self._sections.append(Section(title, tuple(self._blocks)))
            self._blocks = []
