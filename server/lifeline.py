"""When a child process has to end: on SIGTERM, and when the pipe to the supervisor closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import Final

_STDIN: Final = 0


def watch(stop: asyncio.Event) -> None:
    """Set ``stop`` on SIGTERM and when stdin ends, which means that the supervisor is gone."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(_STDIN, 4096):
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    # A thread and not add_reader: stdin may be a file or a terminal when the process is run by hand.
    threading.Thread(target=read, name="lifeline", daemon=True).start()
