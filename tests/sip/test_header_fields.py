"""Header field values: lists, addresses, Via, URIs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.address import Address
from sip.errors import RemoteProtocolError
from sip.header_fields import (
    NameAddress,
    Via,
    has_headers,
    is_loose,
    parse_uri,
    printable,
    quoted,
    split_list,
    stamp_via,
    uri_address,
)

PEER = Address("198.51.100.9", 31_000)


@given(st.text(max_size=40))
def test_a_display_name_of_ours_is_read_back_without_control_characters(name: str) -> None:
    name = name.encode("utf-8", "ignore").decode()
    parsed = NameAddress.parse(f"{quoted(name)} <sip:a@a.example>;tag=x")
    assert parsed.name == printable(name)
    assert (parsed.uri, parsed.tag) == ("sip:a@a.example", "x")


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_a_list_of_quoted_names_is_cut_between_them_only(names: list[str]) -> None:
    values = [f"{quoted(name.encode('utf-8', 'ignore').decode())} <sip:a,b@a.example>" for name in names]
    assert split_list(" , ".join(values)) == values


@pytest.mark.parametrize(
    ("text", "uri", "name", "tag"),
    [
        ("sip:a@a.example", "sip:a@a.example", "", ""),
        ("sip:a@a.example;tag=1", "sip:a@a.example", "", "1"),
        ("<sip:a@a.example;tag=no>;TAG=yes", "sip:a@a.example;tag=no", "", "yes"),
        ("Ann B. <sip:a@a.example>", "sip:a@a.example", "Ann B.", ""),
        (
            r'"A \"quoted\" <x> ; , \\" <sip:a@a.example> ; tag = 1',
            "sip:a@a.example",
            r'A "quoted" <x> ; , \ '.strip(),
            "1",
        ),
        ("<tel:+15551234;phone-context=x>;tag=t", "tel:+15551234;phone-context=x", "", "t"),
        ("isbn:2983792873", "isbn:2983792873", "", ""),
        ("<sip:a@a.example?Subject=x>", "sip:a@a.example?Subject=x", "", ""),
    ],
)
def test_addresses(text: str, uri: str, name: str, tag: str) -> None:
    parsed = NameAddress.parse(text)
    assert (parsed.uri, parsed.name, parsed.tag) == (uri, name, tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "<>",
        "Ann",
        "<sip:a@a.example",
        '"Ann <sip:a@a.example>',
        "<sip:a b>",
        "sip:a@h?x=y",
        "<sip:a>x",
        '"a"b"c <sip:a>',
    ],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        NameAddress.parse(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("uri", "user"),
    [
        ("sip:+15551234@h.example", "+15551234"),
        ("SIP:Ann%20B@h.example", "Ann B"),
        ("sip:h.example", "h.example"),
        ("tel:+15551234", "+15551234"),
        ("http://www.example", "http://www.example"),
        ("sip:a%0d%0ab@h.example", "ab"),
    ],
)
def test_who_an_address_is_for_a_person_to_read(uri: str, user: str) -> None:
    assert NameAddress.parse(f"<{uri}>").user == user


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SIP/2.0/UDP 192.0.2.1;branch=b", PEER.port and Address(PEER.host, 5060)),
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=b", Address(PEER.host, 5070)),
        ("SIP/2.0/UDP 192.0.2.1:5070;rport;branch=b", PEER),
        ("SIP/2.0/UDP h.example;rport=1;received=203.0.113.1;branch=b", PEER),
        ("SIP/2.0/UDP [2001:db8::1]:5070;received=2001:db8::2;branch=b", Address(PEER.host, 5070)),
        ("SIP / 2.0 / UDP 192.0.2.1 : 5070", None),
    ],
)
def test_via_steers_the_answer_to_the_source_only(text: str, expected: Address | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="Via"):
            Via.parse(text)
        return
    stamped = stamp_via(text, PEER)
    via = Via.parse(stamped)
    assert via.response_destination(PEER) == expected
    assert via.received == PEER.host
    assert "203.0.113.1" not in stamped
    assert via.rport in (None, str(PEER.port))


def test_via_of_a_peer_at_its_own_address_is_left_alone() -> None:
    text = "SIP/2.0/UDP 198.51.100.9:5070;branch=b"
    assert stamp_via(text, PEER) == text


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:a@192.0.2.1", Address("192.0.2.1", 5060)),
        ("sip:a@192.0.2.1:5070;lr", Address("192.0.2.1", 5070)),
        ("sip:[2001:db8::1]:5070", Address("2001:db8::1", 5070)),
        ("sip:a@h.example", None),
        ("sips:a@192.0.2.1", None),
        ("sip:a@192.0.2.1;transport=tcp", None),
        ("tel:+15551234", None),
        ("sip:a@192.0.2.1:0", None),
        ("sip:a@192.0.2.1:99999", None),
    ],
)
def test_where_a_uri_points_without_dns(uri: str, address: Address | None) -> None:
    assert uri_address(uri) == address


@pytest.mark.parametrize(
    "uri", ["sip:", "sip:@h", "mailto:a@b", "sip:a@h e", "tel:" + "1" * 200, "sip:a@" + "h" * 2000]
)
def test_uris_that_are_none(uri: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_uri(uri)


def test_headers_of_a_uri_are_found_behind_the_host_only() -> None:
    assert has_headers("sip:a@h.example?Route=x")
    assert not has_headers("sip:crazy?user@h.example")
    assert parse_uri("sip:crazy?user@h.example?x=y").user == "crazy?user"


def test_loose_routers() -> None:
    assert is_loose("<sip:p.example;lr>")
    assert is_loose("<sip:p.example;lr=on>")
    assert not is_loose("<sip:p.example>;lr")
    assert not is_loose("nonsense")
