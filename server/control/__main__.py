"""``python -m server.control CONFIG.json``"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from server import lifeline, telemetry
from server.control.config import ControlConfig, read_config
from server.control.process import serve
from server.errors import LandlineError

_log = logging.getLogger("server.control")


async def _run(config: ControlConfig) -> None:
    stop = asyncio.Event()
    lifeline.watch(stop)
    await serve(config, stop)


def main() -> int:
    """Return the exit code: 0 in order, 2 wrong configuration or something the owner must mend, 1 else."""
    if len(sys.argv) != 2:
        print("usage: python -m server.control CONFIG.json", file=sys.stderr)
        return 2
    telemetry.configure("control")
    try:
        config = read_config(Path(sys.argv[1]))
        telemetry.configure("control", level=config.log_level)
        asyncio.run(_run(config))
    except LandlineError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception:
        _log.exception("control_failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
