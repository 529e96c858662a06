"""The envelope parser and the writer: round trips, bounds, and what cannot be smuggled in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import LocalProtocolError
from sip.message import MAX_HEADERS, Headers, Request, Response, parse

TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"

methods = st.sampled_from(["INVITE", "BYE", "OPTIONS", "BREW", "a%b"])
texts = st.text(
    st.characters(min_codepoint=32, exclude_characters="\x7f\x85\u2028\u2029", exclude_categories=["Cs"]),
    max_size=40,
)
names = st.text(TOKEN, min_size=2, max_size=20).map(lambda name: f"X-{name}")
extensions = st.lists(st.tuples(names, texts.map(str.strip)), max_size=6)
bodies = st.binary(max_size=200)


def basics(method: str) -> list[tuple[str, str]]:
    return [
        ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc"),
        ("From", "<sip:a@a.example>;tag=1"),
        ("To", "<sip:b@b.example>"),
        ("Call-ID", "call"),
        ("CSeq", f"1 {method}"),
    ]


def wire(*lines: str, start: str = "OPTIONS sip:b@b.example SIP/2.0", body: str = "") -> bytes:
    head = [start, *(f"{name}: {value}" for name, value in basics(start.split(" ")[0])), *lines]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def defect(data: bytes) -> int:
    message = parse(data)
    assert isinstance(message, Request)
    return message.defect.status if message.defect else 0


@given(methods, extensions, bodies)
def test_a_request_is_read_back_as_written(method: str, extra: list[tuple[str, str]], body: bytes) -> None:
    request = Request(method, "sip:b@b.example", Headers([*basics(method), *extra]), body)
    again = parse(bytes(request))
    assert isinstance(again, Request)
    assert again.defect is None
    assert (again.method, again.uri, again.body) == (method, request.uri, body)
    written = [(name, value.rstrip()) for name, value in request.headers]
    assert [item for item in again.headers if item[0] != "Content-Length"] == written
    assert bytes(again) == bytes(request)


@given(st.integers(100, 699), texts.map(str.strip), extensions, bodies)
def test_a_response_is_read_back_as_written(
    status: int, reason: str, extra: list[tuple[str, str]], body: bytes
) -> None:
    response = Response(status, reason, Headers([*basics("INVITE"), *extra]), body)
    again = parse(bytes(response))
    assert isinstance(again, Response)
    assert (again.status, again.reason, again.body) == (status, reason, body)
    assert bytes(again) == bytes(response)


@given(st.text(max_size=30), st.sampled_from(["\r", "\n", "\r\n"]), st.text(max_size=30))
def test_no_value_can_carry_a_line_break_onto_the_wire(before: str, end: str, after: str) -> None:
    for headers, uri in (
        (Headers([*basics("BYE"), ("Subject", before + end + after)]), "sip:b@b.example"),
        (Headers(basics("BYE")), "sip:b" + end + after),
    ):
        with pytest.raises(LocalProtocolError):
            bytes(Request("BYE", uri, headers))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_dropped(data: bytes) -> None:
    parse(data)


def test_bytes_that_are_not_utf_8_survive() -> None:
    message = parse(wire().replace(b"Call-ID: call", b"Call-ID: c\xff\xfe"))
    assert isinstance(message, Request)
    assert b"Call-ID: c\xff\xfe\r\n" in bytes(message)


def test_compact_names_and_lists_are_spread_out() -> None:
    message = parse(
        wire("m: <sip:x@192.0.2.1>", 'Record-Route: <sip:p1;lr> , "a, b" <sip:p2;lr>', "k: timer")
    )
    assert isinstance(message, Request)
    assert message.headers.all("Contact") == ["<sip:x@192.0.2.1>"]
    assert message.headers.all("Record-Route") == ["<sip:p1;lr>", '"a, b" <sip:p2;lr>']
    assert message.headers.get("supported") == "timer"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_blank_lines_before_the_start_are_tolerated(end: bytes) -> None:
    message = parse(b"\r\n\r\n" + wire().replace(b"\r\n", end))
    assert isinstance(message, Request)
    assert message.defect is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00" * 20,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS sip:b@b.example SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 abc Odd\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_cannot_be_answered_is_dropped(data: bytes) -> None:
    assert parse(data) is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (wire(), 0),
        (wire("Content-Length: 4", body="abcdefgh"), 0),
        (wire("Content-Length: 9", body="abcdefgh"), 400),
        (wire("Content-Length: -1"), 400),
        (wire("Content-Length: 99999999999999999999"), 400),
        (wire("Content-Length: ٣", body="abc"), 400),
        (wire("Content-Length: 1_0", body="x" * 20), 400),
        (wire("Content-Length: 1", "Content-Length: 1", body="ab"), 400),
        (wire("To: <sip:again@b.example>"), 400),
        (wire("no colon here"), 400),
        (wire("Bad Name: x"), 400),
        (wire(": empty"), 400),
        (wire("Max-Forwards: 256"), 400),
        (wire("Max-Forwards: many"), 400),
        (wire(*["X: y"] * MAX_HEADERS), 400),
        (wire("X: " + "y" * 9_000), 400),
        (wire(*["X: " + "y" * 1_000] * 20), 513),
        (wire(*["Via: SIP/2.0/UDP 192.0.2.1"] * 80), 400),
        (wire("Via: " + ",".join(["SIP/2.0/UDP h.example"] * 100)), 400),
        (wire().replace(b"Call-ID: call", b"Call-ID:"), 400),
        (wire().replace(b"1 OPTIONS", b"2147483648 OPTIONS"), 400),
        (wire().replace(b"1 OPTIONS", b"one OPTIONS"), 400),
        (wire().replace(b";branch", b":0;branch").replace(b":5060:0", b":0"), 400),
        (wire(start="OPTIONS sip:" + "b" * 2_000 + " SIP/2.0"), 414),
        (wire(start="OPTIONS  SIP/2.0"), 400),
        (wire(start="OPTIONS sip:b@b.example SIP/3.0"), 505),
        (wire().removesuffix(b"\r\n\r\n"), 400),
    ],
)
def test_verdict(data: bytes, status: int) -> None:
    assert defect(data) == status


def test_body_is_cut_where_content_length_says() -> None:
    message = parse(wire("Content-Length: 4", body="abcdefgh"))
    assert isinstance(message, Request)
    assert message.body == b"abcd"
