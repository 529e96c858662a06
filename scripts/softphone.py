"""A softphone on real SIP and RTP, for the demo, the benchmarks and the tests: it times every packet it sends or gets.

It stands on the sip room's user agent, but has a playout of its own. Times are CLOCK_MONOTONIC in ns, which is one clock
for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

import numpy as np

from scripts.bad_network import BadNetwork, NetworkConditions
from scripts.call_audio import AudioPacket, join, level_dbfs, write_stereo_wav
from scripts.softphone_transfer import ReferPolicy, TransferTarget
from sip import codecs, rtp
from sip.address import Address
from sip.codecs import FRAME_SAMPLES, RATE_HZ
from sip.errors import RemoteProtocolError, RtpError
from sip.offer_answer import Codec, LocalMedia, NegotiatedMedia, make_offer, read_answer
from sip.sockets import bind_udp, read_burst
from sip.telephone_event import EventReceiver, EventSender
from sip.ticker import Ticker
from sip.user_agent import (
    Answered,
    CallEnded,
    Confirmed,
    Event,
    Failed,
    IncomingCall,
    InfoReceived,
    Reoffer,
    Ringing,
    SendDatagram,
    TransferProgress,
    UserAgent,
    UserAgentConfig,
)

SPEECH_DBFS: Final = -45.0
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
_RETRY_AFTER = re.compile(rb"^Retry-After:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_URI = re.compile(r"sips?:(?:[^@]*@)?(\[[^\]]+\]|[^:;?]+)(?::(\d+))?")

__all__ = [
    "AudioPacket",
    "CallRefused",
    "Feedback",
    "NetworkConditions",
    "ReferPolicy",
    "Softphone",
    "SoftphoneCall",
]


class CallRefused(Exception):
    """The call was not answered: the SIP status, 408 where nothing came in time."""

    def __init__(self, status: int, retry_after: int | None) -> None:
        """``retry_after`` is in seconds, None where the refusal did not say."""
        super().__init__(f"{status}" + (f", retry after {retry_after} s" if retry_after is not None else ""))
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is heard comes back into the microphone: so much quieter, so much later."""

    gain_db: float
    delay_ms: float

    def mix(self, frame: bytes, heard: bytes) -> bytes:
        """Return a frame (PCM16) with what was heard added to it."""
        echo = np.frombuffer(heard, "<i2") * 10 ** (self.gain_db / 20)
        both: bytes = np.clip(np.frombuffer(frame, "<i2") + echo, -32768, 32767).astype("<i2").tobytes()
        return both


class SoftphoneCall:
    """One call that was answered."""

    def __init__(self, phone: Softphone, leg_id: int, sock: socket.socket, local: LocalMedia) -> None:
        """Made by :meth:`Softphone.dial`."""
        self._phone = phone
        self._leg_id = leg_id
        self._socket = sock
        self._local = local
        self._media: NegotiatedMedia | None = None
        self._network = BadNetwork(phone.network) if phone.network else None
        self._feedback = phone.feedback
        self._fed_back = 0
        """Received packets that were fed back."""
        self._outgoing: deque[tuple[bytes, asyncio.Future[int] | None]] = deque()
        self._keys = EventSender(FRAME_SAMPLES)
        self._heard_keys = EventReceiver(RATE_HZ)
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)
        self._arrived = asyncio.Event()
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.cause = ""
        """Why it ended: a value of ``LegEndCause``."""
        self.answered_ns = 0
        """When our ACK was sent."""
        self.received: list[AudioPacket] = []
        """Audio packets as they arrived: ``at_ns``, ``timestamp``, ``pcm``."""
        self.sent: list[AudioPacket] = []
        self.keys: list[str] = []
        """Keys that the other side pressed."""
        self.suppress_silence = False
        """Send no packet while nothing is said, as telephones with silence suppression do (DTX)."""

    # ── what a person does ───────────────────────────────────────────────────────────────────────

    async def say(self, pcm: bytes) -> int:
        """Queue speech (PCM16, 8 kHz) and return the time at which its last packet was sent.

        Returns at once, with the present time, when the call ends meanwhile.
        """
        if not pcm or self.ended.is_set():
            return time.monotonic_ns()
        sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        frames = [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]
        for frame in frames[:-1]:
            self._outgoing.append((frame, None))
        self._outgoing.append((frames[-1].ljust(FRAME_BYTES, b"\0"), sent))
        return await sent

    def stop_saying(self) -> None:
        """Fall silent: what is queued is dropped."""
        while self._outgoing:
            _, sent = self._outgoing.popleft()
            if sent is not None and not sent.done():
                sent.set_result(time.monotonic_ns())

    def press(self, keys: str) -> None:
        """Press keys (RFC 4733)."""
        self._keys.send(keys)

    async def hang_up(self) -> None:
        """End the call; returns once it has ended."""
        if not self.ended.is_set():
            self._phone.hang_up(self._leg_id)
            await asyncio.wait_for(self.ended.wait(), 5.0)

    # ── what a person hears ──────────────────────────────────────────────────────────────────────

    def received_pcm(self, since_ns: int = 0) -> bytes:
        """Return what arrived from ``since_ns`` on, in order, gaps filled with silence."""
        return join([packet for packet in self.received if packet.at_ns >= since_ns])

    async def wait_for_audio(
        self, threshold_dbfs: float = SPEECH_DBFS, since_ns: int = 0, timeout_s: float = 10.0
    ) -> int:
        """Return the arrival of the first packet since ``since_ns`` that is louder than the threshold.

        Raises TimeoutError where none comes, ConnectionError where the call ends first.
        """
        position = 0
        async with asyncio.timeout(timeout_s):
            while True:
                while position < len(self.received):
                    packet = self.received[position]
                    position += 1
                    if packet.at_ns >= since_ns and level_dbfs(packet.pcm) > threshold_dbfs:
                        return packet.at_ns
                await self._next_arrival()

    async def wait_for_quiet(
        self, ms: int, timeout_s: float = 30.0, threshold_dbfs: float = SPEECH_DBFS
    ) -> int:
        """Wait until the last ``ms`` of what arrived are quiet; return when the last louder packet arrived.

        Counts from the call on; raises as :meth:`wait_for_audio`.
        """
        loud_ns = begun_ns = time.monotonic_ns()
        position = len(self.received)
        async with asyncio.timeout(timeout_s):
            while True:
                while position < len(self.received):
                    packet = self.received[position]
                    position += 1
                    if level_dbfs(packet.pcm) > threshold_dbfs:
                        loud_ns = packet.at_ns
                if self.received and self.received[-1].at_ns - max(loud_ns, begun_ns) >= ms * 1_000_000:
                    return loud_ns
                await self._next_arrival()

    def write_stereo_wav(self, path: str | Path) -> None:
        """Write what was sent on the left and what was received on the right, aligned by time."""
        write_stereo_wav(str(path), self.sent, self.received, self.answered_ns)

    async def _next_arrival(self) -> None:
        if self.ended.is_set():
            raise ConnectionError(f"the call has ended ({self.cause})")
        self._arrived.clear()
        await self._arrived.wait()

    # ── what the phone does ──────────────────────────────────────────────────────────────────────

    def connect(self, media: NegotiatedMedia) -> None:
        """Take in the answer: media flows."""
        self._media = media
        self.answered_ns = time.monotonic_ns()
        if not self.connected.done():
            self.connected.set_result(None)

    def refuse(self, status: int, retry_after: int | None) -> None:
        """Take in that the call was not answered."""
        self.close("refused")
        if not self.connected.done():
            self.connected.set_exception(CallRefused(status, retry_after))

    def close(self, cause: str) -> None:
        """Take in that the call is over."""
        if self.ended.is_set():
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self.cause = cause
        self.ended.set()
        self._arrived.set()
        self.stop_saying()

    def tick(self) -> None:
        """Send this tick's packet."""
        if self._media is None or self.ended.is_set():
            return
        self._timestamp = (self._timestamp + FRAME_SAMPLES) & 0xFFFFFFFF
        if self._media.dtmf_payload_type is not None:
            event = self._keys.next_packet(self._timestamp)
            if event is not None:
                self._send(self._media.dtmf_payload_type, event.timestamp, event.payload, event.marker)
                return
        if self.suppress_silence and not self._outgoing:
            return
        frame, done = self._outgoing.popleft() if self._outgoing else (bytes(FRAME_BYTES), None)
        now = time.monotonic_ns()
        if self._feedback is not None:
            frame = self._with_feedback(frame, self._feedback, now)
        self._send(self._media.payload_type, self._timestamp, codecs.encode(self._media.codec, frame), False)
        self.sent.append(AudioPacket(now, self._timestamp, frame))
        if done is not None and not done.done():
            done.set_result(now)

    def _with_feedback(self, frame: bytes, feedback: Feedback, now: int) -> bytes:
        if self._fed_back == len(self.received):
            return frame
        heard = self.received[self._fed_back]
        if heard.at_ns + feedback.delay_ms * 1_000_000 > now or len(heard.pcm) != len(frame):
            return frame
        self._fed_back += 1
        return feedback.mix(frame, heard.pcm)

    def _send(self, payload_type: int, timestamp: int, payload: bytes, marker: bool) -> None:
        assert self._media is not None
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = rtp.build(payload_type, self._sequence, timestamp, self._ssrc, payload, marker)
        if self._network is None:
            self._deliver(packet)
        else:
            self._network.send(lambda: self._deliver(packet))

    def _deliver(self, packet: bytes) -> None:
        if self._media is None or self.ended.is_set():
            return
        try:
            self._socket.sendto(packet, (self._media.remote.host, self._media.remote.port))
        except OSError:
            # Lost, as on any network.
            return

    def read(self) -> None:
        """Take in what has arrived."""
        for data, _ in read_burst(self._socket, 64):
            now = time.monotonic_ns()
            try:
                packet = rtp.parse(data)
            except RtpError:
                continue
            media = self._media
            if media is None:
                continue
            if packet.payload_type == media.payload_type:
                pcm = codecs.decode(media.codec, packet.payload)
                self.received.append(AudioPacket(now, packet.timestamp, pcm))
            elif packet.payload_type == media.dtmf_payload_type:
                presses = self._heard_keys.receive(packet.timestamp, packet.payload, now)
                self.keys += [press.digit for press in presses]
        self._arrived.set()


class Softphone:
    """A telephone that can hold several calls; it refuses those that come in."""

    def __init__(
        self,
        sock: socket.socket,
        local_host: str,
        codec: str,
        network: NetworkConditions | None,
        refer_policy: ReferPolicy,
    ) -> None:
        """Made by :meth:`start`."""
        self._socket = sock
        self._host = local_host
        self._codec = Codec[codec]
        self.network = network
        self.feedback: Feedback | None = None
        """Set before dialling: an echo of what is heard."""
        self.port = int(sock.getsockname()[1])
        self._user_agent = UserAgent(
            UserAgentConfig(local=Address(local_host, self.port), user="caller", product="softphone"),
            lambda characters: secrets.token_hex((characters + 1) // 2)[:characters],
        )
        self._transfers = TransferTarget(self._user_agent, refer_policy)
        self._calls: dict[int, SoftphoneCall] = {}
        self._retry_after: int | None = None
        self.ticker = Ticker(self._on_tick)

    @classmethod
    async def start(
        cls,
        local_host: str = "127.0.0.1",
        port: int = 0,
        codec: str = "PCMU",
        network: NetworkConditions | None = None,
        refer_policy: ReferPolicy | None = None,
    ) -> Softphone:
        """Open a telephone; ``codec`` is PCMU or PCMA, ``network`` what becomes of the RTP that it sends."""
        sock = bind_udp(local_host, port)
        phone = cls(sock, local_host, codec, network, refer_policy or ReferPolicy())
        asyncio.get_running_loop().add_reader(sock.fileno(), phone._read)
        phone.ticker.start()
        return phone

    @property
    def refer_targets(self) -> list[str]:
        """Whom the other side wanted to transfer us to."""
        return self._transfers.targets

    async def dial(self, uri: str, timeout_s: float = 10.0, caller: str = "") -> SoftphoneCall:
        """Ring ``uri`` (its host numeric or ``localhost``) and return the call once it is answered.

        Raises :class:`CallRefused`.
        """
        match = _URI.match(uri)
        if match is None:
            raise ValueError(f"{uri!r} is no SIP URI; expected sip:user@host:port")
        host = "127.0.0.1" if match[1] == "localhost" else match[1].strip("[]")
        sock = bind_udp(self._host, 0)
        local = LocalMedia(
            Address(self._host, int(sock.getsockname()[1])), secrets.randbits(60), codecs=(self._codec,)
        )
        now = time.monotonic_ns()
        caller = caller or f"sip:caller@{self._host}:{self.port}"
        self._retry_after = None
        leg_id = self._user_agent.invite(
            uri, Address(host, int(match[2] or 5060)), make_offer(local), now, caller=caller
        )
        call = self._calls[leg_id] = SoftphoneCall(self, leg_id, sock, local)
        asyncio.get_running_loop().add_reader(sock.fileno(), call.read)
        self._follow()
        try:
            await asyncio.wait_for(asyncio.shield(call.connected), timeout_s)
        except TimeoutError:
            self.hang_up(leg_id)
            call.close("timeout")
            raise CallRefused(408, None) from None
        return call

    def hang_up(self, leg_id: int) -> None:
        """End one call by its id; :meth:`SoftphoneCall.hang_up` is what a person does."""
        self._user_agent.hang_up(leg_id, time.monotonic_ns())
        self._follow()

    def forget_ended(self) -> None:
        """Drop the calls that are over, with all that they sent and heard."""
        self._calls = {leg_id: call for leg_id, call in self._calls.items() if not call.ended.is_set()}

    async def close(self) -> None:
        """Hang up everything and close the telephone."""
        for leg_id in list(self._calls):
            self.hang_up(leg_id)
        with contextlib.suppress(TimeoutError):
            # A BYE is answered within this, or the other side is gone.
            async with asyncio.timeout(2.0):
                for call in self._calls.values():
                    await call.ended.wait()
        self.ticker.stop()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    # ── within ───────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        for data, (host, port) in read_burst(self._socket, 64):
            now = time.monotonic_ns()
            source = Address(host, port)
            retry_after = _RETRY_AFTER.search(data)
            if retry_after is not None:
                self._retry_after = int(retry_after[1])
            answer = self._transfers.receive(data, source, now)
            if answer is not None:
                self._send(answer, source)
                self._user_agent.handle_timeout(now)
            else:
                self._user_agent.receive_datagram(data, source, now)
            self._follow()

    def _on_tick(self, now_ns: int, ticks: int) -> None:
        del ticks
        for call in self._calls.values():
            call.tick()
        deadline = self._user_agent.deadline()
        if deadline is not None and deadline <= now_ns:
            self._user_agent.handle_timeout(now_ns)
            self._follow()

    def _follow(self) -> None:
        while outputs := self._user_agent.outputs():
            for output in outputs:
                if isinstance(output, SendDatagram):
                    self._send(output.data, output.destination)
                else:
                    self._take(output)

    def _take(self, event: Event) -> None:
        now = time.monotonic_ns()
        call = self._calls.get(event.leg_id)
        match event:
            case IncomingCall(leg_id=leg_id):
                self._user_agent.reject(leg_id, 486, now)
            case Answered(leg_id=leg_id, sdp=sdp) if call is not None:
                try:
                    call.connect(read_answer(sdp or "", call._local))
                except RemoteProtocolError:
                    self._user_agent.hang_up(leg_id, now)
                    call.refuse(488, None)
            case Failed(status=status) if call is not None:
                call.refuse(status, self._retry_after)
            case CallEnded(cause=cause) if call is not None:
                call.close(cause.value)
            case Reoffer(leg_id=leg_id):
                self._user_agent.reject_reoffer(leg_id, 488, now)
            case Ringing() | Confirmed() | TransferProgress() | InfoReceived():
                pass
            case Answered() | Failed() | CallEnded():
                pass
            case _:
                assert_never(event)

    def _send(self, data: bytes, destination: Address) -> None:
        try:
            self._socket.sendto(data, (destination.host, destination.port))
        except OSError:
            # Lost, as on any network: transactions retransmit.
            return
