"""``python -m sip CONFIG.json``: the sip process."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from sip import config, json_log
from sip.errors import ConfigurationError
from sip.process import SipProcess


async def _serve(settings: config.SipConfig) -> None:
    await SipProcess(settings).run()


def main() -> int:
    """Return the exit code: 0 in order, 2 for a configuration that cannot be used."""
    if len(sys.argv) != 2:
        sys.stderr.write("python -m sip: expected one argument, the configuration file\n")
        return 2
    json_log.log_to_stderr("sip")
    try:
        settings = config.load(sys.argv[1])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"sip: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
