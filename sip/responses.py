"""How a request is answered: what a response copies from it, and the standard reason phrases (RFC 3261 §8.2.6).

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from sip.errors import RemoteProtocolError
from sip.header_fields import NameAddress
from sip.message import Headers, Request, Response

REASONS: Final = {
    100: "Trying", 180: "Ringing", 200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout",
    414: "Request-URI Too Long", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 469: "Bad Info Package",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
    486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
    491: "Request Pending", 500: "Server Internal Error", 503: "Service Unavailable",
    505: "Version Not Supported", 513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline",
}  # fmt: skip

_CLASSES: Final = {
    1: "Progress",
    2: "OK",
    3: "Redirection",
    4: "Client Error",
    5: "Server Error",
    6: "Failure",
}


def respond_to(request: Request, status: int, to_tag: str, reason: str = "") -> Response:
    """Return a response with the fields that RFC 3261 §8.2.6.2 has copied; tolerates that some are missing."""
    headers = Headers()
    for name, value in request.headers:
        if name == "Via" or (name in ("From", "Call-ID", "CSeq") and headers.get(name) is None):
            headers.add(name, value)
        elif name == "To" and headers.get(name) is None:
            headers.add(name, _tagged(value, to_tag) if status > 100 else value)
    return Response(status, reason or REASONS.get(status) or _CLASSES[status // 100], headers)


def _tagged(value: str, tag: str) -> str:
    try:
        address = NameAddress.parse(value)
    except RemoteProtocolError:
        # The very reason for this response may be that To cannot be read; it goes back as it came.
        return value
    if address.tag:
        return value
    # Without brackets a tag would read as a parameter of a URI that has parameters (§20).
    return f"{value};tag={tag}"
