"""The files of rendered sentences: one each, written whole or not at all, recognised when damaged.

``LLPH`` | u32 length of the head | head: JSON with ``rate_hz``, ``ends``, ``crc32`` | PCM16. Big endian but for the samples.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Final

from server.agent.rendering import Rendered

_SUFFIX: Final = ".phrase"
_PARTIAL: Final = ".part"
_MAGIC: Final = b"LLPH"
_HEAD_LIMIT: Final = 1 << 20
_STALE_S: Final = 3600
"""Age at which an unfinished file has nobody any more who would finish it."""


def path_of(directory: Path, digest: str, rate_hz: int) -> Path:
    """Return where the sentence with this digest is kept."""
    return directory / f"{digest}.{rate_hz}{_SUFFIX}"


def digest_of(path: Path) -> str:
    """Return the digest in a file's name."""
    return path.name.partition(".")[0]


def write(path: Path, rate_hz: int, audio: Rendered) -> None:
    """Write a sentence; readers see the old file or the new one. Raises ``OSError``."""
    head = json.dumps({"rate_hz": rate_hz, "ends": list(audio.ends), "crc32": zlib.crc32(audio.pcm)}).encode()
    replace(path, _MAGIC + struct.pack(">I", len(head)) + head + audio.pcm)


def replace(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whoever else writes it. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(partial).replace(path)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise


def read(path: Path, rate_hz: int) -> Rendered | None:
    """Return the sentence, or ``None`` where there is none, or none that can be trusted."""
    try:
        data = path.read_bytes()
        (length,) = struct.unpack_from(">I", data, len(_MAGIC))
        if data[: len(_MAGIC)] != _MAGIC or length > _HEAD_LIMIT:
            return None
        start = len(_MAGIC) + 4 + length
        head = json.loads(data[len(_MAGIC) + 4 : start])
        pcm = data[start:]
        if not pcm or len(pcm) % 2 or head["rate_hz"] != rate_hz or head["crc32"] != zlib.crc32(pcm):
            return None
        return Rendered(pcm, tuple(int(end) for end in head["ends"]))
    except (OSError, struct.error, ValueError, KeyError, TypeError):
        return None


def touch(path: Path) -> None:
    """Say that a sentence was used."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


def newest(
    directory: Path, rate_hz: int, pinned: frozenset[Path], bytes_limit: int
) -> list[tuple[Path, Rendered]]:
    """Return the sentences at this rate that are kept beside ``pinned``, used longest ago first, and forget all others."""
    _forget_unfinished(directory)
    forget_oldest(directory, rate_hz, pinned, bytes_limit)
    kept: list[tuple[Path, Rendered]] = []
    for path in _by_age(directory, rate_hz, pinned):
        audio = read(path, rate_hz)
        if audio is None:
            path.unlink(missing_ok=True)
        else:
            kept.append((path, audio))
    return kept


def forget_oldest(directory: Path, rate_hz: int, pinned: frozenset[Path], bytes_limit: int) -> None:
    """Remove what was used longest ago until the rest, ``pinned`` left out, is within the limit."""
    paths = _by_age(directory, rate_hz, pinned)
    sizes = {path: _size(path) for path in paths}
    total = sum(sizes.values())
    for path in paths:
        if total <= bytes_limit:
            return
        path.unlink(missing_ok=True)
        total -= sizes[path]


def _by_age(directory: Path, rate_hz: int, pinned: frozenset[Path]) -> list[Path]:
    found = directory.glob(f"*.{rate_hz}{_SUFFIX}")
    ages = {path: _used_at(path) for path in found if path not in pinned}
    return sorted(ages, key=ages.__getitem__)


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # another process removed it


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget_unfinished(directory: Path) -> None:
    """Remove what a process that was killed while writing has left."""
    for path in directory.glob(f"*{_PARTIAL}"):
        if _used_at(path) < time.time() - _STALE_S:
            path.unlink(missing_ok=True)
