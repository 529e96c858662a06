"""Finds the documents that a list of files and directories means, and what each is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kb.catalogue import StoredDocument

MAX_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """One file to take in."""

    path: Path
    source: str
    origin: str
    """Absolute path, by which the file is known again."""


@dataclass(frozen=True, slots=True)
class DocumentFiles:
    """What :func:`find_documents` found."""

    found: tuple[Found, ...]
    failed: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]
    """Sources taken in earlier from a directory given, whose file is no longer there."""


def find_documents(paths: Sequence[Path], stored: Iterable[StoredDocument]) -> DocumentFiles:
    """List the files that ``paths`` mean; hidden ones (a leading dot) below a directory are passed over."""
    known = {document.origin: document.source for document in stored}
    found: dict[str, Found] = {}
    failed: list[tuple[str, str]] = []
    gone: set[str] = set()
    for path in paths:
        origin = os.path.abspath(path)
        if not path.is_dir():
            candidates = [Found(path, known.get(origin, path.name), origin)]
        else:
            try:
                candidates = [
                    Found(file, file.relative_to(path).as_posix(), os.path.abspath(file))
                    for file in _walk(path)
                ]
            except OSError as error:
                failed.append((str(path), f"cannot be listed ({error.strerror})"))
                continue
            below = origin.rstrip(os.sep) + os.sep
            gone |= {
                source for at, source in known.items() if at.startswith(below) and not os.path.exists(at)
            }
        if len(found) + len(candidates) > MAX_FILES:
            failed.append((str(path), f"too many files; expected at most {MAX_FILES} at once"))
            continue
        for candidate in candidates:
            other = found.setdefault(candidate.source, candidate)
            if other.origin != candidate.origin:
                reason = (
                    f"{other.path} is called {candidate.source} as well; expected different"
                    " names, or one directory over both"
                )
                failed.append((str(candidate.path), reason))
    return DocumentFiles(tuple(found.values()), tuple(failed), tuple(sorted(gone - found.keys())))


def _walk(directory: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(directory, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(folder) / name
