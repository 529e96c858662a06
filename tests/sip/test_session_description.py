"""Session descriptions: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import RemoteProtocolError
from sip.session_description import Attribute, Media, SessionDescription, is_sendable, parse

HEAD = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f\x85\xa0\xad"), max_size=30
)
attributes = st.builds(Attribute, names, st.none() | values)
hosts = st.ip_addresses().map(str)
media = st.builds(
    Media,
    kind=st.sampled_from(["audio", "video", "application"]),
    port=st.integers(0, 65_535),
    protocol=st.sampled_from(["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]),
    formats=st.lists(st.integers(0, 127).map(str), min_size=1, max_size=8).map(tuple),
    connection=st.none() | hosts,
    attributes=st.lists(attributes, max_size=4).map(tuple),
    port_count=st.integers(1, 9),
)
descriptions = st.builds(
    SessionDescription,
    username=names,
    session_id=st.integers(0, 2**63),
    version=st.integers(0, 2**63),
    origin_host=hosts,
    name=names,
    connection=st.none() | hosts,
    attributes=st.lists(attributes, max_size=4).map(tuple),
    media=st.lists(media, max_size=4).map(tuple),
)


@given(descriptions)
def test_what_is_written_is_read_back(description: SessionDescription) -> None:
    assert parse(str(description)) == description


@given(st.text(max_size=400) | st.text("vosctma=\r\n 0123456789/INP4.", max_size=400))
def test_any_text_is_read_or_refused_with_a_status(text: str) -> None:
    status = 0
    try:
        parse(text)
    except RemoteProtocolError as error:
        status = error.status
    assert status in (0, 400, 488)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        HEAD.replace("v=0", "v=1"),
        HEAD.replace("o=- 1 2 IN IP4 192.0.2.1", "o=- 1 2"),
        HEAD.replace("o=- 1", "o=- one"),
        HEAD.replace("c=IN IP4", "c=IN IP5"),
        HEAD + "m=audio\r\n",
        HEAD + "m=audio 70000 RTP/AVP 0\r\n",
        HEAD + "m=audio -1 RTP/AVP 0\r\n",
        HEAD + "m=audio 4000/x RTP/AVP 0\r\n",
        HEAD + "m=audio ٤٠٠٠ RTP/AVP 0\r\n",
        HEAD + " folded\r\n",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "m=audio 4000 RTP/AVP 0\r\n" * 1000,
        HEAD + "a=x\r\n" * 1000,
        HEAD + "a=" + "x" * 20_000,
        HEAD + "m=audio 4000 RTP/AVP" + " 0" * 1000 + "\r\n",
    ],
    ids=["thousand-media", "thousand-lines", "long", "thousand-formats"],
)
def test_beyond_bounds(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse(text)
    assert refused.value.status == 488


def test_what_peers_get_wrong_is_tolerated() -> None:
    text = "v=0\no=root 1 1 IN IP4 192.0.2.9\ns=\nt=0 0\nc=IN IP4 192.0.2.9\nb=AS:64\nm=audio 4000 RTP/AVP 0 \n\na=SendOnly\n"
    description = parse(text)
    assert description.connection == "192.0.2.9"
    assert description.media[0].formats == ("0",)
    assert description.media[0].attribute("sendonly") == ""


@pytest.mark.parametrize(
    ("host", "sendable"),
    [
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("127.0.0.1", True),
        ("2001:db8::1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::", False),
        ("ff02::1", False),
        ("::ffff:224.0.0.1", False),
        ("media.example.com", False),
        ("192.0.2.1/127", False),
        ("", False),
    ],
)
def test_where_audio_may_be_sent(host: str, sendable: bool) -> None:
    assert is_sendable(host) is sendable
