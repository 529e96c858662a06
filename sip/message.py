"""SIP messages: a tolerant envelope parser that keeps what an error answer needs, and a strict writer.

RFC 3261 §7 and §25, torture-tested after RFC 4475. The typed grammar of single header fields stands in
``sip.header_fields``. Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sipmessage.message import COMPACT_FORMS

from sip.errors import LocalProtocolError, RemoteProtocolError
from sip.header_fields import MAX_URI_CHARACTERS, CSeq, NameAddress, Via, is_token, read_number, split_list

MAX_MESSAGE_BYTES: Final = 65_535
MAX_HEADERS: Final = 128
MAX_HEADER_SECTION_BYTES: Final = 16_384
MAX_HEADER_CHARACTERS: Final = 8_192
MAX_VIAS: Final = 70
MAX_CSEQ: Final = 2**31
VERSION: Final = "SIP/2.0"

# Headers of which a message may hold one only, and whose values are lists that may stand in one line.
_SINGLE: Final = frozenset(
    {"call-id", "cseq", "from", "to", "max-forwards", "content-length", "content-type"}
)
_LISTS: Final = frozenset({"via", "route", "record-route", "contact"})
_CANONICAL: Final = {
    name.lower(): name
    for name in (
        "Accept", "Allow", "Call-ID", "Contact", "Content-Length", "Content-Type", "CSeq", "Event", "From",
        "Max-Forwards", "Record-Route", "Refer-To", "Require", "Retry-After", "Route", "Subscription-State",
        "Supported", "To", "Unsupported", "User-Agent", "Via",
    )
}  # fmt: skip


class Headers:
    """Header fields in their order; names compare without case, lists are held one value an entry."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: list[tuple[str, str]] = []
        for name, value in items:
            self.add(name, value)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field; a list field given as one line becomes several entries."""
        name = COMPACT_FORMS.get(name.lower(), name)
        name = _CANONICAL.get(name.lower(), name)
        if name.lower() in _LISTS:
            self._items += [(name, part) for part in split_list(value)]
        else:
            self._items.append((name, value))

    def get(self, name: str) -> str | None:
        """Return the first value, None where there is none."""
        wanted = name.lower()
        return next((value for key, value in self._items if key.lower() == wanted), None)

    def all(self, name: str) -> list[str]:
        """Return all values in their order."""
        wanted = name.lower()
        return [value for key, value in self._items if key.lower() == wanted]

    def replace_first(self, name: str, value: str) -> None:
        """Put ``value`` in place of the first value of that name, which must be there."""
        wanted = name.lower()
        place = next(index for index, (key, _) in enumerate(self._items) if key.lower() == wanted)
        self._items[place] = (self._items[place][0], value)


@dataclass(slots=True)
class Request:
    """A request. ``defect`` is what is wrong with one that can still be answered."""

    method: str
    uri: str
    headers: Headers
    body: bytes = b""
    defect: RemoteProtocolError | None = None

    @property
    def via(self) -> Via:
        """Return the top Via; only to be asked of a message without defect."""
        return Via.parse(self.headers.all("Via")[0])

    @property
    def cseq(self) -> CSeq:
        """Return the CSeq; only to be asked of a message without defect."""
        return CSeq.parse(self.headers.get("CSeq") or "")

    def __bytes__(self) -> bytes:
        """Return the wire form."""
        return _write(f"{self.method} {self.uri} {VERSION}", self.headers, self.body)


@dataclass(slots=True)
class Response:
    """A response."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def via(self) -> Via:
        """Return the top Via."""
        return Via.parse(self.headers.all("Via")[0])

    @property
    def cseq(self) -> CSeq:
        """Return the CSeq."""
        return CSeq.parse(self.headers.get("CSeq") or "")

    def __bytes__(self) -> bytes:
        """Return the wire form."""
        return _write(f"{VERSION} {self.status} {self.reason}", self.headers, self.body)


def _write(start_line: str, headers: Headers, body: bytes) -> bytes:
    lines = [start_line]
    lines += [f"{name}: {value}".rstrip(" ") for name, value in headers if name != "Content-Length"]
    lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise LocalProtocolError("a line break inside a SIP header value")
    # surrogateescape: bytes of a peer that are not UTF-8 go back to it as they came.
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def parse(data: bytes) -> Request | Response | None:
    """Return the message of a datagram, None where it can only be met with silence.

    A request which is malformed but has a Via to answer to is returned with its ``defect`` (400, 414, 505, 513).
    Whatever is wrong with a response makes it None (RFC 3261 §18.1.2: nobody waits for a complaint about it).
    """
    if len(data) > MAX_MESSAGE_BYTES:
        return None
    lines, body, envelope_defect = _split(data)
    headers, header_defect = _headers(lines[1:])
    if lines[0][:4].upper() == "SIP/":
        return _response(lines[0], headers, body) if not (envelope_defect or header_defect) else None
    request, defect = _request(lines[0], headers)
    if request is None or not headers.all("Via"):
        return None
    try:
        for found in (envelope_defect, defect, header_defect):
            if found is not None:
                raise found
        _check_singles(headers)
        _check_request(request)
        request.body = _body(headers, body)
    except RemoteProtocolError as error:
        request.defect = error
    return request


def _split(data: bytes) -> tuple[list[str], bytes, RemoteProtocolError | None]:
    """Return unfolded header lines (one at least, perhaps empty), the body, and what is wrong with the envelope."""
    # RFC 3261 §7.5: line ends before the start line are ignored. A bare LF as line end is tolerated.
    data = data.lstrip(b"\r\n")
    ends = [(place, len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (place := data.find(mark)) >= 0]
    place, length = min(ends, default=(len(data), 0))
    defect = None if ends else RemoteProtocolError(400, "Headers do not end with an empty line")
    if place > MAX_HEADER_SECTION_BYTES:
        # Bounds both the work for one datagram and what a transaction keeps. The answer is made from the beginning.
        place = MAX_HEADER_SECTION_BYTES
        defect = RemoteProtocolError(513, "Message Too Large")
    lines: list[str] = []
    for line in data[:place].decode("utf-8", "surrogateescape").split("\n"):
        line = line.removesuffix("\r").replace("\r", " ")
        if line[:1] in (" ", "\t") and len(lines) > 1:
            lines[-1] += " " + line.strip(" \t")
        elif line or not lines:
            lines.append(line)
    return lines, data[place + length :], defect


def _headers(lines: list[str]) -> tuple[Headers, RemoteProtocolError | None]:
    """Return what can be read of the header fields, and what was wrong."""
    headers = Headers()
    if len(lines) > MAX_HEADERS:
        return Headers(_readable(lines[:MAX_HEADERS])), RemoteProtocolError(400, "Too many header fields")
    if any(len(line) > MAX_HEADER_CHARACTERS for line in lines):
        short = [line for line in lines if len(line) <= MAX_HEADER_CHARACTERS]
        return Headers(_readable(short)), RemoteProtocolError(400, "Header field too long")
    readable = list(_readable(lines))
    for name, value in readable:
        headers.add(name, value)
    if len(readable) != len(lines):
        return headers, RemoteProtocolError(400, "Header line without a name and a colon")
    if len(headers.all("Via")) > MAX_VIAS:
        return headers, RemoteProtocolError(400, "Too many Via values")
    return headers, None


def _readable(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if colon and is_token(name):
            yield name, value.strip(" \t")


def _request(line: str, headers: Headers) -> tuple[Request | None, RemoteProtocolError | None]:
    method, _, rest = line.partition(" ")
    if not is_token(method):
        return None, None
    uri, _, version = rest.rpartition(" ")
    request = Request(method, uri, headers)
    if not version.upper().startswith("SIP/") or not uri:
        # Not worth an answer unless it means to be SIP at all: HTTP and noise end here.
        defect = RemoteProtocolError(400, "Malformed request line")
        return (request, defect) if "SIP/" in rest.upper() else (None, None)
    if version.upper() != VERSION:
        return request, RemoteProtocolError(505, "Version Not Supported")
    if len(uri) > MAX_URI_CHARACTERS:
        return request, RemoteProtocolError(414, "Request-URI Too Long")
    if any(character in uri for character in ' \t<>"'):
        return request, RemoteProtocolError(400, "Malformed Request-URI")
    return request, None


def _response(line: str, headers: Headers, body: bytes) -> Response | None:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != VERSION or len(code) != 3 or not code.isascii() or not code.isdigit():
        return None
    status = int(code)
    if not 100 <= status <= 699:
        return None
    try:
        _check_singles(headers)
        response = Response(status, reason, headers, _body(headers, body))
        if not response.headers.all("Via") or response.cseq.number >= MAX_CSEQ:
            return None
        Via.parse(response.headers.all("Via")[0])
    except (ValueError, RemoteProtocolError):
        return None
    return response


def _check_singles(headers: Headers) -> None:
    for name in ("To", "From", "Call-ID", "CSeq"):
        if not headers.get(name):
            raise RemoteProtocolError(400, f"Missing {name}")
    counts: dict[str, int] = {}
    for name, _ in headers:
        key = name.lower()
        counts[key] = counts.get(key, 0) + 1
        if key in _SINGLE and counts[key] > 1:
            raise RemoteProtocolError(400, f"More than one {name}")


def _check_request(request: Request) -> None:
    try:
        Via.parse(request.headers.all("Via")[0])
    except ValueError:
        raise RemoteProtocolError(400, "Malformed Via") from None
    try:
        cseq = request.cseq
    except ValueError:
        raise RemoteProtocolError(400, "Malformed CSeq") from None
    if cseq.number >= MAX_CSEQ:
        raise RemoteProtocolError(400, "CSeq number too large")
    if cseq.method != request.method:
        raise RemoteProtocolError(400, "CSeq method is not that of the request line")
    for name in ("From", "To"):
        NameAddress.parse(request.headers.get(name) or "")
    hops = request.headers.get("Max-Forwards")
    if hops is not None and read_number(hops, 256) is None:
        raise RemoteProtocolError(400, "Max-Forwards is not from 0 to 255")


def _body(headers: Headers, body: bytes) -> bytes:
    """Return the body as Content-Length cuts it (RFC 3261 §18.3)."""
    text = headers.get("Content-Length")
    if text is None:
        return body
    length = read_number(text, MAX_MESSAGE_BYTES + 1)
    if length is None:
        raise RemoteProtocolError(400, "Content-Length is not a number within bounds")
    if length > len(body):
        raise RemoteProtocolError(400, "Body shorter than Content-Length")
    return body[:length]
