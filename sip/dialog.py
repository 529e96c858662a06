"""A SIP dialog: who both ends are, the route between them, and the order of requests (RFC 3261 §12). Sans-I/O."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from sip.address import Address
from sip.errors import RemoteProtocolError
from sip.header_fields import NameAddress, is_loose, uri_address, without_headers
from sip.message import Headers, Request, Response

MAX_ROUTES: Final = 32


@dataclass(slots=True)
class Dialog:
    """State shared by the two ends. ``local`` and ``remote`` are From/To values without their tags."""

    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    remote: str
    remote_target: str
    """URI of the peer's Contact, the Request-URI of what we send."""
    peer: Address
    """Where the peer's messages really came from: what names and private addresses cannot tell."""
    route_set: tuple[str, ...] = ()
    local_number: int = 0
    """CSeq number of our last request."""
    remote_number: int | None = None
    """CSeq number of the peer's last request; None before the first."""

    @classmethod
    def as_server(cls, request: Request, local_tag: str, source: Address) -> Dialog:
        """Return the dialog that our 1xx or 2xx to this INVITE makes (§12.1.1); raises on a bad Contact."""
        headers = request.headers
        # RFC 2543 let an INVITE come without Contact and without tag.
        sender = NameAddress.parse(headers.get("From") or "")
        routes = tuple(headers.all("Record-Route"))
        if len(routes) > MAX_ROUTES:
            raise RemoteProtocolError(400, "Too many Record-Route values")
        return cls(
            call_id=headers.get("Call-ID") or "",
            local_tag=local_tag,
            remote_tag=sender.tag,
            local=without_tag(headers.get("To") or ""),
            remote=without_tag(headers.get("From") or ""),
            remote_target=contact_uri(headers) if headers.get("Contact") else without_headers(sender.uri),
            peer=source,
            route_set=routes,
            remote_number=request.cseq.number,
        )

    @classmethod
    def as_client(cls, request: Request, response: Response, peer: Address) -> Dialog:
        """Return the dialog that a 1xx with tag or a 2xx to our INVITE makes (§12.1.2)."""
        headers = response.headers
        return cls(
            call_id=headers.get("Call-ID") or "",
            local_tag=NameAddress.parse(request.headers.get("From") or "").tag,
            remote_tag=NameAddress.parse(headers.get("To") or "").tag,
            local=without_tag(request.headers.get("From") or ""),
            remote=without_tag(request.headers.get("To") or ""),
            remote_target=contact_uri(headers),
            peer=peer,
            route_set=tuple(reversed(headers.all("Record-Route")[-MAX_ROUTES:])),
            local_number=request.cseq.number,
        )

    def belongs(self, request: Request) -> bool:
        """Return whether a request is of this dialog (§12.2.2)."""
        headers = request.headers
        return (
            headers.get("Call-ID") == self.call_id
            and NameAddress.parse(headers.get("To") or "").tag == self.local_tag
            and NameAddress.parse(headers.get("From") or "").tag == self.remote_tag
        )

    def note_request(self, request: Request) -> None:
        """Take the peer's CSeq in order; raises :class:`RemoteProtocolError` (500) out of order (§12.2.2)."""
        number = request.cseq.number
        if request.method == "ACK":
            return
        if self.remote_number is not None and number <= self.remote_number:
            raise RemoteProtocolError(500, "CSeq out of order")
        self.remote_number = number

    def refresh_target(self, headers: Headers) -> None:
        """Take the Contact of a target refresh (re-INVITE, UPDATE and their 2xx; §12.2); none changes nothing."""
        if headers.get("Contact"):
            self.remote_target = contact_uri(headers)

    def request(self, method: str, via: str, number: int | None = None) -> Request:
        """Return a request in the dialog, without Contact. ``number`` is for ACK and CANCEL."""
        if number is None:
            self.local_number += 1
            number = self.local_number
        uri, routes = self._route()
        headers = Headers([("Via", via), ("Max-Forwards", "70")])
        headers.add("From", f"{self.local};tag={self.local_tag}")
        headers.add("To", f"{self.remote};tag={self.remote_tag}" if self.remote_tag else self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{number} {method}")
        for route in routes:
            headers.add("Route", route)
        return Request(method, uri, headers)

    def _route(self) -> tuple[str, tuple[str, ...]]:
        """Return the Request-URI and the Route values (§12.2.1.1)."""
        if not self.route_set or is_loose(self.route_set[0]):
            return self.remote_target, self.route_set
        # A strict router takes its own address out of the Request-URI, and the target out of the last Route.
        first = NameAddress.parse(self.route_set[0]).uri
        return without_headers(first), (*self.route_set[1:], f"<{self.remote_target}>")

    def next_hop(self) -> Address:
        """Return where to send a request.

        The first route or the target, as it says; but where that is a name (looking it up is I/O), another
        transport, or a private address of a peer that reached us from a public one (NAT), whence it came.
        """
        uri = NameAddress.parse(self.route_set[0]).uri if self.route_set else self.remote_target
        address = uri_address(uri)
        if address is None or address.port == 0 or (_private(address.host) and not _private(self.peer.host)):
            return self.peer
        parsed = ipaddress.ip_address(address.host)
        if parsed.is_multicast or parsed.is_unspecified:
            return self.peer
        return address


def _private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def contact_uri(headers: Headers) -> str:
    """Return the URI of the one Contact; raises :class:`RemoteProtocolError` (400) where it is missing or bad."""
    contacts = headers.all("Contact")
    if len(contacts) != 1:
        raise RemoteProtocolError(400, "Expected one Contact")
    return without_headers(NameAddress.parse(contacts[0]).uri)


def without_tag(text: str) -> str:
    """Return a From or To value as a name-addr in brackets, without its tag."""
    address = NameAddress.parse(text)
    head = address.head if address.head.endswith(">") else f"<{address.uri}>"
    kept = [
        f";{name}" if value is None else f";{name}={value}"
        for name, value in address.parameters.items()
        if name and name != "tag"
    ]
    return head + "".join(kept)
