"""What a client says, and what is answered to what it should not have said."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.leg_protocol import Mark, MarkKind
from sip.websocket import wire


def rate_or_status(target: str, headers: dict[str, str], token: str) -> int:
    try:
        return wire.read_request(target, headers, token)
    except wire.RequestRefused as refused:
        return refused.status


@pytest.mark.parametrize(
    ("target", "headers", "token", "answer"),
    [
        ("/v1/call?rate=8000", {}, "", 8000),
        ("/v1/call?rate=16000", {}, "", 16000),
        ("/v1/call", {}, "", 16000),
        ("/v1/call?rate=44100", {}, "", 400),
        ("/v1/call?rate=016000", {}, "", 400),
        ("/", {}, "", 404),
        ("/v1/calls", {}, "tiger", 404),
        ("/v1/call", {"authorization": "Bearer tiger"}, "tiger", 16000),
        ("/v1/call", {"authorization": "Bearer tiger", "origin": "https://evil.example"}, "tiger", 16000),
        ("/v1/call", {"authorization": "Bearer tige"}, "tiger", 401),
        ("/v1/call", {"authorization": "Bearer \udce9"}, "tiger", 401),
        ("/v1/call", {}, "tiger", 401),
        ("/v1/call", {"origin": "https://evil.example"}, "", 403),
        ("/v1/call", {"origin": "null"}, "", 403),
        ("/v1/call", {"origin": "http://localhost:3000"}, "", 16000),
        ("/v1/call", {"origin": "http://127.0.0.1"}, "", 16000),
        ("/v1/call", {"origin": "http://127.0.0.1.evil.example"}, "", 403),
    ],
)
def test_the_opening_request(target: str, headers: dict[str, str], token: str, answer: int) -> None:
    assert rate_or_status(target, headers, token) == answer


@given(
    st.text(st.sampled_from("/v1call?rate=&8016[]:@#%.x")) | st.text(), st.text(st.sampled_from("htp:/[]@.x"))
)
def test_any_request_is_served_or_refused(target: str, origin: str) -> None:
    assert rate_or_status(target, {"origin": origin}, "") in (*wire.RATES_HZ, 400, 403, 404)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"event":"dtmf","digit":"5"}', wire.Pressed("5")),
        ('{"event":"dtmf","digit":"#","duration":3}', wire.Pressed("#")),
        ('{"event":"hangup"}', wire.HungUp()),
        ('{"event":"played","samples":320}', wire.Played(320)),
    ],
)
def test_what_a_client_may_say(text: str, event: wire.ClientEvent) -> None:
    assert wire.read_event(text) == event


@pytest.mark.parametrize(
    ("text", "close_code", "code"),
    [
        ("", 1007, "not_json"),
        ("[" * 4000, 1007, "not_json"),
        ("[1]", 1007, "not_json"),
        ("{}", 1003, "unknown_event"),
        ('{"event":["dtmf"]}', 1003, "unknown_event"),
        ('{"event":"dtmf"}', 1007, "bad_digit"),
        ('{"event":"dtmf","digit":""}', 1007, "bad_digit"),
        ('{"event":"dtmf","digit":"12"}', 1007, "bad_digit"),
        ('{"event":"played","samples":1.5}', 1007, "bad_samples"),
        ('{"event":"played","samples":true}', 1007, "bad_samples"),
        ('{"event":"hangup","why":"' + "x" * 5000 + '"}', 1009, "too_large"),
    ],
)
def test_what_it_may_not_say_is_named(text: str, close_code: int, code: str) -> None:
    with pytest.raises(wire.WireError) as wrong:
        wire.read_event(text)
    assert (wrong.value.close_code, wrong.value.code) == (close_code, code)
    assert json.loads(wire.error_event(wrong.value)) == {
        "event": "error",
        "code": code,
        "message": str(wrong.value),
    }


@given(st.text() | st.from_type(type(None)).map(json.dumps))
def test_any_text_is_an_event_or_a_named_mistake(text: str) -> None:
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.read_event(text), wire.ClientEvent)


@given(st.binary(max_size=100))
def test_audio_is_whole_samples(data: bytes) -> None:
    if len(data) % 2:
        with pytest.raises(wire.WireError):
            wire.read_audio(data)
    else:
        assert wire.read_audio(data) == data


def test_audio_has_a_largest_message() -> None:
    assert len(wire.read_audio(bytes(wire.MAX_AUDIO_BYTES))) == wire.MAX_AUDIO_BYTES
    with pytest.raises(wire.WireError) as wrong:
        wire.read_audio(bytes(wire.MAX_AUDIO_BYTES + 2))
    assert wrong.value.close_code == 1009


def test_what_the_client_is_told() -> None:
    assert json.loads(wire.start_event("c1", 8000)) == {
        "event": "start",
        "call_id": "c1",
        "rate_hz": 8000,
        "frame_ms": 20,
    }
    assert json.loads(wire.mark_event(Mark(1, 7, MarkKind.PAUSED, 320, 5))) == {
        "event": "mark",
        "utterance": 7,
        "kind": "paused",
        "samples": 320,
    }
    assert json.loads(wire.end_event("shutdown")) == {"event": "end", "reason": "shutdown"}
