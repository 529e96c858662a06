"""Offer/answer as a caller would notice it: the codec, the keys, hold, and refusals (RFC 3264)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.address import Address
from sip.errors import RemoteProtocolError
from sip.offer_answer import Codec, Direction, LocalMedia, make_answer, make_offer, read_answer
from sip.session_description import parse

LOCAL = LocalMedia(Address("192.0.2.10", 6000), session_id=77)


def offer(media: str = "m=audio 4000 RTP/AVP 0\r\n", host: str = "192.0.2.20") -> str:
    family = "IP6" if ":" in host else "IP4"
    return f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n{media}"


def refused(text: str) -> int:
    with pytest.raises(RemoteProtocolError) as error:
        make_answer(text, LOCAL)
    return error.value.status


def test_our_offer_and_our_answer_to_it_agree() -> None:
    text = make_offer(LOCAL)
    answer = make_answer(text, LocalMedia(Address("192.0.2.30", 7000), 5))
    ours = read_answer(answer.sdp, LOCAL)
    assert (ours.codec, answer.media.codec) == (Codec.PCMU, Codec.PCMU)
    assert (ours.dtmf_payload_type, answer.media.dtmf_payload_type) == (101, 101)
    assert ours.remote == Address("192.0.2.30", 7000)
    assert answer.media.remote == Address("192.0.2.10", 6000)
    assert ours.direction is answer.media.direction is Direction.SENDRECV


@pytest.mark.parametrize(
    ("media", "codec", "payload_type"),
    [
        ("m=audio 4000 RTP/AVP 0 8\r\n", Codec.PCMU, 0),
        ("m=audio 4000 RTP/AVP 8 0\r\n", Codec.PCMA, 8),
        ("m=audio 4000 RTP/AVP 18 3 8\r\n", Codec.PCMA, 8),
        ("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 pcma/8000\r\n", Codec.PCMA, 96),
        (
            "m=audio 4000 RTP/AVP 9 96 97\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 PCMU/8000/1\r\n",
            Codec.PCMU,
            97,
        ),
        ("m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 iLBC/8000\r\n", Codec.PCMA, 8),
    ],
)
def test_the_first_codec_of_the_peer_that_we_speak_is_taken(
    media: str, codec: Codec, payload_type: int
) -> None:
    answer = make_answer(offer(media), LOCAL)
    assert (answer.media.codec, answer.media.payload_type) == (codec, payload_type)
    [line] = parse(answer.sdp).media
    assert line.formats == (str(payload_type),)


def test_only_the_codecs_allowed_here_are_taken() -> None:
    alaw = LocalMedia(LOCAL.address, 1, codecs=(Codec.PCMA,))
    assert make_answer(offer("m=audio 4000 RTP/AVP 0 8\r\n"), alaw).media.codec is Codec.PCMA


@pytest.mark.parametrize(
    "media",
    [
        "",
        "m=audio 4000 RTP/AVP 18\r\n",
        "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 PCMU/16000\r\n",
        "m=audio 4000 RTP/SAVP 0\r\n",
        "m=audio 0 RTP/AVP 0\r\n",
        "m=video 4000 RTP/AVP 0\r\n",
        "m=image 4000 udptl t38\r\n",
    ],
)
def test_where_nothing_fits_the_call_gets_488(media: str) -> None:
    assert refused(offer(media)) == 488


@pytest.mark.parametrize(
    "host", ["224.2.3.4", "255.255.255.255", "ff02::1", "media.example.com", "240.0.0.1"]
)
def test_addresses_that_would_make_us_a_weapon_get_488(host: str) -> None:
    assert refused(offer(host=host)) == 488


def test_loopback_is_believed_only_from_loopback() -> None:
    text = offer(host="127.0.0.1")
    assert make_answer(text, LOCAL, Address("127.0.0.1", 5060)).media.remote.host == "127.0.0.1"
    assert make_answer(text, LOCAL).media.remote.host == "127.0.0.1"
    with pytest.raises(RemoteProtocolError):
        make_answer(text, LOCAL, Address("192.0.2.20", 5060))


def test_malformed_offers_get_400() -> None:
    assert refused("hello") == 400
    assert refused(offer().replace("c=IN IP4 192.0.2.20\r\n", "")) == 400


def test_every_other_medium_is_refused_in_its_place() -> None:
    media = (
        "m=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"
        "m=image 4004 udptl t38\r\n"
    )
    lines = parse(make_answer(offer(media), LOCAL).sdp).media
    assert [(line.kind, line.port) for line in lines] == [
        ("video", 0),
        ("audio", 6000),
        ("audio", 0),
        ("image", 0),
    ]
    assert lines[3].formats == ("t38",)


def test_address_of_the_medium_goes_before_that_of_the_session() -> None:
    answer = make_answer(offer("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.99\r\n"), LOCAL)
    assert answer.media.remote == Address("192.0.2.99", 4000)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Direction.SENDRECV),
        ("a=sendrecv\r\n", Direction.SENDRECV),
        ("a=sendonly\r\n", Direction.RECVONLY),
        ("a=recvonly\r\n", Direction.SENDONLY),
        ("a=inactive\r\n", Direction.INACTIVE),
    ],
)
def test_direction_is_mirrored(line: str, expected: Direction) -> None:
    answer = make_answer(offer("m=audio 4000 RTP/AVP 0\r\n" + line), LOCAL)
    assert answer.media.direction is expected
    assert answer.media.held is (expected in (Direction.RECVONLY, Direction.INACTIVE))
    assert parse(answer.sdp).media[0].attribute(expected.value) == ""


def test_direction_of_the_session_holds_where_the_medium_has_none() -> None:
    text = offer().replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n")
    assert make_answer(text, LOCAL).media.direction is Direction.RECVONLY


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_old_way_to_hold(host: str) -> None:
    answer = make_answer(offer(host=host), LOCAL)
    assert answer.media.held
    assert answer.media.direction is Direction.RECVONLY
    inactive = make_answer(offer("m=audio 4000 RTP/AVP 0\r\na=inactive\r\n", host), LOCAL)
    assert inactive.media.direction is Direction.INACTIVE


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", 20),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:25\r\n", 20),
        ("a=ptime:0\r\n", 10),
        ("a=ptime:500\r\n", 60),
        ("a=ptime:20\r\na=maxptime:10\r\n", 10),
        ("a=ptime:99999999999999999999\r\n", 20),
        ("a=ptime:x\r\n", 20),
    ],
)
def test_packet_time(lines: str, expected: int) -> None:
    answer = make_answer(offer("m=audio 4000 RTP/AVP 0\r\n" + lines), LOCAL)
    assert answer.media.ptime_ms == expected


def test_keys_use_the_number_of_the_peer_and_are_left_out_where_it_has_none() -> None:
    with_keys = make_answer(offer("m=audio 4000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n"), LOCAL)
    assert with_keys.media.dtmf_payload_type == 96
    assert "a=fmtp:96 0-15" in with_keys.sdp
    without = make_answer(offer(), LOCAL)
    assert without.media.dtmf_payload_type is None
    assert "telephone-event" not in without.sdp


def test_an_answer_that_answers_something_else_is_refused() -> None:
    for text in (offer(""), offer("m=audio 4000 RTP/AVP 0\r\n" * 2), offer("m=audio 0 RTP/AVP 0\r\n")):
        with pytest.raises(RemoteProtocolError) as error:
            read_answer(text, LOCAL)
        assert error.value.status == 488


@given(
    st.lists(st.sampled_from(["0", "8", "18", "96", "101", "-1", "128", "x", "٣"]), min_size=1, max_size=6),
    st.lists(
        st.sampled_from(
            ["a=rtpmap:96 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=rtpmap:", "a=rtpmap:x y", "a=ptime:40",
             "a=sendonly", "a=fmtp:101 0-16", "c=IN IP4 0.0.0.0", "c=IN IP6 ::1"]
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_any_offer_gets_an_answer_that_reads_or_a_status(formats: list[str], lines: list[str]) -> None:
    media = f"m=audio 4000 RTP/AVP {' '.join(formats)}\r\n" + "".join(f"{line}\r\n" for line in lines)
    status = 0
    try:
        answer = make_answer(offer(media), LOCAL)
    except RemoteProtocolError as error:
        status = error.status
    assert status in (0, 400, 488)
    if status:
        return
    [line] = parse(answer.sdp).media
    assert line.port == 6000
    assert set(line.formats) <= set(formats)
    assert not (answer.media.sending and answer.media.remote.host in ("0.0.0.0", "::"))
