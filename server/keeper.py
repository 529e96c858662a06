"""Keeps one process running: starts it, waits until it is ready, watches it, starts it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from server.child import Child
from server.errors import ProcessFailed
from server.readiness_probes import Probe
from server.restart_policy import RestartPolicy

_PROBE_EVERY_S: Final = 0.1
_WATCH_EVERY_S: Final = 2.0

_log = logging.getLogger(__name__)


class Keeper:
    """One process that is always to run."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Child]],
        probe: Probe,
        policy: RestartPolicy,
        *,
        ready_timeout_s: float,
        unanswered_limit_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self.up = False
        self._start = start
        self._probe = probe
        self._policy = policy
        self._ready_timeout_s = ready_timeout_s
        self._unanswered_limit_s = unanswered_limit_s
        self._on_change = on_change
        self._stopping = False

    @property
    def restarts(self) -> int:
        """How often the process died."""
        return self._policy.restarts

    async def first_start(self) -> None:
        """Start the process and return when it is ready. Raises ProcessFailed saying why it is not."""
        child = self.child = await self._start()
        self._on_change()
        if await self._ready(child):
            self.up = True
            return
        if child.exit_code is None:
            child.kill()
            reason = f"not ready within {self._ready_timeout_s:g} s"
        else:
            reason = child.last_words or f"ended with code {child.exit_code}"
        await child.ended()
        raise ProcessFailed(f"{self.name}: {child.last_words or reason}")

    async def keep(self) -> None:
        """Watch the process that :meth:`first_start` started, and replace it whenever it dies or hangs."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            if self.child is not None:
                await self._watch(self.child)
                code = await self.child.ended()
                self.up = False
                if self._stopping:
                    return
                _log.error("process_died", extra={"child": self.name, "exit_code": code})
            delay_s = self._policy.died(lived_s=loop.time() - began)
            self._on_change()
            await asyncio.sleep(delay_s)
            if self._stopping:
                return
            await self._start_again()

    async def stop(self, timeout_s: float) -> None:
        """End the process and do not start it again."""
        self._stopping = True
        if self.child is not None:
            await self.child.stop(timeout_s)
        self.up = False

    def kill(self) -> None:
        """End the process by force and do not start it again."""
        self._stopping = True
        if self.child is not None:
            self.child.kill()

    async def _start_again(self) -> None:
        try:
            child = self.child = await self._start()
        except OSError:
            _log.exception("process_not_started", extra={"child": self.name})
            self.child = None
            return
        self._on_change()
        self.up = await self._ready(child)
        if self.up:
            _log.warning("process_restarted", extra={"child": self.name, "restarts": self.restarts})
        elif child.exit_code is None:
            child.kill()

    async def _ready(self, child: Child) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._ready_timeout_s
        while child.exit_code is None and loop.time() < deadline:
            if await self._probe():
                return True
            await asyncio.sleep(_PROBE_EVERY_S)
        return False

    async def _watch(self, child: Child) -> None:
        """Return when the process has ended; kill it when it answers nothing for too long."""
        loop = asyncio.get_running_loop()
        answered_at = loop.time()
        ending = asyncio.create_task(child.wait())
        while True:
            done, _ = await asyncio.wait((ending,), timeout=_WATCH_EVERY_S)
            if done:
                return
            if await self._probe():
                answered_at = loop.time()
            elif loop.time() - answered_at > self._unanswered_limit_s:
                _log.error("process_hangs", extra={"child": self.name})
                child.kill()
                await ending
                return
