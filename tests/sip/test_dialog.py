"""Dialogs: what they take from a request, and where they send (RFC 3261 §12)."""

from __future__ import annotations

import pytest

from sip.address import Address
from sip.dialog import MAX_ROUTES, Dialog, without_tag
from sip.errors import RemoteProtocolError
from sip.message import Request, parse
from tests.fakes.scripted_peer import OFFER, THERE, ScriptedPeer


def invite(**options: str) -> Request:
    message = parse(ScriptedPeer().request("INVITE", body=OFFER, headers=options.get("headers", "")))
    assert isinstance(message, Request)
    assert message.defect is None
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<sip:a@h>;tag=1", "<sip:a@h>"),
        ("sip:a@h;tag=1;x=y", "<sip:a@h>;x=y"),
        ('"A > B; tag=2" <sip:a@h;tag=3>;tag=1', '"A > B; tag=2" <sip:a@h;tag=3>'),
        ("Ann <sip:a@h> ; tag = 1 ; flag", "Ann <sip:a@h>;flag"),
    ],
)
def test_a_tag_is_taken_off_and_nothing_else(text: str, expected: str) -> None:
    assert without_tag(text) == expected


def test_numbers_rise_and_ack_and_cancel_take_that_of_their_invite() -> None:
    dialog = Dialog.as_server(invite(), "ours", THERE)
    assert [dialog.request(method, "via").cseq.number for method in ("BYE", "INFO")] == [1, 2]
    assert dialog.request("ACK", "via", 1).cseq.number == 1
    assert dialog.request("INFO", "via").cseq.number == 3


def test_requests_carry_both_tags_and_the_target() -> None:
    request = Dialog.as_server(invite(), "ours", THERE).request("BYE", "via")
    assert request.uri == f"sip:caller@{THERE}"
    assert request.headers.get("From") == "<sip:landline@192.0.2.10>;tag=ours"
    assert request.headers.get("To") == "Caller <sip:caller@192.0.2.20>;tag=peer"


@pytest.mark.parametrize(
    ("target", "peer", "hop"),
    [
        ("sip:a@203.0.113.5:5070", Address("203.0.113.9", 5060), Address("203.0.113.5", 5070)),
        ("sip:a@8.8.8.8", Address("8.8.4.4", 40_000), Address("8.8.8.8", 5060)),
        ("sip:a@192.168.1.5", Address("8.8.4.4", 40_000), Address("8.8.4.4", 40_000)),
        ("sip:a@192.168.1.5", Address("192.168.1.9", 5060), Address("192.168.1.5", 5060)),
        ("sip:a@pbx.example", Address("192.168.1.9", 5060), Address("192.168.1.9", 5060)),
        ("sips:a@8.8.8.8", Address("8.8.4.4", 5060), Address("8.8.4.4", 5060)),
        ("sip:a@224.0.0.5", Address("8.8.4.4", 5060), Address("8.8.4.4", 5060)),
        ("sip:a@0.0.0.0", Address("192.168.1.9", 5060), Address("192.168.1.9", 5060)),
        ("mailto:a@b", Address("8.8.4.4", 5060), Address("8.8.4.4", 5060)),
    ],
)
def test_where_a_request_goes(target: str, peer: Address, hop: Address) -> None:
    dialog = Dialog("c", "l", "r", "<sip:l@h>", "<sip:r@h>", target, peer)
    assert dialog.next_hop() == hop


def test_routes_are_bounded() -> None:
    routes = "\n".join(["Record-Route: <sip:p.example;lr>"] * (MAX_ROUTES + 1))
    with pytest.raises(RemoteProtocolError) as refused:
        Dialog.as_server(invite(headers=routes), "ours", THERE)
    assert refused.value.status == 400


def test_headers_of_a_contact_do_not_reach_a_request_uri() -> None:
    message = invite()
    message.headers.replace_first("Contact", "<sip:a@192.0.2.9?Route=%3Csip:evil.example%3E>")
    dialog = Dialog.as_server(message, "ours", THERE)
    assert dialog.request("BYE", "via").uri == "sip:a@192.0.2.9"


def test_a_second_contact_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Dialog.as_server(invite(headers="Contact: <sip:other@192.0.2.9>"), "ours", THERE)
