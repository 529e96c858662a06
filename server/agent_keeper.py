"""Carries out what :class:`server.agent_pair.AgentPair` decides: agent processes, their beats, their replacement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, assert_never

from server.agent_pair import AgentPair, Kill, Promote, Role, Start
from server.child import Child

_TICK_S: Final = 0.1
_GO: Final = b"go\n"

_log = logging.getLogger(__name__)

StartAgent = Callable[[int, bool, Callable[[bytes], None]], Awaitable[Child]]
"""Starts agent ``number``, as a spare or not, and tells each line of its stdout."""


class AgentKeeper:
    """The agent processes."""

    def __init__(self, pair: AgentPair, start: StartAgent, on_change: Callable[[], None]) -> None:
        self._pair = pair
        self._start = start
        self._on_change = on_change
        self._children: dict[int, Child] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.last_words = ""
        """What the last agent that ended by itself said to the owner."""

    @property
    def restarts(self) -> int:
        """How many agent processes died."""
        return self._pair.restarts

    @property
    def children(self) -> dict[str, Child]:
        """The agent processes that run, by a name for the log."""
        return {f"agent-{number}": child for number, child in self._children.items()}

    async def keep(self) -> None:
        """Run the machine until :meth:`stop`."""
        loop = asyncio.get_running_loop()
        self._pair.begin(loop.time())
        looked_at = loop.time()
        while not self._stopping:
            await self._carry_out()
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            # When this process itself was held up, beats wait unread: they are read before silence is judged.
            if now - looked_at < 5 * _TICK_S:
                self._pair.handle_timeout(now)
            looked_at = now

    def settled(self) -> None:
        """The active agent serves: time for a spare."""
        self._pair.settled(asyncio.get_running_loop().time())

    async def stop(self, timeout_s: float) -> None:
        """End all agents in order."""
        self._stopping = True
        await asyncio.gather(*(child.stop(timeout_s) for child in list(self._children.values())))

    def kill(self) -> None:
        """End all agents by force."""
        self._stopping = True
        for child in self._children.values():
            child.kill()

    async def _carry_out(self) -> None:
        for output in self._pair.outputs():
            match output:
                case Start(number=number, role=role):
                    await self._begin(number, role)
                case Promote(number=number):
                    _log.warning("spare_promoted", extra={"agent": number})
                    if child := self._children.get(number):
                        child.say(_GO)
                case Kill(number=number, reason=reason):
                    _log.error("agent_killed", extra={"agent": number, "reason": reason})
                    if child := self._children.get(number):
                        child.kill()
                case _:
                    assert_never(output)

    async def _begin(self, number: int, role: Role) -> None:
        loop = asyncio.get_running_loop()
        try:
            child = await self._start(
                number, role is Role.SPARE, lambda _line: self._pair.beat(number, loop.time())
            )
        except OSError:
            _log.exception("process_not_started", extra={"child": "agent"})
            self._pair.died(number, loop.time())
            return
        self._children[number] = child
        self._on_change()
        task = asyncio.create_task(self._until_ended(number, child))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _until_ended(self, number: int, child: Child) -> None:
        code = await child.wait()
        if not self._stopping:
            # Before anything else: callers are waiting.
            self._pair.died(number, asyncio.get_running_loop().time())
            await self._carry_out()
            _log.error("process_died", extra={"child": "agent", "agent": number, "exit_code": code})
        await child.ended()
        self.last_words = child.last_words or self.last_words
        self._children.pop(number, None)
        self._on_change()
