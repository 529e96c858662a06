"""The real websocket process as a child, on a free port of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path


class Process:
    """A running websocket process."""

    def __init__(self, directory: Path, port: int, child: asyncio.subprocess.Process) -> None:
        self.directory = directory
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/v1/call"
        self.child = child

    @property
    def leg_socket(self) -> Path:
        return self.directory / "websocket-leg.sock"

    async def status(self) -> dict[str, object]:
        reader, writer = await asyncio.open_unix_connection(str(self.directory / "websocket-status.sock"))
        line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
        answer: dict[str, object] = json.loads(line)
        return answer


@contextlib.asynccontextmanager
async def running(directory: Path, **settings: object) -> AsyncIterator[Process]:
    path = directory / "websocket.json"
    path.write_text(json.dumps({"run_directory": str(directory), "host": "127.0.0.1", "port": 0, **settings}))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sip.websocket",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stderr is not None
    ready = json.loads(await asyncio.wait_for(child.stderr.readline(), 20))
    assert (ready["event"], ready["process"]) == ("ready", "websocket")
    try:
        yield Process(directory, ready["port"], child)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
