"""What every worker process does alike: arguments, logs, lifeline, signals, niceness, exit codes.

Standard library only, because the Piper worker imports this from an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from models.errors import ModelFileError, UnknownModel, WorkerConfigError
from models.worker_config import read_config

Config = TypeVar("Config")

logger = logging.getLogger("models.worker")

_PLAIN_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: ``event``, ``level``, ``process``, ``at`` and the record's extra keys."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Tracebacks keep only the kind of error: messages may quote content."""
        entry = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "process": self._process,
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            **{key: value for key, value in vars(record).items() if key not in _PLAIN_KEYS},
        }
        if record.exc_info and record.exc_info[0]:
            entry["error"] = record.exc_info[0].__name__
        return json.dumps(entry, default=str)


def configure_logging(process: str, level: str) -> None:
    """Log JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "sentence_transformers", "faster_whisper", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def run_worker(
    process: str, kind: type[Config], main: Callable[[Config, asyncio.Event], Awaitable[None]]
) -> int:
    """Read the configuration named on the command line and run ``main`` until its event is set.

    The event is set by SIGTERM, SIGINT and the end of stdin (the lifeline). Returns the exit code: 0 in order, 2 for a
    bad configuration or model file, told in one line on stderr.
    """
    if len(sys.argv) != 2:
        print(f"usage: python -m models.{process}_worker CONFIG.json", file=sys.stderr)
        return 2
    try:
        config = read_config(kind, Path(sys.argv[1]))
        configure_logging(process, getattr(config, "log_level", "info"))
        be_nice(getattr(config, "nice", 0))
        asyncio.run(_run(main, config))
    except (WorkerConfigError, ModelFileError, UnknownModel) as error:
        print(f"landline {process}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"landline {process}: {error}", file=sys.stderr)
        return 1
    return 0


def be_nice(increment: int) -> None:
    """Go behind media and dialogue; not being allowed to is no reason to stop."""
    with contextlib.suppress(OSError):
        os.nice(increment)


async def _run(main: Callable[[Config, asyncio.Event], Awaitable[None]], config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _watch_lifeline(loop, stop)
    await main(config, stop)


def _watch_lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set ``stop`` when stdin ends: the supervisor is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    # A daemon thread and not add_reader: stdin may be a file, which epoll refuses.
    threading.Thread(target=watch, name="lifeline", daemon=True).start()
