"""The real sip process as a child, on free ports of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

RATE_HZ = 8_000


def strongest_hz(pcm: bytes) -> float:
    """Return the frequency that PCM16 at 8 kHz holds most of."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE_HZ / len(samples)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """A running sip process."""

    def __init__(self, directory: Path, port: int, child: asyncio.subprocess.Process) -> None:
        self.directory = directory
        self.uri = f"sip:clinic@127.0.0.1:{port}"
        self.child = child

    @property
    def leg_socket(self) -> Path:
        return self.directory / "leg.sock"

    async def status(self) -> dict[str, object]:
        reader, writer = await asyncio.open_unix_connection(str(self.directory / "sip-status.sock"))
        line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
        answer: dict[str, object] = json.loads(line)
        return answer

    def let_go(self) -> None:
        """End the lifeline, as a supervisor does that dies."""
        assert self.child.stdin is not None
        self.child.stdin.close()


@contextlib.asynccontextmanager
async def running(directory: Path, **settings: object) -> AsyncIterator[Process]:
    port = free_port()
    path = directory / "sip.json"
    values = {"run_directory": str(directory), "host": "127.0.0.1", "port": port, **settings}
    path.write_text(json.dumps({"rtp_port_first": 24_000, "rtp_port_last": 24_199, **values}))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip", str(path), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert child.stderr is not None
    ready = await asyncio.wait_for(child.stderr.readline(), 20)
    assert json.loads(ready)["event"] == "ready"
    try:
        yield Process(directory, port, child)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
