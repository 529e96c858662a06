"""Offer/answer for one audio stream: PCMU, PCMA and telephone-event (RFC 3264, RFC 4733). Sans-I/O."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import Final

from sip import session_description
from sip.address import Address
from sip.errors import RemoteProtocolError
from sip.session_description import Attribute, Media, SessionDescription

PROTOCOL: Final = "RTP/AVP"
DTMF_PAYLOAD_TYPE: Final = 101


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


_DIRECTIONS: Final = frozenset(direction.value for direction in Direction)

# RFC 3264 §6.1: ours is the peer's, seen from the other end.
_MIRRORED: Final = {
    Direction.SENDRECV: Direction.SENDRECV,
    Direction.SENDONLY: Direction.RECVONLY,
    Direction.RECVONLY: Direction.SENDONLY,
    Direction.INACTIVE: Direction.INACTIVE,
}

# What is left of a peer's direction when it gives no address to be sent to.
_WITHOUT_RECEIVING: Final = {
    Direction.SENDRECV: Direction.SENDONLY,
    Direction.SENDONLY: Direction.SENDONLY,
    Direction.RECVONLY: Direction.INACTIVE,
    Direction.INACTIVE: Direction.INACTIVE,
}


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
    """Return an SDP offer with our codecs in our order and telephone-event."""
    formats = [str(codec.value) for codec in local.codecs] + [str(DTMF_PAYLOAD_TYPE)]
    attributes = [_rtpmap(codec.value, codec) for codec in local.codecs]
    attributes += _dtmf_attributes(DTMF_PAYLOAD_TYPE)
    attributes += [Attribute("ptime", str(local.ptime_ms)), Attribute(Direction.SENDRECV.value)]
    media = Media("audio", local.address.port, PROTOCOL, tuple(formats), attributes=tuple(attributes))
    return str(_describe(local, (media,)))


def make_answer(offer: str, local: LocalMedia, source: Address | None = None) -> Answer:
    """Answer an offer: the first audio stream that fits is taken, every other one refused with port 0.

    The peer's order of codecs decides (RFC 3264 §6.1). ``source`` is where the offer came from; given it, a
    loopback address in the offer is believed only if it came over loopback too.
    Raises :class:`sip.errors.RemoteProtocolError`: 400 for malformed SDP, 488 where nothing fits.
    """
    session = session_description.parse(offer)
    taken: NegotiatedMedia | None = None
    sections = []
    for media in session.media:
        fitting = None if taken else _fit(session, media, local, source)
        if fitting is None:
            sections.append(_refused(media))
        else:
            taken = fitting
            sections.append(_accepted(fitting, local))
    if taken is None:
        raise RemoteProtocolError(488, "no audio stream with PCMU or PCMA over RTP/AVP")
    return Answer(str(_describe(local, tuple(sections))), taken)


def read_answer(answer: str, local: LocalMedia, source: Address | None = None) -> NegotiatedMedia:
    """Return what the peer's answer to our :func:`make_offer` agreed on; raises as :func:`make_answer`."""
    session = session_description.parse(answer)
    if len(session.media) != 1:
        raise RemoteProtocolError(488, "answer does not have the one media line of the offer")
    media = _fit(session, session.media[0], local, source)
    if media is None:
        raise RemoteProtocolError(488, "answer takes neither PCMU nor PCMA over RTP/AVP")
    return media


def _fit(
    session: SessionDescription, media: Media, local: LocalMedia, source: Address | None
) -> NegotiatedMedia | None:
    """Return what we would agree on for one media line, None where it does not fit."""
    if media.kind != "audio" or media.port == 0 or media.protocol.upper() != PROTOCOL:
        return None
    codec, payload_type = _codec(media, local.codecs)
    if codec is None:
        return None
    host = media.connection or session.connection
    if host is None:
        raise RemoteProtocolError(400, "SDP without a connection address")
    direction = _peer_direction(session, media)
    if _is_hold_address(host):
        # RFC 3264 §8.4: the old way to hold, still in use; nothing can be sent there.
        direction = _WITHOUT_RECEIVING[direction]
    elif not _acceptable(host, source):
        return None
    return NegotiatedMedia(
        remote=Address(host, media.port),
        codec=codec,
        payload_type=payload_type,
        dtmf_payload_type=_dtmf_payload_type(media),
        ptime_ms=_ptime_ms(session, media, local.ptime_ms),
        direction=_MIRRORED[direction],
    )


def _acceptable(host: str, source: Address | None) -> bool:
    if not session_description.is_sendable(host):
        return False
    if source is None or not ipaddress.ip_address(host).is_loopback:
        return True
    try:
        return ipaddress.ip_address(source.host).is_loopback
    except ValueError:
        return False


def _is_hold_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _codec(media: Media, ours: tuple[Codec, ...]) -> tuple[Codec | None, int]:
    """Return the first of the peer's formats that is one of ours; dynamic numbers go by their rtpmap."""
    names = _rtpmaps(media)
    for text in media.formats:
        payload_type = _payload_type(text)
        if payload_type is None:
            continue
        static = {codec.value: codec.name for codec in Codec}.get(payload_type)
        encoding = names.get(payload_type, f"{static}/8000" if static else "")
        for codec in ours:
            if encoding.upper() in (f"{codec.name}/8000", f"{codec.name}/8000/1"):
                return codec, payload_type
    return None, 0


def _dtmf_payload_type(media: Media) -> int | None:
    names = _rtpmaps(media)
    for text in media.formats:
        payload_type = _payload_type(text)
        if payload_type is not None and names.get(payload_type, "").lower() == "telephone-event/8000":
            return payload_type
    return None


def _rtpmaps(media: Media) -> dict[int, str]:
    names: dict[int, str] = {}
    for attribute in media.attributes:
        if attribute.name == "rtpmap" and attribute.value:
            fields = attribute.value.split()
            payload_type = _payload_type(fields[0])
            if payload_type is not None and len(fields) >= 2:
                names.setdefault(payload_type, fields[1])
    return names


def _payload_type(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128 else None


def _ptime_ms(session: SessionDescription, media: Media, default_ms: int) -> int:
    """Return the peer's wish, at most its maxptime and the nearest multiple of 10 ms that we can send."""
    text = media.attribute("ptime") or session.attribute("ptime") or ""
    wished = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else default_ms
    maximum = media.attribute("maxptime") or ""
    if maximum.isascii() and maximum.isdigit() and len(maximum) <= 4:
        wished = min(wished, int(maximum))
    return max(10, min(60, wished // 10 * 10))


def _peer_direction(session: SessionDescription, media: Media) -> Direction:
    for attributes in (media.attributes, session.attributes):
        for attribute in attributes:
            if attribute.name in _DIRECTIONS:
                return Direction(attribute.name)
    return Direction.SENDRECV


def _describe(local: LocalMedia, media: tuple[Media, ...]) -> SessionDescription:
    host = local.address.host
    return SessionDescription(
        session_id=local.session_id, version=local.version, origin_host=host, connection=host, media=media
    )


def _accepted(agreed: NegotiatedMedia, local: LocalMedia) -> Media:
    formats = [str(agreed.payload_type)]
    attributes = [_rtpmap(agreed.payload_type, agreed.codec)]
    if agreed.dtmf_payload_type is not None:
        formats.append(str(agreed.dtmf_payload_type))
        attributes += _dtmf_attributes(agreed.dtmf_payload_type)
    attributes += [Attribute("ptime", str(agreed.ptime_ms)), Attribute(agreed.direction.value)]
    return Media("audio", local.address.port, PROTOCOL, tuple(formats), attributes=tuple(attributes))


def _refused(media: Media) -> Media:
    # RFC 3264 §6: as many media lines as the offer, in its order; formats are copied but mean nothing.
    return Media(media.kind, 0, media.protocol, media.formats)


def _rtpmap(payload_type: int, codec: Codec) -> Attribute:
    return Attribute("rtpmap", f"{payload_type} {codec.name}/8000")


def _dtmf_attributes(payload_type: int) -> list[Attribute]:
    return [
        Attribute("rtpmap", f"{payload_type} telephone-event/8000"),
        Attribute("fmtp", f"{payload_type} 0-15"),
    ]
