"""Callers of the load benchmark, some in each process: ``python -m scripts.load_caller CONFIG.json``.

Dials its calls over real SIP and RTP, lets each ask the same recorded line again and again, and prints one JSON object at
the end: every call's gaps, and how late its own ticker was, which tells whether the load generator was the bottleneck.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from scripts.bench_phone import SipCall, ask_plainly
from scripts.softphone import CallRefused, Softphone
from sip.ticker import LatenessHistogram
from tests.e2e.caller_lines import recorded

LINES = (
    "I am a little nervous about coming to see you.",
    "Sorry, are you open on Sunday?",
    "I would like to speak to a person, please.",
    "How much is a train ticket to London?",
    "What are your hours on Saturday?",
)
"""Recordings; the scripted recogniser hears the same words in all of them."""
_GREETING_QUIET_MS = 500
_DIAL_LIMIT_S = 15.0


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """What one process of callers does."""

    uri: str
    first: int
    """Number of the first caller; a caller's number is in its address."""
    calls: int
    """Calls at once."""
    seconds: float
    """How long callers go on asking, from the moment at which all are connected."""
    pause_s: float
    """Silence of a caller between an answer and the next line."""
    soak: int = 0
    """Instead: so many short calls one after another on these lines, of one question each."""
    dial_spread_s: float = 3.0
    """Over how long the calls are dialled."""


@dataclass(slots=True)
class Taken:
    """What the callers saw."""

    gaps_ms: dict[str, list[tuple[int, float | None]]] = field(default_factory=dict)
    """Caller → the number of each line that it said, with the gap; None where nothing was answered."""
    refused: int = 0
    broken: int = 0
    done: int = 0


async def hold(call: SipCall, name: str, number: int, until: float, pause_s: float, taken: Taken) -> None:
    """Ask until the time is over, one line after another."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        line = number % len(LINES)
        number += 1
        gap = await ask_plainly(call, recorded(LINES[line]))
        taken.gaps_ms.setdefault(name, []).append((line, gap))
        await asyncio.sleep(pause_s)


async def long_calls(phone: Softphone, config: LoadConfig, taken: Taken) -> None:
    """All calls at once for the whole time."""

    async def one(number: int) -> None:
        await asyncio.sleep(config.dial_spread_s * number / config.calls)
        name = f"sip:load-{config.first + number}@127.0.0.1"
        try:
            call = await SipCall.dial(phone, config.uri, caller=name, limit_s=_DIAL_LIMIT_S)
        except CallRefused:
            taken.refused += 1
            return
        try:
            await call.wait_for_quiet(_GREETING_QUIET_MS, 30)
            # Questions of all callers spread over time, as they would be.
            await asyncio.sleep(config.pause_s * number / config.calls)
            await hold(call, name, number, until, config.pause_s, taken)
            taken.done += 1
        except (ConnectionError, TimeoutError):
            taken.broken += 1
        finally:
            with contextlib.suppress(Exception):
                await call.hang_up()

    until = asyncio.get_running_loop().time() + config.dial_spread_s + config.seconds
    await asyncio.gather(*(one(number) for number in range(config.calls)))


async def short_calls(phone: Softphone, config: LoadConfig, taken: Taken) -> None:
    """Many calls one after another on so many lines: a question, an answer, hang up."""
    left = iter(range(config.soak))

    async def line(number: int) -> None:
        await asyncio.sleep(config.dial_spread_s * number / config.calls)
        for call_number in left:
            name = f"sip:load-{config.first + call_number}@127.0.0.1"
            try:
                call = await SipCall.dial(phone, config.uri, caller=name, limit_s=_DIAL_LIMIT_S)
            except CallRefused:
                taken.refused += 1
                await asyncio.sleep(0.5)
                continue
            try:
                # Over the greeting: that is a barge-in, and a shorter call.
                await call.wait_for_speech(0, 10)
                line = call_number % len(LINES)
                taken.gaps_ms[name] = [(line, await ask_plainly(call, recorded(LINES[line])))]
                taken.done += 1
            except (ConnectionError, TimeoutError):
                taken.broken += 1
            finally:
                with contextlib.suppress(Exception):
                    await call.hang_up()
            phone.forget_ended()
            print(json.dumps({"done": taken.done}), flush=True)

    await asyncio.gather(*(line(number) for number in range(config.calls)))


async def run(config: LoadConfig) -> dict[str, Any]:
    """Make the calls; return what they showed."""
    phone = await Softphone.start(codec="PCMU")
    taken = Taken()
    try:
        # The ticker's first seconds are those of a process that starts.
        await asyncio.sleep(0.5)
        phone.ticker.lateness = LatenessHistogram()
        await (short_calls if config.soak else long_calls)(phone, config, taken)
    finally:
        lateness = phone.ticker.lateness.summary_ms()
        with contextlib.suppress(TimeoutError):
            await phone.close()
    return {"taken": dataclasses.asdict(taken), "lateness_ms": lateness}


def main() -> None:
    """Run the callers of one process."""
    config = LoadConfig(**json.loads(Path(sys.argv[1]).read_text()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(config))), flush=True)


if __name__ == "__main__":
    main()
