"""What the user agent makes of the torture messages of RFC 4475: each has its verdict."""

from __future__ import annotations

import pytest

from sip.message import Request, Response, parse
from sip.user_agent import IncomingCall
from tests.fakes.scripted_peer import THERE, ScriptedPeer, statuses
from tests.sip.rfc4475 import MESSAGES

# The final status that the message gets; 100 where it is a call, 0 where it can only be met with silence.
VERDICTS = {
    # Valid. wsinv and its like are for a dialog that we do not have, and we are no registrar.
    "wsinv": 481,
    "intmeth": 405,
    "esc01": 100,
    "escnull": 405,
    "esc02": 405,
    "lwsdisp": 200,
    "dblreq": 405,
    "semiuri": 200,
    "transports": 200,
    "unreason": 0,
    "noreason": 0,
    # Invalid.
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": 0,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": 0,
    "insuf": 400,
    "multi01": 400,
    "mcl01": 400,
    # Invalid in a place that we do not need, where the RFC allows to be liberal.
    "baddate": 100,
    "regbadct": 405,
    "badaspec": 200,
    "baddn": 200,
    # Application layer.
    "badbranch": 200,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 405,
    "bext01": 420,
    "invut": 415,
    "regaut01": 405,
    "bcast": 0,
    "zeromf": 200,
    "sdp01": 406,
    "inv2543": 100,
}


def test_every_message_has_a_verdict() -> None:
    assert set(VERDICTS) == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_verdict(name: str) -> None:
    peer = ScriptedPeer()
    answers = peer.say(MESSAGES[name])
    verdict = VERDICTS[name]
    assert statuses(answers) == ([verdict] if verdict else [])
    assert [type(event) for event in peer.events] == ([IncomingCall] if verdict == 100 else [])


def test_tortuous_invite_is_read_as_it_was_meant() -> None:
    message = parse(MESSAGES["wsinv"])
    assert isinstance(message, Request)
    assert message.defect is None
    assert len(message.headers.all("Via")) == 3
    assert message.via.branch == "390skdjuw"
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert message.headers.get("Subject") == ""
    assert len(message.body) == 150


def test_escapes_are_decoded_for_people_and_kept_on_the_wire() -> None:
    peer = ScriptedPeer()
    [trying] = peer.say(MESSAGES["esc01"])
    call = peer.event(IncomingCall)
    assert call.caller == "I have spaces"
    assert call.callee == "sips:user@example.com"
    assert trying.headers.get("From") == "<sip:I%20have%20spaces@example.net>;tag=938"
    assert trying.headers.get("To") == "sip:%75se%72@example.com"


def test_bytes_that_are_no_characters_go_back_unchanged() -> None:
    peer = ScriptedPeer()
    peer.say(MESSAGES["intmeth"])
    assert b'"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual' in peer.raw[0]
    assert "работающий".encode() in peer.raw[0]


def test_unsupported_extensions_are_named() -> None:
    peer = ScriptedPeer()
    [answer] = peer.say(MESSAGES["bext01"])
    assert answer.headers.get("Unsupported") == "nothingSupportsThis, nothingSupportsThisEither"


def test_unreadable_via_is_answered_whence_it_came() -> None:
    peer = ScriptedPeer()
    peer.say(MESSAGES["badinv01"])
    assert peer.destinations == [THERE]


def test_responses_with_and_without_a_reason_are_read() -> None:
    odd = parse(MESSAGES["unreason"])
    assert isinstance(odd, Response)
    assert odd.status == 200
    assert odd.reason.startswith("= 2**3 * 5**2 но")
    empty = parse(MESSAGES["noreason"])
    assert isinstance(empty, Response)
    assert (empty.status, empty.reason) == (100, "")


def test_second_request_in_one_datagram_is_ignored() -> None:
    message = parse(MESSAGES["dblreq"])
    assert isinstance(message, Request)
    assert message.body == b""
