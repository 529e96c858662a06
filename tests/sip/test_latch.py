"""Whose media a leg believes."""

from __future__ import annotations

import pytest

from sip.address import Address
from sip.latch import SSRC_PROBATION_PACKETS, WINDOW_NS, Latch, SourceLatch, Verdict
from sip.rtp import RtpPacket

CALLER = Address("198.51.100.7", 4000)
CALLER_SOURCE = ("198.51.100.7", 4000)
NAT = ("203.0.113.9", 61_000)
STRANGER = ("192.0.2.66", 9999)


def _packet(ssrc: int = 1, payload_type: int = 0) -> RtpPacket:
    return RtpPacket(payload_type, 1, 160, ssrc, b"x")


def _latch(signalling_host: str = "203.0.113.9") -> SourceLatch:
    return SourceLatch(CALLER, signalling_host, (0, 101))


def test_before_anything_is_heard_media_goes_where_the_description_says() -> None:
    assert _latch().destination == CALLER


def test_the_negotiated_source_locks_at_once() -> None:
    latch = _latch()
    assert latch.judge(_packet(), CALLER_SOURCE, 0) is Verdict.ACCEPT_NEW_SOURCE
    assert latch.state is Latch.LOCKED
    assert latch.judge(_packet(), NAT, 1) is Verdict.REJECT


def test_a_caller_behind_a_nat_is_heard_and_answered_where_it_really_is() -> None:
    latch = _latch()
    assert latch.judge(_packet(), NAT, 0) is Verdict.ACCEPT_NEW_SOURCE
    assert latch.destination == Address(*NAT)
    assert latch.judge(_packet(), NAT, WINDOW_NS * 10) is Verdict.ACCEPT


def test_a_stranger_who_is_first_loses_to_the_caller_within_the_window() -> None:
    latch = _latch()
    latch.judge(_packet(ssrc=666), STRANGER, 0)
    assert latch.judge(_packet(), CALLER_SOURCE, WINDOW_NS - 1) is Verdict.ACCEPT_NEW_SOURCE
    assert latch.judge(_packet(ssrc=666), STRANGER, WINDOW_NS) is Verdict.REJECT
    assert latch.destination == CALLER


def test_a_stranger_loses_to_the_host_that_signals() -> None:
    latch = _latch()
    latch.judge(_packet(ssrc=666), STRANGER, 0)
    assert latch.judge(_packet(), NAT, 1) is Verdict.ACCEPT_NEW_SOURCE
    assert latch.judge(_packet(ssrc=666), STRANGER, 2) is Verdict.REJECT


def test_once_the_window_is_over_nobody_takes_the_call_over() -> None:
    latch = _latch()
    latch.judge(_packet(), NAT, 0)
    assert latch.judge(_packet(ssrc=2), CALLER_SOURCE, WINDOW_NS) is Verdict.REJECT
    assert latch.destination == Address(*NAT)


@pytest.mark.parametrize("payload_type", [8, 13, 96])
def test_a_payload_type_that_was_not_negotiated_does_not_even_latch(payload_type: int) -> None:
    latch = _latch()
    assert latch.judge(_packet(payload_type=payload_type), CALLER_SOURCE, 0) is Verdict.REJECT
    assert latch.state is Latch.WAITING


def test_forged_packets_between_those_of_the_caller_never_take_over() -> None:
    latch = _latch()
    latch.judge(_packet(), CALLER_SOURCE, 0)
    for _ in range(50):
        assert latch.judge(_packet(ssrc=666), CALLER_SOURCE, 1) is Verdict.REJECT
        assert latch.judge(_packet(), CALLER_SOURCE, 1) is Verdict.ACCEPT


def test_a_sender_that_restarts_with_another_ssrc_is_heard_again() -> None:
    latch = _latch()
    latch.judge(_packet(), CALLER_SOURCE, 0)
    verdicts = [latch.judge(_packet(ssrc=2), CALLER_SOURCE, 1) for _ in range(SSRC_PROBATION_PACKETS)]
    assert verdicts == [Verdict.REJECT] * (SSRC_PROBATION_PACKETS - 1) + [Verdict.ACCEPT_NEW_SOURCE]
    assert latch.judge(_packet(ssrc=2), CALLER_SOURCE, 2) is Verdict.ACCEPT


def test_a_new_description_moves_media_and_the_same_one_does_not() -> None:
    latch = _latch()
    latch.judge(_packet(), CALLER_SOURCE, 0)
    latch.renegotiate(CALLER, (0, 101))
    assert latch.judge(_packet(ssrc=3), NAT, 1) is Verdict.REJECT
    latch.renegotiate(Address("198.51.100.8", 5000), (0,))
    assert latch.destination == Address("198.51.100.8", 5000)
    assert latch.judge(_packet(ssrc=3), ("198.51.100.8", 5000), 2) is Verdict.ACCEPT_NEW_SOURCE
