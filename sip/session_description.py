"""Session descriptions, parsed tolerantly and within bounds, and written strictly (RFC 8866). Sans-I/O."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from sip.errors import RemoteProtocolError

MAX_SDP_CHARACTERS: Final = 16_384
MAX_LINES: Final = 512
MAX_MEDIA: Final = 16
MAX_FORMATS: Final = 64
CONTENT_TYPE: Final = "application/sdp"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An ``a=`` line: a flag where ``value`` is None."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        """Return what follows ``a=``."""
        return self.name if self.value is None else f"{self.name}:{self.value}"


@dataclass(frozen=True, slots=True)
class Media:
    """An ``m=`` section. ``port`` 0 means refused or unused (RFC 3264 §6)."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: str | None = None
    """Host of its own ``c=`` line."""
    attributes: tuple[Attribute, ...] = ()
    port_count: int = 1

    def attribute(self, name: str) -> str | None:
        """Return the value of the first attribute of that name, empty for a flag, None where absent."""
        return _find(self.attributes, name)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description. What is not kept (``b=``, ``k=``, ``e=`` …) means nothing to us."""

    username: str = "-"
    session_id: int = 0
    version: int = 0
    origin_host: str = "0.0.0.0"
    name: str = "-"
    connection: str | None = None
    attributes: tuple[Attribute, ...] = ()
    media: tuple[Media, ...] = field(default=())

    def attribute(self, name: str) -> str | None:
        """Return the value of the first session-level attribute of that name."""
        return _find(self.attributes, name)

    def __str__(self) -> str:
        """Return the description, lines ended by CRLF."""
        lines = [
            "v=0",
            f"o={self.username} {self.session_id} {self.version} {_net(self.origin_host)}",
            f"s={self.name}",
        ]
        if self.connection is not None:
            lines.append(f"c={_net(self.connection)}")
        lines.append("t=0 0")
        lines += [f"a={attribute}" for attribute in self.attributes]
        for media in self.media:
            count = f"/{media.port_count}" if media.port_count > 1 else ""
            lines.append(f"m={media.kind} {media.port}{count} {media.protocol} {' '.join(media.formats)}")
            if media.connection is not None:
                lines.append(f"c={_net(media.connection)}")
            lines += [f"a={attribute}" for attribute in media.attributes]
        assert not any("\r" in line or "\n" in line for line in lines), "a line break inside an SDP value"
        return "\r\n".join(lines) + "\r\n"


def parse(text: str) -> SessionDescription:
    """Return the description.

    Raises :class:`RemoteProtocolError` with 400 where it is malformed and 488 where it is beyond our bounds.
    Lines of unknown type, and the order of lines above the first ``m=``, are tolerated.
    """
    if len(text) > MAX_SDP_CHARACTERS:
        raise RemoteProtocolError(488, f"SDP longer than {MAX_SDP_CHARACTERS} characters")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if len(lines) > MAX_LINES:
        raise RemoteProtocolError(488, f"SDP of more than {MAX_LINES} lines")
    head: list[tuple[str, str]] = []
    sections: list[list[tuple[str, str]]] = []
    for line in lines:
        if not line.strip():
            continue
        if len(line) < 2 or line[1] != "=" or not line[0].isalpha():
            raise RemoteProtocolError(400, "SDP line is not type=value")
        if line[0] == "m":
            sections.append([])
            if len(sections) > MAX_MEDIA:
                raise RemoteProtocolError(488, f"SDP with more than {MAX_MEDIA} media")
        (sections[-1] if sections else head).append((line[0], line[2:].strip()))
    return _session(head, tuple(_media(section) for section in sections))


def _session(head: list[tuple[str, str]], media: tuple[Media, ...]) -> SessionDescription:
    first = dict(reversed(head))
    if first.get("v") != "0":
        raise RemoteProtocolError(400, "SDP without v=0")
    origin = first.get("o", "").split()
    if len(origin) != 6:
        raise RemoteProtocolError(400, "SDP origin does not have six fields")
    return SessionDescription(
        username=origin[0],
        session_id=number(origin[1], 2**64),
        version=number(origin[2], 2**64),
        origin_host=origin[5],
        name=first.get("s") or "-",
        connection=_connection(head),
        attributes=_attributes(head),
        media=media,
    )


def _media(section: list[tuple[str, str]]) -> Media:
    fields = section[0][1].split()
    if len(fields) < 4:
        raise RemoteProtocolError(400, "SDP media line has fewer than four fields")
    if len(fields) - 3 > MAX_FORMATS:
        raise RemoteProtocolError(488, f"SDP media with more than {MAX_FORMATS} formats")
    port, _, count = fields[1].partition("/")
    return Media(
        kind=fields[0].lower(),
        port=number(port, 65_536),
        protocol=fields[2],
        formats=tuple(fields[3:]),
        connection=_connection(section),
        attributes=_attributes(section),
        port_count=number(count, 65_536) if count else 1,
    )


def _attributes(section: list[tuple[str, str]]) -> tuple[Attribute, ...]:
    attributes = []
    for kind, text in section:
        if kind == "a":
            name, colon, value = text.partition(":")
            attributes.append(Attribute(name.strip().lower(), value.strip() if colon else None))
    return tuple(attributes)


def _connection(section: list[tuple[str, str]]) -> str | None:
    for kind, text in section:
        if kind == "c":
            fields = text.split()
            if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
                raise RemoteProtocolError(400, "SDP connection is not IN IP4 or IP6 and a host")
            return fields[2]
    return None


def _find(attributes: tuple[Attribute, ...], name: str) -> str | None:
    for attribute in attributes:
        if attribute.name == name:
            return attribute.value or ""
    return None


def _net(host: str) -> str:
    return f"IN {'IP6' if ':' in host else 'IP4'} {host}"


def number(text: str, limit: int) -> int:
    """Return a decimal number below ``limit``; raises :class:`RemoteProtocolError` (400) on anything else."""
    # isdigit alone lets in digits of other scripts, and int() a sign, underscores and any length.
    if not (text.isascii() and text.isdigit() and len(text) <= 20) or int(text) >= limit:
        raise RemoteProtocolError(400, f"SDP number is not from 0 to {limit - 1}")
    return int(text)


def is_sendable(host: str) -> bool:
    """Return whether RTP may be sent to a ``c=`` host: a numeric unicast address of one machine.

    Names are not looked up for a stranger, and multicast, broadcast, reserved and unspecified addresses would
    make us a weapon. Loopback and link-local are left to whoever knows where the offer came from.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if address.is_multicast or address.is_unspecified:
        return False
    # is_reserved of IPv6 holds ::1 too, so only IPv4's own ranges are asked for it.
    return not (
        isinstance(address, ipaddress.IPv4Address) and (address.is_reserved or address.packed[0] == 0)
    )
