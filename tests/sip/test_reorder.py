"""Caller audio in order and gapless, over every way a network and a telephone can treat it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.reorder import MAX_HELD_PACKETS, PATIENCE_MS, Reorder

MS = 1_000_000
FRAME = 160


@dataclass(frozen=True)
class Packet:
    """A packet of a telephone: its audio says its number in every sample."""

    number: int
    timestamp: int
    arrival_ns: int

    @property
    def pcm(self) -> bytes:
        return np.full(FRAME, self.number, "<i2").tobytes()


def _talk(numbers: range, *, start: int = 5000, delay_ms: float = 10) -> list[Packet]:
    """Packet ``n`` is spoken from n * 20 ms on and arrives when it is complete, after the delay."""
    return [Packet(n, (start + n * FRAME) & 0xFFFFFFFF, int(((n + 1) * 20 + delay_ms) * MS)) for n in numbers]


def _listen(
    packets: list[Packet], until_ms: int, reorder: Reorder | None = None
) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Play packets against a 20 ms clock; return what came out and hold that offsets are gapless."""
    reorder = reorder or Reorder(8000, 0, FRAME)
    waiting = sorted(packets, key=lambda packet: packet.arrival_ns)
    heard = b""
    for now_ms in range(20, until_ms + 1, 20):
        while waiting and waiting[0].arrival_ns <= now_ms * MS:
            packet = waiting.pop(0)
            reorder.push(packet.timestamp, packet.pcm, packet.arrival_ns)
        offset, pcm = reorder.take(now_ms * MS)
        assert offset == len(heard) // 2
        heard += pcm
        # By the clock, within the patience and what a burst may bring.
        assert len(heard) // 16 >= now_ms - PATIENCE_MS - 20
    return np.frombuffer(heard, "<i2")


def _numbers(heard: np.ndarray[tuple[int], np.dtype[np.int16]]) -> list[int]:
    """Return the packets heard, in order, silence left out."""
    found: list[int] = []
    for number in heard.tolist():
        if number and (not found or found[-1] != number):
            found.append(number)
    return found


def test_an_even_stream_comes_out_at_once_and_whole() -> None:
    reorder = Reorder(8000, 0, FRAME)
    for packet in _talk(range(1, 51)):
        reorder.push(packet.timestamp, packet.pcm, packet.arrival_ns)
        _, pcm = reorder.take(packet.arrival_ns + MS)
        assert pcm.endswith(packet.pcm)
    assert reorder.late == 0


def test_timestamps_may_wrap() -> None:
    heard = _listen(_talk(range(1, 51), start=0xFFFFF000), 1100)
    assert _numbers(heard) == list(range(1, 51))


def test_overtaken_packets_are_put_in_order() -> None:
    packets = _talk(range(1, 31))
    packets[9] = Packet(10, packets[9].timestamp, packets[11].arrival_ns + MS)
    heard = _listen(packets, 700)
    assert _numbers(heard) == list(range(1, 31))


def test_a_lost_packet_becomes_silence_of_its_length() -> None:
    packets = [packet for packet in _talk(range(1, 31)) if packet.number not in (10, 11)]
    heard = _listen(packets, 700)
    assert _numbers(heard) == [n for n in range(1, 31) if n not in (10, 11)]
    nine, twelve = np.flatnonzero(heard == 9)[-1], np.flatnonzero(heard == 12)[0]
    assert twelve - nine == 2 * FRAME + 1


def test_a_repeated_packet_is_heard_once() -> None:
    packets = _talk(range(1, 31))
    heard = _listen([*packets, *packets[3:20]], 700)
    assert _numbers(heard) == list(range(1, 31))


def test_when_frames_stop_time_goes_on_as_silence() -> None:
    heard = _listen([*_talk(range(1, 26)), *_talk(range(100, 126))], 2700)
    assert _numbers(heard) == [*range(1, 26), *range(100, 126)]
    pause = np.flatnonzero(heard == 100)[0] - np.flatnonzero(heard == 25)[-1] - 1
    assert pause == (100 - 26) * FRAME


def test_nothing_ever_heard_is_silence_by_the_clock() -> None:
    heard = _listen([], 3000)
    assert len(heard) == (3000 - PATIENCE_MS) * 8
    assert not heard.any()


def test_what_comes_after_its_place_was_filled_is_late() -> None:
    packets = _talk(range(1, 31))
    packets[9] = Packet(10, packets[9].timestamp, packets[9].arrival_ns + 400 * MS)
    reorder = Reorder(8000, 0, FRAME)
    heard = _listen(packets, 800, reorder)
    assert _numbers(heard) == [n for n in range(1, 31) if n != 10]
    assert reorder.late == 1


def test_a_stall_shorter_than_the_patience_loses_nothing() -> None:
    packets = [
        Packet(
            p.number,
            p.timestamp,
            max(p.arrival_ns, 480 * MS) if 400 * MS < p.arrival_ns < 480 * MS else p.arrival_ns,
        )
        for p in _talk(range(1, 41))
    ]
    reorder = Reorder(8000, 0, FRAME)
    assert _numbers(_listen(packets, 900, reorder)) == list(range(1, 41))
    assert reorder.late == 0


def test_a_sender_that_restarts_its_timestamps_is_heard_again() -> None:
    again = [
        Packet(n, 77 + n * FRAME, packet.arrival_ns)
        for n, packet in zip(range(31, 61), _talk(range(31, 61)), strict=True)
    ]
    heard = _listen([*_talk(range(1, 31), start=2_000_000), *again], 1400)
    # The first packet with a strange timestamp is not believed yet.
    assert _numbers(heard) == [*range(1, 31), *range(32, 61)]


def test_one_stray_timestamp_changes_nothing() -> None:
    packets = _talk(range(1, 31))
    packets[14] = Packet(15, 3_000_000_000, packets[14].arrival_ns)
    heard = _listen(packets, 700)
    assert _numbers(heard) == [n for n in range(1, 31) if n != 15]


def test_a_clock_that_stood_still_in_silence_goes_on() -> None:
    """Some telephones do not count the time for which they were silent."""
    later = [
        Packet(n, 5000 + n * FRAME, p.arrival_ns + 600 * MS)
        for n, p in zip(range(31, 81), _talk(range(31, 81)), strict=True)
    ]
    numbers = _numbers(_listen([*_talk(range(1, 31)), *later], 2400))
    assert numbers[:30] == list(range(1, 31))
    assert numbers[30:] == list(range(numbers[30], 81))
    assert numbers[30] <= 36


def test_another_stream_is_placed_by_the_clock() -> None:
    reorder = Reorder(8000, 0, FRAME)
    _listen(_talk(range(1, 31)), 620, reorder)
    reorder.restart()
    reorder.push(4_000_000_000, np.full(FRAME, 99, "<i2").tobytes(), 640 * MS)
    offset, pcm = reorder.take(640 * MS)
    assert offset + len(pcm) // 2 == 640 * 8
    assert np.frombuffer(pcm, "<i2")[-FRAME:].tolist() == [99] * FRAME


@pytest.mark.parametrize("parts_per_million", [-300, 300], ids=["slow", "fast"])
def test_a_sender_whose_clock_drifts_loses_nothing_in_half_an_hour(parts_per_million: int) -> None:
    reorder = Reorder(8000, 0, FRAME)
    tick_ns = 0
    for n in range(1, 90_000):
        arrival_ns = int((n + 1) * 20 * MS * (1 - parts_per_million / 1e6)) + 10 * MS
        while tick_ns + 20 * MS <= arrival_ns:
            tick_ns += 20 * MS
            reorder.take(tick_ns)
        reorder.push((n * FRAME) & 0xFFFFFFFF, bytes(2 * FRAME), arrival_ns)
    assert reorder.late == 0
    assert abs(reorder.offset - 90_000 * FRAME) < 8 * FRAME


@pytest.mark.parametrize("frame_ms", [10, 30, 60])
def test_any_packet_length_is_taken(frame_ms: int) -> None:
    reorder = Reorder(8000, 0, FRAME)
    samples = frame_ms * 8
    heard = b""
    for n in range(50):
        now = (n + 1) * frame_ms * MS
        reorder.push(n * samples, np.full(samples, n + 1, "<i2").tobytes(), now)
        heard += reorder.take(now)[1]
    assert _numbers(np.frombuffer(heard, "<i2")) == list(range(1, 51))
    assert len(heard) // 2 == 50 * samples


@given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.3), jitter_ms=st.floats(0, 55))
def test_whatever_the_network_does_nothing_is_out_of_order_or_repeated(
    seed: int, loss: float, jitter_ms: float
) -> None:
    dice = random.Random(seed)
    packets = [
        Packet(p.number, p.timestamp, p.arrival_ns + int(dice.random() * jitter_ms * MS))
        for p in _talk(range(1, 80))
        if dice.random() >= loss
    ]
    reorder = Reorder(8000, 0, FRAME)
    numbers = _numbers(_listen(packets, 2000, reorder))
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= {packet.number for packet in packets}
    # Jitter below the patience costs nothing; the order of three packets is what a gap waits for.
    assert len(numbers) + reorder.late == len(packets)


def test_a_flood_of_packets_ahead_of_their_turn_is_bounded() -> None:
    reorder = Reorder(8000, 0, FRAME)
    reorder.push(0, bytes(2 * FRAME), 20 * MS)
    for n in range(10_000):
        reorder.push(200 + n % 7000, b"\1\0", 21 * MS)
    _, pcm = reorder.take(40 * MS)
    assert reorder.late >= 10_000 - MAX_HELD_PACKETS
    assert len(pcm) <= 2 * (FRAME + 200 + 7000)
