"""What a benchmark's caller does, over SIP and over the WebSocket alike: say a line, take the gap, speak over an answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from scripts.bench_lines import RATE_HZ, Line, Voices
from scripts.bench_statistics import NS_PER_MS
from scripts.call_audio import level_dbfs
from scripts.softphone import SPEECH_DBFS, Softphone, SoftphoneCall
from scripts.websocket_phone import WebSocketPhoneCall, dial

QUIET_MS: Final = 700
"""Silence after which an agent has finished its turn."""
ANSWER_LIMIT_S: Final = 12.0
_SPEECH_LIMIT_S: Final = 25.0
"""Longest answer that is heard out."""
_SILENCE_NS: Final = 350 * NS_PER_MS
"""Silence that counts as having stopped: longer than between two sentences."""
_FRAME_NS: Final = 20 * NS_PER_MS
_POLL_S: Final = 0.005
_QUIET_POLL_S: Final = 0.06
"""Coarse: all that was heard is looked through each time, on cores that others need."""


class BenchCall(Protocol):
    """One call, as a benchmark uses it. Times are CLOCK_MONOTONIC in ns."""

    rate_hz: int
    answered_ns: int
    ended: asyncio.Event

    async def say(self, pcm: bytes) -> int:
        """Say something; return when its last packet was sent."""
        ...

    def speech_between(self, since: int, until: int) -> list[int]:
        """Return when packets with speech were heard in ``[since, until)``, in order."""
        ...

    async def wait_for_speech(self, since_ns: int, limit_s: float) -> int:
        """Return when the first speech since ``since_ns`` was heard. Raises TimeoutError, ConnectionError."""
        ...

    async def wait_for_quiet(self, ms: int, limit_s: float) -> int:
        """Wait until nothing was heard for ``ms``. Raises TimeoutError, ConnectionError."""
        ...

    async def hang_up(self) -> None:
        """End the call."""
        ...


class SipCall:
    """A softphone's call as a :class:`BenchCall`."""

    rate_hz = 8_000

    def __init__(self, call: SoftphoneCall) -> None:
        self._call = call
        self.answered_ns = call.answered_ns
        self.ended = call.ended

    @classmethod
    async def dial(cls, phone: Softphone, uri: str, *, caller: str = "", limit_s: float = 10.0) -> SipCall:
        """Ring. Raises ``CallRefused``."""
        return cls(await phone.dial(uri, limit_s, caller))

    async def say(self, pcm: bytes) -> int:
        """Say something; return when its last packet was sent."""
        return await self._call.say(pcm)

    def speech_between(self, since: int, until: int) -> list[int]:
        """Return when packets with speech arrived in ``[since, until)``."""
        found = []
        for packet in reversed(self._call.received):
            if packet.at_ns < since:
                break
            if packet.at_ns < until and level_dbfs(packet.pcm) > SPEECH_DBFS:
                found.append(packet.at_ns)
        return found[::-1]

    async def wait_for_speech(self, since_ns: int, limit_s: float) -> int:
        """Return when the first packet with speech since ``since_ns`` arrived."""
        return await self._call.wait_for_audio(SPEECH_DBFS, since_ns, limit_s)

    async def wait_for_quiet(self, ms: int, limit_s: float) -> int:
        """Wait until nothing was heard for ``ms``."""
        return await self._call.wait_for_quiet(ms, limit_s)

    async def hang_up(self) -> None:
        """End the call."""
        with contextlib.suppress(TimeoutError):
            await self._call.hang_up()


class WebSocketCall:
    """A call over the raw audio WebSocket as a :class:`BenchCall`: what counts is when its playout lets speech be heard."""

    def __init__(self, call: WebSocketPhoneCall) -> None:
        self._call = call
        self.rate_hz = call.rate_hz
        self.answered_ns = call.answered_ns
        self.ended = call.ended

    @classmethod
    async def dial(cls, url: str, *, limit_s: float = 40.0) -> WebSocketCall:
        """Ring. Raises ``CallRefused``, OSError, TimeoutError."""
        return cls(await dial(url, rate_hz=RATE_HZ, timeout_s=limit_s))

    async def say(self, pcm: bytes) -> int:
        """Say something; return when its last frame was sent."""
        return await self._call.say(pcm)

    def speech_between(self, since: int, until: int) -> list[int]:
        """Return when frames of 20 ms with speech are heard in ``[since, until)``, whatever messages they came in."""
        found: list[int] = []
        size = 2 * self.rate_hz * _FRAME_NS // 1_000_000_000
        for packet in reversed(self._call.heard):
            length_ns = len(packet.pcm) * 500_000_000 // self.rate_hz
            if packet.at_ns + length_ns < since:
                break
            at = [packet.at_ns + number * _FRAME_NS for number in range(-(-len(packet.pcm) // size))]
            found += [
                at_ns
                for number, at_ns in reversed(list(enumerate(at)))
                if since <= at_ns < until
                and level_dbfs(packet.pcm[number * size : (number + 1) * size]) > SPEECH_DBFS
            ]
        return found[::-1]

    async def wait_for_speech(self, since_ns: int, limit_s: float) -> int:
        """Return when the first speech since ``since_ns`` was heard."""
        async with asyncio.timeout(limit_s):
            while not (found := self.speech_between(since_ns, time.monotonic_ns())):
                self._expect_going_on()
                await asyncio.sleep(_POLL_S)
        return found[0]

    async def wait_for_quiet(self, ms: int, limit_s: float) -> int:
        """Wait until nothing was heard for ``ms``, and nothing is left to be heard."""
        last = began = time.monotonic_ns()
        async with asyncio.timeout(limit_s):
            while time.monotonic_ns() - last < ms * NS_PER_MS:
                self._expect_going_on()
                await asyncio.sleep(_QUIET_POLL_S)
                last = max([began, *self.speech_between(began, time.monotonic_ns() + 10**12)])
        return last

    async def hang_up(self) -> None:
        """End the call, as one whose line drops: an agent need not understand a farewell."""
        with contextlib.suppress(TimeoutError):
            await self._call.close()

    def _expect_going_on(self) -> None:
        if self.ended.is_set():
            raise ConnectionError(f"the call has ended ({self._call.cause})")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a line was answered."""

    cut_off_early: bool
    """The agent was heard before its caller had finished."""
    gap_ms: float | None
    """From the last packet of the line to the first of the answer; None where cut off or unanswered."""
    answered: bool


async def greeted(call: BenchCall) -> float:
    """Hear the greeting out; return how long after the answer it began, in ms."""
    first = await call.wait_for_speech(0, 20)
    await call.wait_for_quiet(QUIET_MS, _SPEECH_LIMIT_S)
    return (first - call.answered_ns) / NS_PER_MS


async def ask(call: BenchCall, voices: Voices, line: Line) -> Answer:
    """Say a line and hear the answer out. Raises ConnectionError where the call ends."""
    began = time.monotonic_ns()
    said = await call.say(voices.pcm(line, call.rate_hz))
    # What is heard within a line's first moments was on its way before it.
    cut = bool(call.speech_between(began + 100 * NS_PER_MS, said))
    try:
        first = await call.wait_for_speech(said, ANSWER_LIMIT_S)
    except TimeoutError:
        return Answer(cut, None, False)
    await call.wait_for_quiet(QUIET_MS, _SPEECH_LIMIT_S)
    return Answer(cut, None if cut else (first - said) / NS_PER_MS, True)


async def ask_plainly(call: BenchCall, pcm: bytes) -> float | None:
    """Say something and hear the answer out; return the gap in ms, None where none came. Raises ConnectionError."""
    said = await call.say(pcm)
    try:
        first = await call.wait_for_speech(said, ANSWER_LIMIT_S)
    except TimeoutError:
        return None
    await call.wait_for_quiet(QUIET_MS, _SPEECH_LIMIT_S)
    return (first - said) / NS_PER_MS


async def interrupt(call: BenchCall, voices: Voices, line: Line, *, after_s: float = 0.8) -> float | None:
    """Speak over an answer that begins now; return how long the agent is still heard, in ms.

    Counts from the first packet of the line. None where the agent was silent already. Raises TimeoutError where it says
    nothing at all, ConnectionError where the call ends.
    """
    await call.wait_for_speech(time.monotonic_ns(), ANSWER_LIMIT_S)
    await asyncio.sleep(after_s)
    began = time.monotonic_ns()
    await call.say(voices.pcm(line, call.rate_hz))
    await asyncio.sleep(max(0.0, 1.5 - (time.monotonic_ns() - began) / 1e9))
    stopped = silent_from(call.speech_between(began - 300 * NS_PER_MS, time.monotonic_ns()), began)
    return None if stopped is None else (stopped - began) / NS_PER_MS


def silent_from(speech: Sequence[int], began: int) -> int | None:
    """Return when the agent fell silent after ``began``: the end of its last packet before a long enough silence.

    ``speech`` holds when its packets with speech were heard, from shortly before ``began`` on. None where the agent was
    silent already.
    """
    if not speech:
        return None
    last = speech[0]
    for at in speech:
        if at - last > _SILENCE_NS:
            break
        last = at
    end = last + _FRAME_NS
    return end if end > began + _FRAME_NS else None
