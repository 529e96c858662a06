"""Where a fetched model lies, and whether its bytes are the catalogue's.

A file that was once hashed gets a stamp beside it (size, modification time, sha256), so that a warm start looks at
three numbers instead of hashing 1.5 GB again; any change of the file makes the stamp void.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from models import catalogue
from models.catalogue import Model, ModelFile
from models.errors import ModelFileError

FETCH_COMMAND = "landline models fetch"
_BLOCK_BYTES = 1 << 20


def model_path(name: str, cache: Path) -> Path:
    """Return what a worker is pointed at: the main file, or the folder where the model has none."""
    entry = catalogue.model(name)
    return cache / name / entry.main_file if entry.main_file else cache / name


def verify(name: str, cache: Path, *, trust_stamp: bool = True) -> Path:
    """Return the model's path after checking every file of it.

    With ``trust_stamp`` a file that is unchanged since it was last hashed is not hashed again.
    Raises :class:`models.errors.ModelFileError`, which names the file, what is wrong and the command that mends it.
    """
    entry = catalogue.model(name)
    for file in entry.files:
        verify_file(entry, file, cache / entry.name, trust_stamp=trust_stamp)
    return model_path(name, cache)


def verify_named(name: str, path: Path) -> None:
    """Check that ``path`` is the catalogue's model ``name`` (its main file, or its folder) and whole.

    Raises :class:`models.errors.UnknownModel` or :class:`models.errors.ModelFileError`.
    """
    entry = catalogue.model(name)
    folder = path.parent if entry.main_file else path
    for file in entry.files:
        verify_file(entry, file, folder)


def verify_file(entry: Model, file: ModelFile, folder: Path, *, trust_stamp: bool = True) -> None:
    """Check one file of the model that lies in ``folder``; see :func:`verify`."""
    path = folder / file.name
    mend = f"; run: {FETCH_COMMAND} {entry.name}"
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path} is missing or unreadable ({error.strerror}){mend}") from None
    if size != file.size:
        word = "truncated" if size < file.size else "altered"
        raise ModelFileError(f"{path} is {word}: {size} bytes, expected {file.size}{mend}")
    if trust_stamp and _stamp_holds(path, file):
        return
    digest = sha256_of(path)
    if digest != file.sha256:
        raise ModelFileError(f"{path} is altered: sha256 {digest}, expected {file.sha256}{mend}")
    write_stamp(path, file)


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_stamp(path: Path, file: ModelFile) -> None:
    """Remember that ``path`` has the catalogue's bytes."""
    status = path.stat()
    stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file.sha256}
    target = _stamp_path(path)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(stamp), encoding="ascii")
        draft.replace(target)
    except OSError:
        # A read-only cache is a good one: it is only hashed again at the next start.
        draft.unlink(missing_ok=True)


def _stamp_holds(path: Path, file: ModelFile) -> bool:
    try:
        stamp = json.loads(_stamp_path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    status = path.stat()
    return bool(stamp == {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file.sha256})


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")
