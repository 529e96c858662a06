"""One call's media against a hostile and an unusual peer."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sip import codecs, rtp
from sip.address import Address
from sip.media_leg import MediaLeg, RtpIdentity
from sip.offer_answer import Codec, Direction, NegotiatedMedia

TICK = 20_000_000
PEER = Address("198.51.100.7", 4000)
SOURCE = ("198.51.100.7", 4000)


def _leg(codec: Codec = Codec.PCMU, dtmf: int | None = 101) -> MediaLeg:
    leg = MediaLeg(1, RtpIdentity(1, 0xFFFE, 0xFFFFFF00))
    leg.start(NegotiatedMedia(PEER, codec, codec.value, dtmf, 20, Direction.SENDRECV), PEER.host, 0)
    return leg


def _packet(number: int, *, payload_type: int = 0, ssrc: int = 7, value: int = 1000) -> bytes:
    payload = codecs.encode(Codec.PCMU, np.full(160, value, "<i2").tobytes())
    return rtp.build(payload_type, number, number * 160, ssrc, payload, marker=False)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_datagrams_leave_the_leg_working(datagrams: list[bytes]) -> None:
    leg = _leg()
    for number, data in enumerate(datagrams):
        leg.receive(data, SOURCE, number * TICK)
        leg.take_audio(number * TICK)
        leg.take_presses(number * TICK)
        assert leg.next_packet(number * TICK) is not None


def test_what_is_not_believed_is_counted() -> None:
    leg = _leg()
    leg.receive(_packet(1), SOURCE, TICK)
    leg.receive(_packet(2, payload_type=8), SOURCE, TICK)
    leg.receive(os.urandom(5), SOURCE, TICK)
    leg.receive(_packet(2), ("192.0.2.66", 1), TICK)
    leg.receive(rtp.build(0, 2, 320, 7, bytes(2000), marker=False), SOURCE, TICK)
    statistics = leg.statistics()
    assert (statistics.packets_received, statistics.packets_rejected) == (1, 4)


def test_a_sender_that_restarts_in_mid_call_is_heard_again() -> None:
    leg = _leg()
    heard = b""
    for number in range(100):
        restarted = number >= 50
        data = _packet(
            number - 50 if restarted else 900 + number,
            ssrc=9 if restarted else 7,
            value=2000 if restarted else 1000,
        )
        leg.receive(data, SOURCE, (number + 1) * TICK)
        heard += leg.take_audio((number + 1) * TICK)[1]
    samples = np.frombuffer(heard, "<i2")
    # Three packets of the new stream are needed to believe it; the first two are lost.
    assert np.count_nonzero(np.abs(samples - 2000.0) < 100) == 48 * 160
    assert np.count_nonzero(np.abs(samples - 1000.0) < 50) == 50 * 160
    assert len(samples) == 100 * 160


def test_sequence_and_timestamp_wrap_on_the_way_out() -> None:
    leg = _leg()
    packets = [rtp.parse(leg.next_packet(number * TICK) or b"") for number in range(5)]
    assert [packet.sequence for packet in packets] == [0xFFFF, 0, 1, 2, 3]
    assert [packet.timestamp for packet in packets] == [0xFFFFFFA0, 0x40, 0xE0, 0x180, 0x220]


def test_ticks_that_were_skipped_are_time_that_passed_but_nothing_of_the_utterance() -> None:
    leg = _leg()
    leg.playout.play(1, np.full(320, 8000, "<i2").tobytes(), True, 0)
    first = rtp.parse(leg.next_packet(TICK) or b"")
    second = rtp.parse(leg.next_packet(20 * TICK, ticks=19) or b"")
    assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == 19 * 160
    assert second.sequence == (first.sequence + 1) & 0xFFFF
    assert first.payload == second.payload
    assert leg.playout.drained


def test_keys_for_a_peer_that_knows_none_do_not_keep_a_call_open() -> None:
    leg = _leg(dtmf=None)
    leg.dtmf.send("123")
    packet = rtp.parse(leg.next_packet(TICK) or b"")
    assert packet.payload_type == 0
    assert leg.drained


def test_each_codec_goes_out_under_its_number() -> None:
    leg = _leg(Codec.PCMA)
    leg.playout.play(1, np.full(160, 8000, "<i2").tobytes(), True, 0)
    packet = rtp.parse(leg.next_packet(TICK) or b"")
    assert packet.payload_type == 8
    decoded = np.frombuffer(codecs.decode(Codec.PCMA, packet.payload), "<i2")
    assert np.all(np.abs(decoded - 8000.0) < 400)
