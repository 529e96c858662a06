"""The one part that is wanted from a multipart body, as ISUP gateways and recorders send SDP (RFC 5621). Sans-I/O."""

from __future__ import annotations

from typing import Final

from sip.header_fields import split_parameters

MAX_PARTS: Final = 16


def find_part(content_type: str, body: bytes, wanted: str) -> bytes | None:
    """Return the first part of the wanted type, None where there is none or no boundary."""
    boundary = (split_parameters(content_type).get("boundary") or "").strip('"')
    if not boundary:
        return None
    mark = b"--" + boundary.encode("utf-8", "surrogateescape")
    for part in (b"\r\n" + body).split(b"\r\n" + mark, MAX_PARTS)[1:]:
        if part.startswith(b"--"):
            return None
        head, gap, content = part.partition(b"\r\n\r\n")
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            kind = value.partition(";")[0].strip().lower()
            if gap and name.strip().lower() == "content-type" and kind == wanted:
                return content
    return None
