"""What the end-to-end tests share: a telephone beside a stack, and what was said in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from scripts.caller import Caller, Telephone
from scripts.stack import Stack
from tests.e2e.caller_lines import LINES, recorded


@asynccontextmanager
async def ringing(stack: Stack, **options: object) -> AsyncIterator[Caller]:
    """Ring the stack; hang up at the end whatever happens."""
    telephone = await Telephone.start(stack.run_directory, **options)
    telephone.recordings = {line: recorded(line) for line in LINES}
    try:
        caller = await telephone.ring(stack.uri)
        try:
            yield caller
        finally:
            if not caller.call.ended.is_set():
                await caller.call.hang_up()
    finally:
        await telephone.close()


@asynccontextmanager
async def greeted(stack: Stack, **options: object) -> AsyncIterator[Caller]:
    """Ring the stack and hear the greeting out."""
    async with ringing(stack, **options) as caller:
        await caller.listen(0)
        yield caller


def run(scenario: Callable[[], Coroutine[Any, Any, None]], *, limit_s: float = 240) -> None:
    """Run a scenario with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(limited())


def newest_call(stack: Stack) -> str:
    """Return the id of the newest call."""
    call_id: str = stack.calls()[-1]["call_id"]
    return call_id


def last_said(stack: Stack, turns: int) -> str:
    """Return what the agent said in the newest call's last turn, once there are ``turns`` of them."""
    said: str = stack.wait_rows("turn", newest_call(stack), turns)[-1]["said"]
    return said
