"""The SDP part of a multipart body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.multipart import MAX_PARTS, find_part

SDP = "application/sdp"
PART = b"--b\r\nContent-Type: application/sdp; x=y\r\nContent-Disposition: session\r\n\r\nv=0\r\n\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("multipart/mixed;boundary=b", PART + b"--b--\r\n", b"v=0\r\n"),
        ('multipart/mixed; BOUNDARY="b"', b"preamble\r\n" + PART + b"--b--", b"v=0\r\n"),
        ("multipart/mixed;boundary=b", b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n" + PART + b"--b--", b"v=0\r\n"),
        ("multipart/mixed", PART, None),
        ("multipart/mixed;boundary=other", PART, None),
        ("multipart/mixed;boundary=b", b"--b--\r\n" + PART, None),
        ("multipart/mixed;boundary=b", b"--b\r\nno gap\r\n--b--", None),
        ("multipart/mixed;boundary=b", b"--b\r\n\r\nx\r\n" * (MAX_PARTS + 1) + PART, None),
        ("multipart/mixed;boundary=b", b"", None),
    ],
)  # fmt: skip
def test_the_first_part_of_the_type_is_found(content_type: str, body: bytes, expected: bytes | None) -> None:
    assert find_part(content_type, body, SDP) == expected


@given(st.text(max_size=40), st.binary(max_size=200))
def test_anything_is_read_or_passed_over(boundary: str, body: bytes) -> None:
    found = find_part(f"multipart/mixed;boundary={boundary}", body, SDP)
    assert found is None or found in body
