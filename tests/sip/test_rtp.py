"""RTP packets and sequence arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import rtp
from sip.errors import RtpError
from sip.rtp import ReceiverStatistics, RtpPacket


@given(
    payload_type=st.integers(0, 63) | st.integers(96, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
)
def test_what_is_built_is_parsed(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool
) -> None:
    data = rtp.build(payload_type, sequence, timestamp, ssrc, payload, marker)
    assert rtp.parse(data) == RtpPacket(payload_type, sequence, timestamp, ssrc, payload, marker)


@given(st.binary(max_size=80))
def test_any_datagram_is_a_packet_or_refused(data: bytes) -> None:
    try:
        packet = rtp.parse(data)
    except RtpError:
        return
    assert len(packet.payload) <= len(data) - rtp.HEADER_BYTES


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(12), id="version-0"),
        pytest.param(b"\x80" + bytes(10), id="short"),
        pytest.param(b"\x80\xc8" + bytes(26), id="rtcp-sender-report"),
        pytest.param(b"\x8f\x00" + bytes(10), id="contributors-missing"),
        pytest.param(b"\x90\x00" + bytes(10) + b"\x00\x00\x00\x09", id="extension-beyond-the-end"),
        pytest.param(b"\xa0\x00" + bytes(10) + b"\xff", id="padding-beyond-the-start"),
        pytest.param(b"\xa0\x00" + bytes(10) + b"\x01\x00", id="padding-of-nothing"),
        pytest.param(b"\x80\x00" + bytes(2000), id="longer-than-a-frame"),
    ],
)
def test_what_is_no_rtp_is_refused(data: bytes) -> None:
    with pytest.raises(RtpError):
        rtp.parse(data)


def test_extension_contributors_and_padding_are_not_payload() -> None:
    data = (
        b"\xb1\x80\x00\x01" + bytes(8) + b"CSRC" + b"\x00\x00\x00\x01" + b"EXTN" + b"audio" + b"\x00\x00\x03"
    )
    packet = rtp.parse(data)
    assert packet.payload == b"audio"
    assert packet.marker
    assert packet.payload_type == 0


@pytest.mark.parametrize(
    ("newer", "older", "distance"),
    [(1, 0, 1), (0, 0xFFFF, 1), (0xFFFF, 0, -1), (0x8000, 0, -0x8000), (5, 0xFFF0, 21)],
)
def test_sequence_numbers_wrap(newer: int, older: int, distance: int) -> None:
    assert rtp.sequence_distance(newer, older) == distance


def _packets(sequences: list[int], ssrc: int = 1) -> list[RtpPacket]:
    return [RtpPacket(0, each & 0xFFFF, (each * 160) & 0xFFFFFFFF, ssrc, b"") for each in sequences]


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        pytest.param([1, 2, 3, 4], 0, id="none"),
        pytest.param([1, 2, 4, 6], 2, id="two"),
        pytest.param([1, 3, 2, 4], 0, id="overtaken"),
        pytest.param([0xFFFE, 0xFFFF, 0x10001, 0x10002], 1, id="across-the-wrap"),
        pytest.param([10, 11, 40_000, 40_001], 0, id="restart-is-no-loss"),
    ],
)
def test_loss_is_counted_by_sequence(sequences: list[int], lost: int) -> None:
    statistics = ReceiverStatistics(8000)
    for index, packet in enumerate(_packets(sequences)):
        statistics.count(packet, index * 20_000_000)
    assert statistics.lost == lost
    assert statistics.received == len(sequences)


def test_loss_of_an_earlier_source_is_kept() -> None:
    statistics = ReceiverStatistics(8000)
    for packet in [*_packets([1, 4]), *_packets([900, 902], ssrc=2)]:
        statistics.count(packet, 0)
    assert statistics.lost == 3


def test_jitter_is_none_on_an_even_stream_and_grows_on_an_uneven_one() -> None:
    even, uneven = ReceiverStatistics(8000), ReceiverStatistics(8000)
    for index, packet in enumerate(_packets(list(range(200)))):
        even.count(packet, index * 20_000_000)
        uneven.count(packet, index * 20_000_000 + (10_000_000 if index % 2 else 0))
    assert even.jitter_ms == 0
    assert uneven.jitter_ms == pytest.approx(10, rel=0.05)
