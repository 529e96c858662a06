"""Offer/answer for one audio stream: PCMU, PCMA and telephone-event (RFC 3264, RFC 4733). Sans-I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sip.address import Address


class Codec(enum.Enum):
    """Audio codecs we speak, by their encoding name and static payload type (RFC 3551 §6)."""

    PCMU = 0
    PCMA = 8


class Direction(enum.StrEnum):
    """Direction of a stream as seen by whoever writes it (RFC 3264 §5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """Our side of a session."""

    address: Address
    """Where we receive RTP."""
    session_id: int
    """Random, the same for all descriptions of a call."""
    version: int = 1
    """To be raised by one with every new description that we send in the call."""
    ptime_ms: int = 20
    codecs: tuple[Codec, ...] = (Codec.PCMU, Codec.PCMA)
    """In our order of preference."""


@dataclass(frozen=True, slots=True)
class NegotiatedMedia:
    """What both sides agreed on."""

    remote: Address
    """Where to send RTP; port 0 or host ``0.0.0.0`` never appears here with ``sending``."""
    codec: Codec
    payload_type: int
    dtmf_payload_type: int | None
    """What to send (and to expect) telephone-event as."""
    ptime_ms: int
    direction: Direction
    """Ours: SENDRECV, SENDONLY (we may send only), RECVONLY, INACTIVE."""

    @property
    def sending(self) -> bool:
        """Return whether we may send audio."""
        return self.direction in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def held(self) -> bool:
        """Return whether the peer has put us on hold, that is, does not want to hear us."""
        return not self.sending


@dataclass(frozen=True, slots=True)
class Answer:
    """Our answer to an offer, and what it means."""

    sdp: str
    media: NegotiatedMedia


def make_offer(local: LocalMedia) -> str:
    """Return an SDP offer with our codecs."""
    raise NotImplementedError


def make_answer(offer: str, local: LocalMedia) -> Answer:
    """Answer an offer. Raises :class:`sip.errors.RemoteProtocolError` (400 malformed, 488 nothing fits)."""
    raise NotImplementedError


def read_answer(answer: str, local: LocalMedia) -> NegotiatedMedia:
    """Return what the peer's answer to our :func:`make_offer` agreed on. Raises as :func:`make_answer`."""
    raise NotImplementedError
