"""``python -m sip.websocket CONFIG.json``: the websocket process."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from sip import json_log
from sip.errors import ConfigurationError
from sip.websocket import config
from sip.websocket.process import WebSocketProcess


async def _serve(settings: config.WebSocketConfig) -> None:
    await WebSocketProcess(settings).run()


def main() -> int:
    """Return the exit code: 0 in order, 2 for a configuration that cannot be used."""
    if len(sys.argv) != 2:
        sys.stderr.write("python -m sip.websocket: expected one argument, the configuration file\n")
        return 2
    json_log.log_to_stderr("websocket")
    try:
        settings = config.load(sys.argv[1])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"websocket: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
