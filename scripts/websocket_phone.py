"""A telephone on the raw audio WebSocket, for the benchmarks and the tests: it times every frame it sends or gets.

It speaks the wire of ``docs/guide/websocket.md`` and knows nothing of what answers, so that Landline and another agent can be
timed over the same wire. Times are CLOCK_MONOTONIC in ns, which is one clock for all processes of a machine.

A caller hears audio when it is played and not when it arrives: :attr:`WebSocketPhoneCall.heard` holds what a client with
a playout buffer would play and when, ``clear`` obeyed, so that an agent that sends faster than real time gains nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidStatus

from scripts.call_audio import AudioPacket, join, level_dbfs
from scripts.softphone import SPEECH_DBFS, CallRefused
from sip.ticker import Ticker

FRAME_MS: Final = 20
_NS_PER_S: Final = 1_000_000_000
_CONTIGUOUS_NS: Final = 60_000_000
"""Frames that follow each other within this belong together; more is a pause of the sender."""
_GRACE_S: Final = 5.0


class WebSocketPhoneCall:
    """One call that was answered; made by :func:`dial`."""

    def __init__(self, connection: ClientConnection, rate_hz: int, *, suppress_silence: bool) -> None:
        self.rate_hz = rate_hz
        self._connection = connection
        self._suppress_silence = suppress_silence
        self._frame_bytes = 2 * rate_hz * FRAME_MS // 1000
        self._outgoing: deque[tuple[bytes, asyncio.Future[int] | None]] = deque()
        self._arrived = asyncio.Event()
        self._free_ns = 0
        """When the playout buffer will be empty."""
        self._timestamp = 0
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.cause = ""
        """Why it ended: the reason of the ``end`` event."""
        self.close_code = 0
        self.call_id = ""
        self.answered_ns = time.monotonic_ns()
        self.received: list[AudioPacket] = []
        """Audio messages as they arrived."""
        self.heard: list[AudioPacket] = []
        """The same as they would be played: ``at_ns`` is when their first sample is."""
        self.sent: list[AudioPacket] = []
        self.events: list[tuple[int, dict[str, Any]]] = []
        """Events with the time at which each arrived."""
        self.ticker = Ticker(self._on_tick)
        self.ticker.start()
        self._reading = asyncio.create_task(self._read())

    # ── what a person does ───────────────────────────────────────────────────────────────────────

    async def say(self, pcm: bytes) -> int:
        """Queue speech (PCM16 at the call's rate) and return the time at which its last frame was sent.

        Returns at once, with the present time, when the call ends meanwhile.
        """
        if not pcm or self.ended.is_set():
            return time.monotonic_ns()
        sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        size = self._frame_bytes
        frames = [pcm[start : start + size] for start in range(0, len(pcm), size)]
        for frame in frames[:-1]:
            self._outgoing.append((frame, None))
        self._outgoing.append((frames[-1].ljust(size, b"\0"), sent))
        return await sent

    def stop_saying(self) -> None:
        """Fall silent: what is queued is dropped."""
        while self._outgoing:
            _, sent = self._outgoing.popleft()
            if sent is not None and not sent.done():
                sent.set_result(time.monotonic_ns())

    def press(self, keys: str) -> None:
        """Press keys."""
        for digit in keys:
            self.send_event({"event": "dtmf", "digit": digit})

    def send_event(self, event: dict[str, Any]) -> None:
        """Send any event."""
        broadcast((self._connection,), json.dumps(event))

    async def hang_up(self) -> None:
        """End the call; returns once it has ended."""
        if not self.ended.is_set():
            self.send_event({"event": "hangup"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), _GRACE_S)
        await self.close()

    async def close(self) -> None:
        """Close the connection, whatever the other side does."""
        self.ticker.stop()
        await self._connection.close()
        await asyncio.wait_for(self.ended.wait(), _GRACE_S)

    # ── what a person hears ──────────────────────────────────────────────────────────────────────

    def received_pcm(self, since_ns: int = 0) -> bytes:
        """Return what was heard from ``since_ns`` on, pauses as silence."""
        return join([packet for packet in self.heard if packet.at_ns >= since_ns])

    def events_named(self, name: str, since_ns: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """Return the events of one name that came since ``since_ns``, with the time of each."""
        return [(at, event) for at, event in self.events if event.get("event") == name and at >= since_ns]

    async def wait_for_event(self, name: str, since_ns: int = 0, timeout_s: float = 10.0) -> int:
        """Return the arrival of the first event of a name since ``since_ns``; raises as :meth:`wait_for_audio`."""
        async with asyncio.timeout(timeout_s):
            while not (found := self.events_named(name, since_ns)):
                await self._next_arrival()
        return found[0][0]

    async def wait_for_audio(
        self, threshold_dbfs: float = SPEECH_DBFS, since_ns: int = 0, timeout_s: float = 10.0
    ) -> int:
        """Return when the first message since ``since_ns`` was heard that is louder than the threshold.

        Raises TimeoutError where none comes, ConnectionError where the call ends first.
        """
        position = 0
        async with asyncio.timeout(timeout_s):
            while True:
                # A clear takes back what was not yet heard.
                position = min(position, len(self.heard))
                while position < len(self.heard):
                    packet = self.heard[position]
                    position += 1
                    if packet.at_ns >= since_ns and level_dbfs(packet.pcm) > threshold_dbfs:
                        return packet.at_ns
                await self._next_arrival()

    async def wait_for_quiet(
        self, ms: int, timeout_s: float = 30.0, threshold_dbfs: float = SPEECH_DBFS
    ) -> int:
        """Wait until the last ``ms`` were quiet; return when the last louder message began to be heard.

        Counts from the call on; raises as :meth:`wait_for_audio`.
        """
        loud_ns = begun_ns = time.monotonic_ns()
        position = len(self.heard)
        async with asyncio.timeout(timeout_s):
            while True:
                position = min(position, len(self.heard))
                while position < len(self.heard):
                    packet = self.heard[position]
                    position += 1
                    if level_dbfs(packet.pcm) > threshold_dbfs:
                        loud_ns = packet.at_ns
                # What a clear took back was never heard.
                loud_ns = min(loud_ns, max(begun_ns, self.heard[-1].at_ns if self.heard else begun_ns))
                left_s = ms / 1000 - (time.monotonic_ns() - loud_ns) / _NS_PER_S
                if left_s <= 0:
                    return loud_ns
                # Nothing arrives while the agent is silent.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._next_arrival(), left_s)

    async def _next_arrival(self) -> None:
        if self.ended.is_set():
            raise ConnectionError(f"the call has ended ({self.cause})")
        self._arrived.clear()
        await self._arrived.wait()

    # ── what the phone does ──────────────────────────────────────────────────────────────────────

    def _on_tick(self, now_ns: int, ticks: int) -> None:
        del now_ns, ticks
        if self.ended.is_set():
            return
        if not self._outgoing and self._suppress_silence:
            return
        frame, done = self._outgoing.popleft() if self._outgoing else (bytes(self._frame_bytes), None)
        broadcast((self._connection,), frame)
        now = time.monotonic_ns()
        self.sent.append(AudioPacket(now, (now - self.answered_ns) * self.rate_hz // _NS_PER_S, frame))
        if done is not None and not done.done():
            done.set_result(now)

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                now = time.monotonic_ns()
                if isinstance(message, bytes):
                    self._take_audio(message, now)
                else:
                    self._take_event(json.loads(message), now)
                self._arrived.set()
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self._connection.close_code or 0
            self.ticker.stop()
            self.ended.set()
            self._arrived.set()
            self.stop_saying()

    def _take_audio(self, pcm: bytes, now: int) -> None:
        samples = len(pcm) // 2
        self.received.append(AudioPacket(now, self._timestamp, pcm))
        at_ns = max(now, self._free_ns)
        if at_ns - self._free_ns > _CONTIGUOUS_NS:
            self._timestamp = max(self._timestamp, (at_ns - self.answered_ns) * self.rate_hz // _NS_PER_S)
        self.heard.append(AudioPacket(at_ns, self._timestamp, pcm))
        self._timestamp += samples
        self._free_ns = at_ns + samples * _NS_PER_S // self.rate_hz

    def _take_event(self, event: dict[str, Any], now: int) -> None:
        self.events.append((now, event))
        match event.get("event"):
            case "start":
                self.call_id = str(event.get("call_id", ""))
                self.started.set()
            case "clear":
                while self.heard and self.heard[-1].at_ns > now:
                    self.heard.pop()
                self._free_ns = min(self._free_ns, now)
            case "end":
                self.cause = str(event.get("reason", ""))


async def dial(
    url: str,
    *,
    rate_hz: int = 16_000,
    token: str = "",
    suppress_silence: bool = False,
    timeout_s: float = 10.0,
) -> WebSocketPhoneCall:
    """Ring ``url`` (``ws://host:port/v1/call``) and return the call once it is answered.

    With ``suppress_silence`` nothing is sent while nothing is said. Raises :class:`CallRefused` with the HTTP status.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        connection = await connect(
            f"{url}?rate={rate_hz}", additional_headers=headers, compression=None, proxy=None,
            open_timeout=timeout_s, ping_interval=None, max_queue=None,
        )  # fmt: skip
    except InvalidStatus as refused:
        retry_after = refused.response.headers.get("Retry-After")
        raise CallRefused(refused.response.status_code, int(retry_after) if retry_after else None) from None
    return WebSocketPhoneCall(connection, rate_hz, suppress_silence=suppress_silence)
