"""Reads a document (Markdown, plain text, HTML) into sections of plain sentences.

Only :func:`read_document` touches a file. A document that cannot be taken in raises
:class:`kb.errors.DocumentRejected`, which names the file and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kb.errors import DocumentRejected
from kb.html_sections import parse_html
from kb.markdown_sections import parse_markdown
from kb.sections import SectionBuilder, humanise
from kb.types import Section

MAX_BYTES: Final = 2 * 1024 * 1024

_Parser = Callable[[str, str], list[Section]]


def parse_text(text: str, title: str) -> list[Section]:
    """Return the sections of plain text: paragraphs between blank lines, underlined lines as headings."""
    builder = SectionBuilder(title)
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        underline = len(stripped) >= 3 and set(stripped) in ({"="}, {"-"})
        if underline and len(paragraph) == 1:
            builder.heading(1 if stripped[0] == "=" else 2, paragraph.pop())
        elif not stripped:
            builder.block(" ".join(paragraph))
            paragraph.clear()
        elif stripped[:2] in ("- ", "* "):
            builder.block(" ".join(paragraph))
            paragraph[:] = [stripped[2:]]
        elif not underline:
            paragraph.append(stripped)
    return builder.sections()


PARSERS: Final[Mapping[str, _Parser]] = {
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".txt": parse_text,
    ".html": parse_html,
    ".htm": parse_html,
}


def read_document(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a document, its kind and size checked."""
    if path.suffix.lower() not in PARSERS:
        raise DocumentRejected(f"{path}: unknown kind of document; expected one of {', '.join(PARSERS)}")
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise DocumentRejected(f"{path}: no such file") from None
    except OSError as error:
        raise DocumentRejected(
            f"{path}: cannot be read ({error.strerror}); expected a readable file"
        ) from error
    if len(content) > max_bytes:
        raise DocumentRejected(f"{path}: too large; expected at most {max_bytes} bytes")
    return content


def parse_document(path: Path, content: bytes) -> list[Section]:
    """Return the sections of a document that :func:`read_document` has read."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentRejected(
            f"{path}: not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); expected UTF-8 text"
        ) from None
    if "\x00" in text:
        raise DocumentRejected(f"{path}: holds NUL bytes; expected UTF-8 text")
    sections = PARSERS[path.suffix.lower()](text, humanise(path.stem))
    if not any(section.blocks for section in sections):
        raise DocumentRejected(f"{path}: holds no text below its headings; expected at least one sentence")
    return sections
