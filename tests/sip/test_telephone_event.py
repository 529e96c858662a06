"""Key presses: one report each, whatever the network does to their packets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.telephone_event import DIGITS, SILENT_AFTER_NS, EventReceiver, EventSender, Press


def _event(code: int, duration: int, *, end: bool = False) -> bytes:
    return struct.pack(">BBH", code, 0x80 | 10 if end else 10, duration)


def _sent(digits: str, start: int = 1000) -> list[tuple[int, bytes]]:
    """What our sender makes of digits, as timestamp and payload."""
    sender = EventSender(160)
    sender.send(digits)
    packets = []
    timestamp = start
    while not sender.idle:
        packet = sender.next_packet(timestamp & 0xFFFFFFFF)
        if packet is not None:
            packets.append((packet.timestamp, packet.payload))
        timestamp += 160
    return packets


def _received(packets: list[tuple[int, bytes]]) -> list[Press]:
    receiver = EventReceiver(8000)
    presses = []
    for index, (timestamp, payload) in enumerate(packets):
        presses += receiver.receive(timestamp, payload, index * 20_000_000)
    return presses + receiver.handle_timeout(10**12)


@pytest.mark.parametrize("start", [1000, 0xFFFFFF00], ids=["plain", "timestamp-wraps"])
def test_every_key_that_is_sent_is_reported_once_at_its_length(start: int) -> None:
    assert _received(_sent(DIGITS, start)) == [Press(digit, 100) for digit in DIGITS]


def test_the_same_key_twice_is_two_presses() -> None:
    assert [press.digit for press in _received(_sent("11"))] == ["1", "1"]


@given(st.data())
def test_loss_and_repetition_never_make_two_of_one_press(data: st.DataObject) -> None:
    digits = data.draw(st.text(DIGITS, min_size=1, max_size=6))
    packets = _sent(digits)
    by_press: dict[int, list[tuple[int, bytes]]] = {}
    for packet in packets:
        by_press.setdefault(packet[0], []).append(packet)
    arriving = []
    for press in by_press.values():
        kept = data.draw(st.lists(st.sampled_from(press), min_size=1, max_size=12))
        arriving += sorted(kept, key=press.index)
    assert "".join(press.digit for press in _received(arriving)) == digits


def test_a_press_whose_end_is_lost_is_reported_when_updates_stop() -> None:
    receiver = EventReceiver(8000)
    assert receiver.receive(0, _event(5, 160), 0) == []
    assert receiver.receive(0, _event(5, 800), 80_000_000) == []
    assert receiver.handle_timeout(80_000_000 + SILENT_AFTER_NS - 1) == []
    assert receiver.handle_timeout(80_000_000 + SILENT_AFTER_NS) == [Press("5", 100)]
    assert receiver.receive(0, _event(5, 960, end=True), 300_000_000) == []


def test_the_next_key_ends_a_press_whose_end_is_lost() -> None:
    receiver = EventReceiver(8000)
    receiver.receive(0, _event(1, 480), 0)
    assert receiver.receive(4000, _event(2, 160), 1) == [Press("1", 60)]


def test_a_key_held_for_ten_seconds_is_one_press() -> None:
    receiver = EventReceiver(8000)
    presses = receiver.receive(0, _event(9, 0xFFFF), 0)
    presses += receiver.receive(0xFFFF, _event(9, 14_465), 1)
    presses += receiver.receive(0xFFFF, _event(9, 14_465, end=True), 2)
    assert presses == [Press("9", 10_000)]


@pytest.mark.parametrize("payload", [b"", b"\x01\x80", _event(16, 100, end=True), _event(255, 1, end=True)])
def test_what_is_no_key_says_nothing(payload: bytes) -> None:
    assert _received([(0, payload)]) == []


def test_a_restarted_stream_reports_the_press_it_cut_off_and_hears_old_timestamps() -> None:
    receiver = EventReceiver(8000)
    receiver.receive(900_000, _event(3, 160), 0)
    assert receiver.restart() == [Press("3", 20)]
    assert receiver.receive(100, _event(4, 160, end=True), 1) == [Press("4", 20)]


def test_a_sent_press_begins_with_a_marker_and_ends_three_times() -> None:
    sender = EventSender(160)
    sender.send("7")
    packets = [sender.next_packet(tick * 160) for tick in range(40)]
    sent = [packet for packet in packets if packet is not None]
    assert [packet.marker for packet in sent] == [True] + [False] * (len(sent) - 1)
    assert {packet.timestamp for packet in sent} == {0}
    ends = [packet.payload for packet in sent if packet.payload[1] & 0x80]
    assert len(ends) == 3
    assert len(set(ends)) == 1


def test_what_is_no_key_is_not_sent_and_the_queue_is_bounded() -> None:
    sender = EventSender(160)
    sender.send("x y")
    assert sender.idle
    assert len(_sent("1" * 10_000)) == len(_sent("1" * 64))
