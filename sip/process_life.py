"""What the processes of all doors do alike: end when they are asked to, and tell their statistics on a socket."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable

logger = logging.getLogger(__name__)


def freeze_memory() -> None:
    """Leave what lives for ever out of the collector's sight: its pauses would be heard."""
    gc.collect()
    gc.freeze()


def watch_for_the_end(shut_down: Callable[[], None]) -> None:
    """Call ``shut_down`` on SIGTERM, on SIGINT and at the end of the lifeline (stdin)."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shut_down)
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return
    # A terminal or a file is no supervisor.
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        loop.add_reader(sys.stdin.fileno(), _read_lifeline, shut_down)


def _read_lifeline(shut_down: Callable[[], None]) -> None:
    try:
        data = os.read(sys.stdin.fileno(), 4096)
    except OSError:
        data = b""
    if not data:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        logger.info("lifeline_ended")
        shut_down()


class StatusTeller:
    """Answers each connection with one JSON line."""

    def __init__(self, status: Callable[[], dict[str, object]]) -> None:
        self._status = status

    async def tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            writer.write(json.dumps(self._status()).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), 1.0)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()
