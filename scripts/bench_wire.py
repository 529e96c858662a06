"""A caller on a raw PCM16 WebSocket, with ears that play what arrives in real time.

Agents send at their own pace, some faster than real time, and take back what was not played yet (``clear``). What a
caller hears, and when, follows from playing it out: a frame is heard when those before it were, silence that has fallen
behind is skipped, and a clear empties the buffer. Every figure counts from there, for all agents alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from scripts.call_audio import AudioPacket, level_dbfs
from scripts.softphone import SPEECH_DBFS

FRAME_MS: Final = 20
_FRAME_NS: Final = FRAME_MS * 1_000_000
_POLL_S: Final = 0.005


class Playout:
    """When each received frame is heard. Sans-I/O; times in ns."""

    def __init__(self, rate_hz: int) -> None:
        self._frame_bytes = 2 * rate_hz * FRAME_MS // 1000
        self._rest = b""
        self._free_at = 0
        self.heard: list[AudioPacket] = []
        """Frames with the time at which they are heard; those that lie in the future may still be cleared."""

    def receive(self, pcm: bytes, now: int) -> None:
        """Take in audio that arrived."""
        data = self._rest + pcm
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._rest = data[whole:]
        for start in range(0, whole, self._frame_bytes):
            frame = data[start : start + self._frame_bytes]
            if self._free_at > now and level_dbfs(frame) <= SPEECH_DBFS and not self._speech_waits(now):
                continue
            at = max(now, self._free_at)
            self._free_at = at + _FRAME_NS
            self.heard.append(AudioPacket(at, len(self.heard), frame))

    def _speech_waits(self, now: int) -> bool:
        """Silence between words that are still to be played is part of them."""
        for packet in reversed(self.heard):
            if packet.at_ns + _FRAME_NS <= now:
                return False
            if level_dbfs(packet.pcm) > SPEECH_DBFS:
                return True
        return False

    def clear(self, now: int) -> None:
        """Drop what is not heard yet."""
        while self.heard and self.heard[-1].at_ns > now:
            self.heard.pop()
        self._free_at = min(self._free_at, now)
        self._rest = b""

    def speech_between(self, since: int, until: int) -> list[int]:
        """Return when frames with speech are heard in ``[since, until)``."""
        found = []
        for packet in reversed(self.heard):
            if packet.at_ns < since:
                break
            if packet.at_ns < until and level_dbfs(packet.pcm) > SPEECH_DBFS:
                found.append(packet.at_ns)
        return found[::-1]


class WireCall:
    """One call over the WebSocket."""

    def __init__(self, connection: ClientConnection, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.playout = Playout(rate_hz)
        self.events: list[dict[str, Any]] = []
        self.answered_ns = time.monotonic_ns()
        self.ended = asyncio.Event()
        self._connection = connection
        self._frame_bytes = 2 * rate_hz * FRAME_MS // 1000
        self._outgoing: deque[tuple[bytes, asyncio.Future[int] | None]] = deque()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    @classmethod
    async def dial(cls, url: str, rate_hz: int = 16_000, *, limit_s: float = 40.0) -> WireCall:
        """Connect. Raises OSError, TimeoutError or a websockets exception."""
        connection = await connect(url, open_timeout=limit_s, max_size=2**22, compression=None, proxy=None)
        return cls(connection, rate_hz)

    async def say(self, pcm: bytes) -> int:
        """Queue speech at the call's rate; return when its last frame was sent (ns)."""
        frames = [
            pcm[start : start + self._frame_bytes].ljust(self._frame_bytes, b"\0")
            for start in range(0, len(pcm), self._frame_bytes)
        ]
        if self.ended.is_set() or not frames:
            return time.monotonic_ns()
        sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._outgoing.extend((frame, None) for frame in frames[:-1])
        self._outgoing.append((frames[-1], sent))
        return await sent

    def speech_between(self, since: int, until: int) -> list[int]:
        """Return when frames with speech are heard in ``[since, until)``."""
        return self.playout.speech_between(since, until)

    async def wait_for_speech(self, since_ns: int, limit_s: float) -> int:
        """Return when the first speech since ``since_ns`` is heard. Raises TimeoutError, ConnectionError."""
        async with asyncio.timeout(limit_s):
            while True:
                found = self.playout.speech_between(since_ns, time.monotonic_ns())
                if found:
                    return found[0]
                if self.ended.is_set():
                    raise ConnectionError("the call has ended")
                await asyncio.sleep(_POLL_S)

    async def wait_for_quiet(self, ms: int, limit_s: float) -> int:
        """Wait until nothing was heard for ``ms``; return when the last speech was. Raises TimeoutError."""
        began = time.monotonic_ns()
        async with asyncio.timeout(limit_s):
            while True:
                found = self.playout.speech_between(began, time.monotonic_ns() + 10**12)
                last = found[-1] if found else began
                if time.monotonic_ns() - max(last, began) >= ms * 1_000_000 or self.ended.is_set():
                    return last
                await asyncio.sleep(0.02)

    async def hang_up(self) -> None:
        """End the call."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError, ConnectionClosed, OSError):
            await asyncio.wait_for(self._connection.close(), 3)
        self.ended.set()

    async def _send(self) -> None:
        silence = bytes(self._frame_bytes)
        due = time.monotonic_ns()
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame, done = self._outgoing.popleft() if self._outgoing else (silence, None)
                await self._connection.send(frame)
                if done is not None and not done.done():
                    done.set_result(time.monotonic_ns())
                due += _FRAME_NS
                await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        self._end()

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._connection:
                now = time.monotonic_ns()
                if isinstance(message, bytes):
                    self.playout.receive(message, now)
                    continue
                event = json.loads(message)
                self.events.append({"at_ns": now, **event})
                if "clear" in (event.get("event"), event.get("type")):
                    self.playout.clear(now)
        self._end()

    def _end(self) -> None:
        self.ended.set()
        while self._outgoing:
            _, done = self._outgoing.popleft()
            if done is not None and not done.done():
                done.set_result(time.monotonic_ns())
