"""Single SIP header fields as values: lists, name-addr, Via, CSeq, URIs (RFC 3261 §20, §25.1). Sans-I/O.

``sipmessage`` holds the grammar of Via, CSeq and URIs. Name-addresses are cut by hand because a From may hold a
URI of any scheme, quoted pairs, and bytes that are not UTF-8, and must go back to the peer unchanged.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

import sipmessage

from sip.address import Address
from sip.errors import RemoteProtocolError

DEFAULT_PORT: Final = 5060
MAX_URI_CHARACTERS: Final = 1024
MAX_TEL_CHARACTERS: Final = 128
"""The grammar of telephone numbers takes time that grows with the square of the length."""
MAGIC_COOKIE: Final = "z9hG4bK"

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_RPORT: Final = re.compile(r";[ \t]*rport[ \t]*(=[^;,]*)?(?=[;,]|$)", re.IGNORECASE)
_RECEIVED: Final = re.compile(r";[ \t]*received[ \t]*=([^;,]*)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def is_token(text: str) -> bool:
    """Return whether ``text`` is a token of RFC 3261 §25.1."""
    return _TOKEN.fullmatch(text) is not None


def read_number(text: str, limit: int) -> int | None:
    """Return a decimal number from 0 to below ``limit``, None for anything else."""
    text = text.strip(" \t")
    if text.isascii() and text.isdigit() and len(text) <= 12 and int(text) < limit:
        return int(text)
    return None


def printable(text: str) -> str:
    """Return text of a peer as plain Unicode: no control characters, no undecodable bytes."""
    return _CONTROL.sub("", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")).strip()


def _cut(text: str, separator: str) -> list[str]:
    """Cut at a separator outside quotes and angle brackets."""
    if '"' not in text and "<" not in text:
        return [part.strip(" \t") for part in text.split(separator)]
    parts: list[str] = []
    start = 0
    quoted = escaped = bracketed = False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == "<":
            bracketed = True
        elif character == ">":
            bracketed = False
        elif character == separator and not bracketed:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return [part.strip(" \t") for part in parts]


def split_list(text: str) -> list[str]:
    """Return the values of a comma-separated header line; commas in quotes and brackets do not count."""
    return [part for part in _cut(text, ",") if part]


def tokens(values: list[str]) -> list[str]:
    """Return the members of token lists such as Require, Allow, Supported."""
    return [part for value in values for part in split_list(value)]


def split_parameters(text: str) -> dict[str, str | None]:
    """Return the parameters behind the first part of a header value; names in lower case, first one wins."""
    return _parameters(_cut(text, ";")[1:])


def _parameters(parts: list[str]) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        parameters.setdefault(name.strip(" \t").lower(), value.strip(" \t") if equals else None)
    return parameters


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A From, To, Contact, Route, Refer-To or Diversion value. ``uri`` and parameters are as on the wire."""

    uri: str
    name: str
    parameters: dict[str, str | None]
    head: str
    """Display name and URI as on the wire."""

    @classmethod
    def parse(cls, text: str) -> NameAddress:
        """Return the parsed value; raises :class:`RemoteProtocolError` (400)."""
        parts = _cut(text, ";")
        head = parts[0]
        if "<" in head:
            name, _, rest = _outside_quotes(head, "<")
            uri, closed, tail = rest.partition(">")
            if not closed or tail.strip(" \t"):
                raise RemoteProtocolError(400, "Malformed name-addr")
            name = _unquoted(name.strip(" \t"))
        else:
            name, uri = "", head
        uri = uri.strip(" \t")
        # RFC 3261 §20: without brackets a URI may not hold a comma, question mark or semicolon.
        if (
            ":" not in uri
            or any(character in uri for character in ' \t"<>')
            or ("<" not in head and "?" in uri)
        ):
            raise RemoteProtocolError(400, "Malformed address URI")
        return cls(uri, name, _parameters(parts[1:]), head)

    @property
    def tag(self) -> str:
        """Return the tag, empty where there is none (RFC 2543)."""
        return self.parameters.get("tag") or ""

    @property
    def user(self) -> str:
        """Return who this is for a person to read: the user part, the number of a tel URI, or the host."""
        try:
            uri = parse_uri(self.uri)
        except RemoteProtocolError:
            return printable(self.uri)
        return printable(uri.user or uri.host)


def _outside_quotes(text: str, mark: str) -> tuple[str, str, str]:
    quoted = escaped = False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == mark:
            return text[:place], mark, text[place + 1 :]
    raise RemoteProtocolError(400, "Unterminated quoted string")


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    if len(text) < 2 or not text.endswith('"'):
        raise RemoteProtocolError(400, "Malformed display name")
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def quoted(text: str) -> str:
    """Return a display name of ours as a quoted-string, without control characters."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class CSeq:
    """CSeq: a number and the method."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Return the parsed value; raises ValueError."""
        parsed = sipmessage.CSeq.parse(text)
        return cls(parsed.sequence, parsed.method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class Via:
    """The part of a Via that steers a response. Parameters that steer nothing stay in the text."""

    transport: str
    host: str
    port: int | None
    branch: str
    received: str | None
    rport: str | None
    """None where absent, empty where asked for but not filled in (RFC 3581)."""

    @classmethod
    def parse(cls, text: str) -> Via:
        """Return the parsed value; raises ValueError."""
        # An IPv6 address stands without brackets in received (RFC 5118 §4.5), which the grammar does not take.
        received = _RECEIVED.search(text)
        parsed = sipmessage.Via.parse(_RECEIVED.sub("", text))
        parameters = {name.lower(): value for name, value in parsed.parameters.items()}
        if parsed.port is not None and not 0 < parsed.port < 65_536:
            raise ValueError("Via port is not from 1 to 65535")
        return cls(
            transport=parsed.transport.upper(),
            host=parsed.host.strip("[]"),
            port=parsed.port,
            branch=parameters.get("branch") or "",
            received=received.group(1).strip(" \t") if received else None,
            rport=(parameters["rport"] or "") if "rport" in parameters else None,
        )

    @property
    def sent_by(self) -> str:
        """Return host and port as the transaction key has them (RFC 3261 §17.2.3)."""
        return f"{self.host.lower()}:{self.port or DEFAULT_PORT}"

    def response_destination(self, source: Address) -> Address:
        """Return where to answer over UDP (RFC 3261 §18.2.2, RFC 3581 §4): never to a third party."""
        return source if self.rport is not None else Address(source.host, self.port or DEFAULT_PORT)


def stamp_via(text: str, source: Address) -> str:
    """Return the top Via of a request received from ``source``, with received and rport filled in."""
    via = Via.parse(text)
    if via.rport is None and via.host == source.host:
        return text
    text = _RECEIVED.sub("", text)
    if via.rport is not None:
        text = _RPORT.sub(f";rport={source.port}", text, count=1)
    return f"{text};received={source.host}"


def parse_uri(text: str) -> sipmessage.URI:
    """Return a SIP, SIPS or tel URI; its headers are cut off. Raises :class:`RemoteProtocolError` (400)."""
    if len(text) > MAX_URI_CHARACTERS:
        raise RemoteProtocolError(414, "URI too long")
    scheme, _, rest = without_headers(text).partition(":")
    if scheme.lower() == "tel" and len(text) > MAX_TEL_CHARACTERS:
        raise RemoteProtocolError(400, "Telephone number too long")
    try:
        uri = sipmessage.URI.parse(f"{scheme.lower()}:{rest}")
    except ValueError:
        raise RemoteProtocolError(400, "Malformed URI") from None
    if uri.port is not None and not 0 < uri.port < 65_536:
        raise RemoteProtocolError(400, "URI port is not from 1 to 65535")
    return uri


def has_headers(text: str) -> bool:
    """Return whether a URI carries headers, which a Request-URI may not (RFC 3261 §19.1.1)."""
    return text != without_headers(text)


def without_headers(text: str) -> str:
    """Return a URI as it may stand in a Request-URI."""
    # A question mark is allowed in the user part, so headers begin at the first one behind the last @.
    user, at, host = text.rpartition("@")
    return f"{user}{at}{host.partition('?')[0]}"


def uri_address(text: str) -> Address | None:
    """Return where a URI points to over UDP, None where that would take DNS or another transport."""
    try:
        uri = parse_uri(text)
        host = str(ipaddress.ip_address(uri.host.strip("[]")))
    except (RemoteProtocolError, ValueError):
        return None
    transport = (uri.parameters.get("transport") or "udp").lower()
    if uri.scheme != "sip" or transport != "udp":
        return None
    return Address(host, uri.port or DEFAULT_PORT)


def is_loose(text: str) -> bool:
    """Return whether a Route value names a loose router (RFC 3261 §16.12)."""
    try:
        return "lr" in parse_uri(NameAddress.parse(text).uri).parameters
    except RemoteProtocolError:
        return False
