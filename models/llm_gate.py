"""Who may ask the embedded language model now: finals first, speculation when they are done, partials when it is idle.

llama.cpp has no priorities. It fills each decode with prompt tokens of whoever is reading, so one request that reads makes
every other that talks wait for a whole micro-batch a token (0.2 s instead of 0.04 on two cores). Hence, before the server:

* A **final** request starts at once, and sends everything else of its slot, and everything else that has not begun to
  speak, away: partials for good, speculation until there is room again (what it has read stays in its slot).
* A **speculative** request starts when no final one is before its first words, and sends partials away.
* A **partial** one starts when the model is idle, and is dropped otherwise: the next one is never far.

:class:`Gate` is sans-I/O; :class:`GatedModel` is the shell around one model, shared by all calls of a process.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from models.errors import LanguageModelUnavailable
from models.protocols import ChatRequest, LanguageModel, Priority, ReplyItem

FIRST_WORDS: Final = 8
"""Pieces of a reply after which its first clause is out and others may read."""
WAITING_LIMIT: Final = 256


@dataclass(slots=True, eq=False)
class Ticket:
    """One request before the model."""

    number: int
    priority: Priority
    slot: int
    pieces: int = 0
    """Of the reply, so far."""
    running: bool = False

    @property
    def urgent(self) -> bool:
        """Whether a caller waits for its first words."""
        return self.running and self.priority is Priority.FINAL and self.pieces < FIRST_WORDS


@dataclass(frozen=True, slots=True)
class Start:
    """The request may be sent."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Stop:
    """The request must be taken back; it waits for another :class:`Start` unless it is ``dropped``."""

    ticket: Ticket
    dropped: bool


GateOutput = Start | Stop


class Gate:
    """Decides which requests run. Drain :meth:`outputs` after every call."""

    def __init__(self, limit: int) -> None:
        """Let at most ``limit`` requests run: the server's slots."""
        self._limit = limit
        self._tickets: list[Ticket] = []
        self._numbers = itertools.count()
        self._outputs: list[GateOutput] = []

    def arrive(self, priority: Priority, slot: int) -> Ticket:
        """Take in a request."""
        ticket = Ticket(next(self._numbers), priority, slot)
        self._tickets.append(ticket)
        self._settle()
        return ticket

    def spoke(self, ticket: Ticket) -> None:
        """A piece of the reply has come."""
        ticket.pieces += 1
        if ticket.pieces == FIRST_WORDS:
            self._settle()

    def promote(self, slot: int) -> None:
        """Treat the speculative requests of ``slot`` as final."""
        for ticket in self._tickets:
            if ticket.slot == slot and ticket.priority is Priority.SPECULATIVE:
                ticket.priority = Priority.FINAL
        self._settle()

    def leave(self, ticket: Ticket) -> None:
        """The request is over, taken back or no longer wanted."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            ticket.running = False
            self._settle()

    def outputs(self) -> list[GateOutput]:
        """Return what to do, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(not ticket.running for ticket in self._tickets)

    def _settle(self) -> None:
        """Start what may start, best first; what stands in its way is stopped."""
        for ticket in sorted(self._tickets, key=lambda item: (item.priority, item.number)):
            if ticket.running or ticket not in self._tickets:
                continue
            for other in [item for item in self._tickets if item.running and _yields(item, ticket)]:
                self._stop(other)
            if self._fits(ticket):
                ticket.running = True
                self._outputs.append(Start(ticket))
            elif ticket.priority is Priority.PARTIAL:
                self._stop(ticket)
        for ticket in [item for item in self._tickets if item.running]:
            # One that was promoted sends away what it stood beside.
            for other in [
                item for item in self._tickets if item.running and ticket.urgent and _yields(item, ticket)
            ]:
                self._stop(other)

    def _stop(self, ticket: Ticket) -> None:
        dropped = ticket.priority is Priority.PARTIAL
        if dropped:
            self._tickets.remove(ticket)
        ticket.running, ticket.pieces = False, 0
        self._outputs.append(Stop(ticket, dropped))

    def _fits(self, ticket: Ticket) -> bool:
        running = [item for item in self._tickets if item.running]
        if len(running) >= self._limit or any(item.slot == ticket.slot >= 0 for item in running):
            return False
        match ticket.priority:
            case Priority.FINAL:
                return True
            case Priority.SPECULATIVE:
                return not any(item.urgent for item in running)
            case Priority.PARTIAL:
                return not running


def _yields(running: Ticket, arrived: Ticket) -> bool:
    """Whether ``running`` makes room for ``arrived``: less urgent, and nothing of it is to be spoken yet."""
    spoken = running.pieces and running.priority is not Priority.PARTIAL
    return running.priority > arrived.priority and not spoken


@dataclass(slots=True)
class _Seat:
    """Where one request waits for the gate's word."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False


class GatedModel:
    """A language model behind a gate. Satisfies :class:`models.protocols.LanguageModel`."""

    def __init__(self, model: LanguageModel, *, slots: int) -> None:
        """Let at most ``slots`` requests through at once."""
        self._model = model
        self._gate = Gate(slots)
        self._seats: dict[Ticket, _Seat] = {}

    def promote(self, slot: int) -> None:
        """Treat the speculative requests of ``slot`` as final."""
        self._gate.promote(slot)
        self._carry_out()

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Yield the reply, when it is this request's turn.

        Raises :class:`models.errors.LanguageModelUnavailable` for a partial that was dropped, or when too many wait.
        """
        if self._gate.waiting >= WAITING_LIMIT:
            raise LanguageModelUnavailable(f"{WAITING_LIMIT} requests wait for the language model")
        seat = _Seat()
        ticket = self._gate.arrive(request.priority, request.slot)
        self._seats[ticket] = seat
        self._carry_out()
        try:
            while True:
                async with aclosing(self._run(request, ticket, seat)) as items:
                    async for item in items:
                        yield item
                if not seat.stopped.is_set():
                    return
                if seat.dropped:
                    raise LanguageModelUnavailable("a partial was dropped: the language model is wanted")
                seat.stopped.clear()
        finally:
            del self._seats[ticket]
            self._gate.leave(ticket)
            self._carry_out()

    async def _run(
        self, request: ChatRequest, ticket: Ticket, seat: _Seat
    ) -> AsyncGenerator[ReplyItem, None]:
        """Wait for the start, then yield the reply until its end or the stop."""
        if not seat.stopped.is_set():
            await _first_of(seat.started, seat.stopped)
        seat.started.clear()
        if seat.stopped.is_set():
            return
        async with aclosing(self._model.reply(request)) as stream:
            first = await _or_stopped(stream, seat.stopped)
            if first is None:
                return
            while first is not None:
                self._gate.spoke(ticket)
                self._carry_out()
                yield first
                first = await anext(stream, None)

    def _carry_out(self) -> None:
        for output in self._gate.outputs():
            seat = self._seats.get(output.ticket)
            if seat is None:
                continue
            match output:
                case Start():
                    seat.started.set()
                case Stop(dropped=dropped):
                    seat.dropped = dropped
                    seat.started.clear()
                    seat.stopped.set()


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _give_up(*waits)


async def _or_stopped(stream: AsyncIterator[ReplyItem], stopped: asyncio.Event) -> ReplyItem | None:
    """Return the first piece of a reply; None when it was stopped or is empty."""
    first: asyncio.Future[ReplyItem | None] = asyncio.ensure_future(_next(stream))
    stop = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((first, stop), return_when=asyncio.FIRST_COMPLETED)
        return None if stopped.is_set() else first.result()
    finally:
        await _give_up(first, stop)


async def _next(stream: AsyncIterator[ReplyItem]) -> ReplyItem | None:
    return await anext(stream, None)


async def _give_up(*work: asyncio.Future[Any]) -> None:
    """Cancel what still runs, and wait until it has let go."""
    for item in work:
        item.cancel()
    await asyncio.gather(*work, return_exceptions=True)
