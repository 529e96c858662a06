"""Whose RTP a leg believes: symmetric RTP, latched once and then locked (RFC 4961, RFC 7362 §4). Sans-I/O.

::

    WAITING ──first packet──▶ PROVISIONAL ──window over──▶ LOCKED
       └──────── negotiated address ────────┴───────────────▲

Within the window a better source takes over from a worse one; the negotiated address is the best and locks at once.
Once locked, another source is never believed, and another SSRC only after several packets of it in a row without one
of the old in between: a sender that restarts has stopped its old stream, a stranger who forges its address has not.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Final

from sip.address import Address
from sip.rtp import RtpPacket

WINDOW_NS: Final = 500_000_000
SSRC_PROBATION_PACKETS: Final = 3


class Latch(enum.Enum):
    """How sure we are of the source."""

    WAITING = enum.auto()
    PROVISIONAL = enum.auto()
    LOCKED = enum.auto()


class Verdict(enum.Enum):
    """What to do with a packet."""

    ACCEPT = enum.auto()
    ACCEPT_NEW_SOURCE = enum.auto()
    """Accept, and forget what was kept of the source before: this is another stream."""
    REJECT = enum.auto()


class SourceLatch:
    """One leg's source of media."""

    def __init__(self, negotiated: Address, signalling_host: str, payload_types: Collection[int]) -> None:
        """``negotiated`` is the SDP's address, ``signalling_host`` where the INVITE came from."""
        self.state = Latch.WAITING
        self._negotiated = negotiated
        self._signalling_host = signalling_host
        self._payload_types = frozenset(payload_types)
        self._source: tuple[str, int] | None = None
        self._rank = 0
        self._ssrc = 0
        self._window_end_ns = 0
        self._candidate_ssrc: int | None = None
        self._candidate_packets = 0

    @property
    def destination(self) -> Address:
        """Where to send: to where the media comes from, until then to where the SDP says."""
        return Address(*self._source) if self._source is not None else self._negotiated

    def renegotiate(self, negotiated: Address, payload_types: Collection[int]) -> None:
        """Take in a new answer. Only another address opens the latch again."""
        self._payload_types = frozenset(payload_types)
        if negotiated != self._negotiated:
            self._negotiated = negotiated
            self.state = Latch.WAITING
            self._source = None

    def judge(self, packet: RtpPacket, source: tuple[str, int], now_ns: int) -> Verdict:
        """Return what to do with a packet that came from ``source`` at ``now_ns``."""
        if packet.payload_type not in self._payload_types:
            return Verdict.REJECT
        if source == self._source:
            return self._judge_ssrc(packet.ssrc)
        if self.state is Latch.LOCKED or (self.state is Latch.PROVISIONAL and now_ns >= self._window_end_ns):
            self.state = Latch.LOCKED
            return Verdict.REJECT
        rank = self._rank_of(source)
        if self.state is Latch.PROVISIONAL and rank <= self._rank:
            return Verdict.REJECT
        if self.state is Latch.WAITING:
            self._window_end_ns = now_ns + WINDOW_NS
        self.state = Latch.LOCKED if rank == 2 else Latch.PROVISIONAL
        self._source = source
        self._rank = rank
        self._adopt(packet.ssrc)
        return Verdict.ACCEPT_NEW_SOURCE

    def _judge_ssrc(self, ssrc: int) -> Verdict:
        if ssrc == self._ssrc:
            self._candidate_ssrc = None
            return Verdict.ACCEPT
        if ssrc != self._candidate_ssrc:
            self._candidate_ssrc = ssrc
            self._candidate_packets = 0
        self._candidate_packets += 1
        if self._candidate_packets < SSRC_PROBATION_PACKETS:
            return Verdict.REJECT
        self._adopt(ssrc)
        return Verdict.ACCEPT_NEW_SOURCE

    def _adopt(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._candidate_ssrc = None

    def _rank_of(self, source: tuple[str, int]) -> int:
        if source == (self._negotiated.host, self._negotiated.port):
            return 2
        # Behind a NAT the SDP's address is private, but media comes from where the signalling came from.
        return 1 if source[0] in (self._negotiated.host, self._signalling_host) else 0
