"""RTP packets, sequence arithmetic and receiver statistics (RFC 3550 §5.1, §6.4.1, appendix A). Sans-I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sip.errors import RtpError

VERSION: Final = 2
HEADER_BYTES: Final = 12
MAX_PACKET_BYTES: Final = 1_500
# RFC 3550 appendix A.1.
MAX_DROPOUT: Final = 3_000
MAX_MISORDER: Final = 100

_HEADER = struct.Struct(">BBHII")


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet. ``timestamp`` counts samples of the payload's clock."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def parse(data: bytes) -> RtpPacket:
    """Return the packet of a datagram; raises :class:`sip.errors.RtpError` on anything that is not RTP.

    RTCP on the same port (RFC 5761 §4: second octet 192 to 223) is not RTP either.
    """
    if not HEADER_BYTES <= len(data) <= MAX_PACKET_BYTES:
        raise RtpError(f"{len(data)} bytes; expected {HEADER_BYTES} to {MAX_PACKET_BYTES}")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != VERSION:
        raise RtpError(f"version {first >> 6}; expected {VERSION}")
    if 192 <= second <= 223:
        raise RtpError("RTCP")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    end = len(data)
    if first & 0x10:
        if end < start + 4:
            raise RtpError("shorter than its header extension")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20:
        padding = data[-1]
        if padding == 0:
            raise RtpError("padding of no octets")
        end -= padding
    if start > end:
        raise RtpError("shorter than its head and padding say")
    return RtpPacket(second & 0x7F, sequence, timestamp, ssrc, data[start:end], second >= 0x80)


def build(payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool) -> bytes:
    """Return the datagram of one packet; sequence and timestamp are taken modulo their width."""
    return (
        _HEADER.pack(
            VERSION << 6,
            payload_type | (0x80 if marker else 0),
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + payload
    )


def sequence_distance(newer: int, older: int) -> int:
    """Return how far ``newer`` lies behind ``older`` in sending order, from -32768 to 32767."""
    return ((newer - older + 0x8000) & 0xFFFF) - 0x8000


def timestamp_distance(newer: int, older: int) -> int:
    """Return the signed distance of two timestamps, from -2**31 to 2**31 - 1."""
    return ((newer - older + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class ReceiverStatistics:
    """Packets received, lost, and interarrival jitter of one leg, over all of its sources."""

    def __init__(self, rate_hz: int) -> None:
        """``rate_hz`` is the clock of the timestamps."""
        self._rate_hz = rate_hz
        self._ssrc: int | None = None
        self._base = 0
        self._highest = 0
        self._cycles = 0
        self._received_of_source = 0
        self._lost_before = 0
        self._transit: int | None = None
        self._jitter = 0.0
        self.received = 0

    def count(self, packet: RtpPacket, arrival_ns: int, *, timed: bool = True) -> None:
        """Count one packet; ``timed`` is false for events, whose timestamp stands still (RFC 4733 §2.5)."""
        self.received += 1
        distance = sequence_distance(packet.sequence, self._highest)
        if packet.ssrc != self._ssrc or not -MAX_MISORDER < distance < MAX_DROPOUT:
            self._restart(packet)
        elif distance > 0:
            if packet.sequence < self._highest:
                self._cycles += 0x10000
            self._highest = packet.sequence
        self._received_of_source += 1
        if timed:
            transit = arrival_ns * self._rate_hz // 1_000_000_000 - packet.timestamp
            if self._transit is not None:
                delta = abs(timestamp_distance(transit & 0xFFFFFFFF, self._transit & 0xFFFFFFFF))
                # RFC 3550 appendix A.8.
                self._jitter += (delta - self._jitter) / 16
            self._transit = transit

    def _restart(self, packet: RtpPacket) -> None:
        self._lost_before = self.lost
        self._ssrc = packet.ssrc
        self._base = self._highest = packet.sequence
        self._cycles = 0
        self._received_of_source = 0
        self._transit = None

    @property
    def lost(self) -> int:
        """Packets expected but not received; duplicates count against it (appendix A.3), never below zero."""
        if self._ssrc is None:
            return self._lost_before
        expected = self._cycles + self._highest - self._base + 1
        return self._lost_before + max(0, expected - self._received_of_source)

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter (§6.4.1)."""
        return self._jitter * 1000 / self._rate_hz
