"""The run directory: one owner, and nothing left over from an owner that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from server.errors import AlreadyRunning, ConfigurationError

_LOCK: Final = "supervisor.lock"
_CHILDREN: Final = "children.json"
_STALE: Final = ("*.sock", "*.json", "*.new")


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Own ``path`` (made if missing, mode 0700) and clean it of what a killed owner left, its processes included.

    Raises AlreadyRunning with the owner's pid, ConfigurationError when the directory cannot be ours.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.stat()
        if status.st_uid != os.getuid():
            raise ConfigurationError(
                f"run_directory: {path} belongs to another user; expected one of your own"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(0o700)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"run_directory: {path}: {error.strerror}; expected a writable directory"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"another `landline serve` (process {owner}) uses {path}; stop it first, or set another run_directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        _end_left_over_processes(path)
        _clean(path)
        yield
        _clean(path)
    finally:
        os.close(lock)


def running_owner(path: Path) -> int | None:
    """Return the process id of the ``landline serve`` that owns ``path``, or None."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(lock, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(lock)
    return None


def remember_children(path: Path, pids: dict[str, int]) -> None:
    """Write down which processes were started, for the next owner to end should this one be killed."""
    children = []
    for name, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            children.append({"name": name, "pid": pid, "started": psutil.Process(pid).create_time()})
    draft = path / f"{_CHILDREN}.new"
    draft.write_text(json.dumps(children), encoding="ascii")
    draft.replace(path / _CHILDREN)


def _end_left_over_processes(path: Path) -> None:
    try:
        children = json.loads((path / _CHILDREN).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    left = []
    for child in children:
        with contextlib.suppress(psutil.Error, KeyError, TypeError):
            process = psutil.Process(child["pid"])
            # The start time tells the process from a later one that was given the same id.
            if abs(process.create_time() - child["started"]) < 0.05:
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=5.0)


def _clean(path: Path) -> None:
    for pattern in _STALE:
        for stale in path.glob(pattern):
            stale.unlink(missing_ok=True)
