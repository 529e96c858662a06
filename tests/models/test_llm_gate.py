"""Before the language model: who waits for whom, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from models.errors import LanguageModelUnavailable
from models.llm_gate import FIRST_WORDS, Gate, GatedModel, Start, Stop, Ticket
from models.protocols import ChatMessage, ChatRequest, Priority, ReplyEnd, ReplyItem, TextDelta

FINAL, SPECULATIVE, PARTIAL = Priority.FINAL, Priority.SPECULATIVE, Priority.PARTIAL


def started(gate: Gate) -> list[Ticket]:
    return [item.ticket for item in gate.outputs() if isinstance(item, Start)]


def test_a_final_sends_a_partial_of_its_slot_away_and_starts() -> None:
    gate = Gate(2)
    partial = gate.arrive(PARTIAL, 0)
    assert gate.outputs() == [Start(partial)]
    final = gate.arrive(FINAL, 0)
    assert gate.outputs() == [Stop(partial, dropped=True), Start(final)]


def test_speculation_of_another_call_waits_until_the_first_words_are_out() -> None:
    gate = Gate(2)
    speculative = gate.arrive(SPECULATIVE, 0)
    final = gate.arrive(FINAL, 1)
    assert gate.outputs() == [Start(speculative), Stop(speculative, dropped=False), Start(final)]
    for _ in range(FIRST_WORDS - 1):
        gate.spoke(final)
    assert gate.outputs() == []
    gate.spoke(final)
    assert gate.outputs() == [Start(speculative)]


def test_what_has_begun_to_speak_is_not_taken_back() -> None:
    gate = Gate(2)
    speculative = gate.arrive(SPECULATIVE, 0)
    gate.spoke(speculative)
    final = gate.arrive(FINAL, 1)
    assert gate.outputs() == [Start(speculative), Start(final)]


def test_a_turn_that_is_committed_moves_past_other_speculation() -> None:
    gate = Gate(2)
    first, second = gate.arrive(SPECULATIVE, 0), gate.arrive(SPECULATIVE, 1)
    assert started(gate) == [first, second]
    gate.promote(1)
    assert gate.outputs() == [Stop(first, dropped=False)]
    gate.leave(second)
    assert started(gate) == [first]


def test_partials_are_dropped_while_the_model_is_wanted() -> None:
    gate = Gate(2)
    final = gate.arrive(FINAL, 0)
    partial = gate.arrive(PARTIAL, 1)
    assert gate.outputs() == [Start(final), Stop(partial, dropped=True)]
    gate.leave(final)
    assert gate.outputs() == []


def test_one_slot_runs_one_request_and_finals_keep_their_order() -> None:
    gate = Gate(2)
    first, second, third = (gate.arrive(FINAL, 0) for _ in range(3))
    assert started(gate) == [first]
    gate.leave(first)
    assert started(gate) == [second]
    gate.leave(second)
    assert started(gate) == [third]


class GateMachine(RuleBasedStateMachine):
    """Whatever comes, no slot is used twice, no final waits for less than a final, and everything ends."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(2)
        self.running: set[int] = set()
        self.gone: set[int] = set()
        self.known: dict[int, Ticket] = {}

    def follow(self) -> None:
        for output in self.gate.outputs():
            number = output.ticket.number
            match output:
                case Start():
                    assert number not in self.running
                    self.running.add(number)
                case Stop(dropped=dropped):
                    assert dropped == (output.ticket.priority is PARTIAL)
                    self.running.discard(number)
                    if dropped:
                        self.gone.add(number)

    @rule(target=tickets, priority=st.sampled_from(Priority), slot=st.integers(-1, 2))
    def arrives(self, priority: Priority, slot: int) -> Ticket:
        ticket = self.gate.arrive(priority, slot)
        self.known[ticket.number] = ticket
        self.follow()
        return ticket

    @rule(ticket=tickets)
    def speaks(self, ticket: Ticket) -> None:
        if ticket.number in self.running:
            self.gate.spoke(ticket)
            self.follow()

    @rule(slot=st.integers(0, 2))
    def commits(self, slot: int) -> None:
        self.gate.promote(slot)
        self.follow()

    @rule(ticket=consumes(tickets))
    def leaves(self, ticket: Ticket) -> None:
        self.gate.leave(ticket)
        self.running.discard(ticket.number)
        self.gone.add(ticket.number)
        self.follow()

    @invariant()
    def slots_are_used_once(self) -> None:
        slots = [self.known[number].slot for number in self.running if self.known[number].slot >= 0]
        assert len(slots) == len(set(slots))
        assert len(self.running) <= 2

    @invariant()
    def partials_run_alone(self) -> None:
        if any(self.known[number].priority is PARTIAL for number in self.running):
            assert len(self.running) == 1

    @invariant()
    def nothing_reads_beside_a_final_before_its_first_words(self) -> None:
        running = [self.known[number] for number in self.running]
        if any(item.urgent for item in running):
            assert all(item.priority is FINAL or item.pieces for item in running)

    @invariant()
    def something_always_runs(self) -> None:
        if set(self.known) - self.gone:
            assert self.running

    def teardown(self) -> None:
        for number in sorted(set(self.known) - self.gone):
            self.leaves(self.known[number])
        assert not self.running
        assert self.gate.waiting == 0


TestGateMachine = GateMachine.TestCase


# ── the shell ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class StepModel:
    """Gives a piece of a reply whenever it is told to."""

    steps: dict[int, asyncio.Semaphore] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def step(self, slot: int, pieces: int = 1) -> None:
        for _ in range(pieces):
            self.steps.setdefault(slot, asyncio.Semaphore(0)).release()

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        slot, whole = request.slot, False
        self.log.append(f"begin {slot}")
        try:
            for number in range(3):
                await self.steps.setdefault(slot, asyncio.Semaphore(0)).acquire()
                yield TextDelta(f"{slot}.{number} ")
            yield ReplyEnd()
            whole = True
        finally:
            self.log.append(f"{'end' if whole else 'cancel'} {slot}")


def request(slot: int, priority: Priority) -> ChatRequest:
    return ChatRequest((ChatMessage("user", "Hello"),), slot=slot, priority=priority)


async def collect(model: GatedModel, asked: ChatRequest, into: list[ReplyItem]) -> None:
    async with aclosing(model.reply(asked)) as items:
        into.extend([item async for item in items])


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


def test_speculation_is_sent_away_for_a_final_and_begins_again_unnoticed() -> None:
    async def scene() -> None:
        inner = StepModel()
        model = GatedModel(inner, slots=2)
        guessed: list[ReplyItem] = []
        wanted: list[ReplyItem] = []
        one = asyncio.create_task(collect(model, request(0, SPECULATIVE), guessed))
        await settle()
        two = asyncio.create_task(collect(model, request(1, FINAL), wanted))
        await settle()
        assert inner.log == ["begin 0", "cancel 0", "begin 1"]
        inner.step(1, 3)
        await two
        await settle()
        inner.step(0, 3)
        await one
        assert inner.log[3:] == ["end 1", "begin 0", "end 0"]
        assert guessed == [TextDelta("0.0 "), TextDelta("0.1 "), TextDelta("0.2 "), ReplyEnd()]
        assert wanted[-1] == ReplyEnd()

    play(scene)


def test_a_committed_turn_is_served_before_another_calls_speculation() -> None:
    async def scene() -> None:
        inner = StepModel()
        model = GatedModel(inner, slots=2)
        replies: tuple[list[ReplyItem], list[ReplyItem]] = ([], [])
        tasks = [
            asyncio.create_task(collect(model, request(slot, SPECULATIVE), replies[slot])) for slot in (0, 1)
        ]
        await settle()
        model.promote(1)
        await settle()
        assert inner.log == ["begin 0", "begin 1", "cancel 0"]
        inner.step(1, 3)
        inner.step(0, 3)
        await asyncio.gather(*tasks)
        assert [items[-1] for items in replies] == [ReplyEnd(), ReplyEnd()]

    play(scene)


def test_a_dropped_partial_says_so() -> None:
    async def scene() -> None:
        inner = StepModel()
        model = GatedModel(inner, slots=2)
        partial = asyncio.create_task(collect(model, request(0, PARTIAL), []))
        await settle()
        final = asyncio.create_task(collect(model, request(0, FINAL), []))
        with pytest.raises(LanguageModelUnavailable, match="dropped"):
            await partial
        inner.step(0, 3)
        await final
        assert inner.log == ["begin 0", "cancel 0", "begin 0", "end 0"]

    play(scene)


def test_who_hangs_up_while_waiting_makes_room() -> None:
    async def scene() -> None:
        inner = StepModel()
        model = GatedModel(inner, slots=1)
        running = asyncio.create_task(collect(model, request(0, FINAL), []))
        await settle()
        waiting = asyncio.create_task(collect(model, request(0, FINAL), []))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        last: list[ReplyItem] = []
        inner.step(0, 3)
        await collect(model, request(0, FINAL), last)
        assert last[-1] == ReplyEnd()
        assert inner.log == ["begin 0", "cancel 0", "begin 0", "end 0"]

    play(scene)
