"""One child process: started with a lifeline, listened to, ended in order or by force."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from server.telemetry import LogRelay

_LINE_LIMIT: Final = 256 * 1024
_KEPT_ENVIRONMENT: Final = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_FIXED_ENVIRONMENT: Final = {
    # Nothing may be downloaded or reported by a library at run time.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    # Idle threads of one worker must not take the cores of another, nor of the media ticker.
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def environment(inherited: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: none of the settings, which reach it by its configuration file."""
    kept = {name: inherited[name] for name in _KEPT_ENVIRONMENT if name in inherited}
    return {**kept, **_FIXED_ENVIRONMENT, **extra}


class Child:
    """A running process. Its stdin is a pipe: when the supervisor is gone, it ends."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, relay: LogRelay) -> None:
        self.name = name
        self.last_words = ""
        """Last plain line on stderr: what a process with exit code 2 says to the owner."""
        self._process = process
        self._relay = relay
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        relay: LogRelay,
        *,
        environ: Mapping[str, str],
        working_directory: Path,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Child:
        """Start ``command``; ``on_line`` is told each line of its stdout. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if on_line else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environ),
            cwd=working_directory,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        child = cls(name, process, relay)
        child._tasks.append(asyncio.create_task(child._listen(process.stderr, child._log)))
        if on_line is not None:
            child._tasks.append(asyncio.create_task(child._listen(process.stdout, on_line)))
        return child

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its session."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    def say(self, line: bytes) -> None:
        """Write a line to its stdin; a process that is gone hears nothing."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            with contextlib.suppress(OSError):
                self._process.stdin.write(line)

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return await self._process.wait()

    async def ended(self) -> int:
        """Wait for its end and its last log lines; return the exit code."""
        code = await self._process.wait()
        await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end, and kill it when it does not in time."""
        if self.exit_code is not None:
            return
        self.ask_to_end()
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), timeout_s)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _log(self, line: bytes) -> None:
        if not line.startswith(b"{") and (words := line.decode(errors="replace").strip()):
            self.last_words = words
        self._relay.pass_on(self.name, line)

    async def _listen(self, stream: asyncio.StreamReader | None, take: Callable[[bytes], None]) -> None:
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than the limit: that piece is dropped
            if not line:
                return
            take(line)
