"""Audio on its way to the door that may have to wait: speculation is made ready and not heard.

While held, messages are kept in order; once released they pass at once. No clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from typing import Final

from sip import leg_protocol as leg

_CLAUSES_LIMIT: Final = 2
"""Clauses made ahead while held: the first audio and what bridges the making of the rest. More would be wasted on
speculation that is dropped."""
_SECONDS_LIMIT: Final = 20


class HeldPlayout:
    """The way to the door, open or held, and bounded while held."""

    def __init__(self, send: Callable[[leg.AgentMessage], None], *, rate_hz: int) -> None:
        self._send = send
        self._samples_limit = _SECONDS_LIMIT * rate_hz
        self._waiting: list[leg.Play] = []
        self._samples = 0
        self._clauses = 0
        self._freed = asyncio.Event()
        self._freed.set()

    @property
    def held(self) -> bool:
        """Nothing passes."""
        return not self._freed.is_set()

    def reset(self, *, held: bool) -> None:
        """Begin anew; what waits is dropped."""
        self._waiting.clear()
        self._samples = self._clauses = 0
        self._freed = (
            asyncio.Event()
        )  # who waited for the old one is cancelled, and must not be woken by this one
        if not held:
            self._freed.set()

    def release(self, *, without: Container[int] = ()) -> None:
        """Send what waits, in order; what follows passes at once. Utterances of ``without`` are left out."""
        waiting, self._waiting = self._waiting, []
        self._freed.set()
        for message in waiting:
            if message.utterance_id not in without:
                self._send(message)

    def play(self, message: leg.Play) -> None:
        """Pass a piece of an utterance on, or keep it."""
        if not self.held:
            self._send(message)
            return
        self._waiting.append(message)
        self._samples += len(message.pcm) // 2
        self._clauses += message.final

    async def room_for_clause(self) -> None:
        """Wait until one more clause may be made."""
        if self._clauses >= _CLAUSES_LIMIT:
            await self._freed.wait()
        await self.room_for_audio()

    async def room_for_audio(self) -> None:
        """Wait until more of the clause that is being made may be kept."""
        if self._samples >= self._samples_limit:
            await self._freed.wait()
