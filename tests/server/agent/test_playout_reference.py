"""The reference against the wire: the door's own media leg in virtual time, and whatever an agent may do to it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.agent.playout_reference import PlayoutReference
from sip import codecs, rtp
from sip.address import Address
from sip.leg_protocol import Mark, MarkKind, Play
from sip.media_leg import MediaLeg, RtpIdentity
from sip.offer_answer import Codec, Direction, NegotiatedMedia
from sip.playout import Playout

TICK = 20_000_000
PEER = Address("198.51.100.7", 4000)
FRAME = 160


def media(direction: Direction = Direction.SENDRECV) -> NegotiatedMedia:
    return NegotiatedMedia(PEER, Codec.PCMU, 0, 101, 20, direction)


class Line:
    """A leg as a door drives it, the samples that left it, and the reference made from what the agent is told."""

    def __init__(self) -> None:
        self.leg = MediaLeg(1, RtpIdentity(1, 0, 0))
        self.leg.start(media(), PEER.host, 0)
        self.reference = PlayoutReference(8000, limit_ms=120_000)
        self.wire = b""
        self.tick_number = 0
        self.made = 0

    def play(self, utterance_id: int, samples: int, final: bool) -> None:
        # Every sample is another one, so that a shift of one would show.
        values = (np.arange(self.made, self.made + samples) % 30_000 + 100).astype("<i2")
        self.made += samples
        message = Play(1, utterance_id, values.tobytes(), final)
        self.reference.play(message)
        self.leg.playout.play(utterance_id, message.pcm, final, self.tick_number * TICK)

    def tick(self, ticks: int = 1) -> None:
        self.tick_number += ticks
        packet = self.leg.next_packet(self.tick_number * TICK, ticks)
        self.wire += bytes(2 * FRAME * (ticks - 1))
        parsed = rtp.parse(packet) if packet is not None else None
        audible = parsed is not None and parsed.payload_type == 0
        self.wire += codecs.decode(Codec.PCMU, parsed.payload) if parsed and audible else bytes(2 * FRAME)
        for mark in self.leg.playout.marks():
            self.reference.mark(mark)
        self.reference.tick(self.tick_number, *self.leg.playout.position)

    def heard(self) -> bytes:
        """The reference as it is after the codec; its clock has tick 1 end at the end of frame 1."""
        pcm = self.reference.slice(0, self.tick_number * FRAME)
        return codecs.decode(Codec.PCMU, codecs.encode(Codec.PCMU, pcm))


class Deeds:
    """What an agent, a far end and a clock may do."""

    STEPS = st.one_of(
        st.tuples(st.just("play"), st.integers(1, 4), st.integers(0, 900), st.booleans()),
        st.tuples(st.sampled_from(["pause", "resume", "stop", "keys", "hold", "unhold"])),
        st.tuples(st.just("tick"), st.integers(1, 12)),
        st.tuples(st.just("skip"), st.integers(2, 30)),
    )

    @staticmethod
    def do(line: Line, deed: tuple[object, ...]) -> None:
        now = line.tick_number * TICK
        match deed:
            case ("play", int(utterance_id), int(samples), bool(final)):
                line.play(utterance_id, samples, final)
            case ("pause",):
                line.leg.playout.pause(now)
            case ("resume",):
                line.leg.playout.resume(now)
            case ("stop",):
                line.leg.playout.stop(now)
            case ("keys",):
                line.leg.dtmf.send("5")
            case ("hold",):
                line.leg.renegotiate(media(Direction.RECVONLY), now)
            case ("unhold",):
                line.leg.renegotiate(media(), now)
            case ("tick", int(count)):
                for _ in range(count):
                    line.tick()
            case ("skip", int(count)):
                line.tick(count)


@settings(max_examples=400, deadline=None)
@given(st.lists(Deeds.STEPS, max_size=60))
def test_the_reference_is_what_left_the_door_sample_by_sample(deeds: list[tuple[object, ...]]) -> None:
    line = Line()
    line.tick()
    for deed in deeds:
        Deeds.do(line, deed)
    line.tick()
    assert np.array_equal(_without_rest(line.heard()), _without_rest(line.wire))


def _without_rest(pcm: bytes) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return samples with the smallest as 0: a packet of silence holds another octet than a coded 0."""
    samples = np.frombuffer(pcm, "<i2").copy()
    samples[np.abs(samples) <= 8] = 0
    return samples


def test_ticks_whose_message_was_dropped_do_not_shift_what_follows() -> None:
    reference, playout = PlayoutReference(8000), Playout(1, 8000)
    pcm = np.arange(1, 1601, dtype="<i2").tobytes()
    playout.play(1, pcm, False, 0)
    reference.play(Play(1, 1, pcm, False))
    for tick in range(1, 9):
        playout.next_frame(FRAME, tick * TICK)
        if tick not in (3, 4, 5):
            reference.tick(tick, *playout.position)
    assert reference.slice(0, 8 * FRAME) == pcm[: 16 * FRAME]


def test_what_nobody_here_said_is_silence() -> None:
    """An agent that takes over does not know what the lost one was saying."""
    reference = PlayoutReference(8000)
    reference.tick(100, 7, 4000)
    reference.tick(101, 7, 4160)
    reference.mark(Mark(1, 7, MarkKind.FINISHED, 4200, 0))
    reference.tick(102, 0, 0)
    assert reference.slice(99 * FRAME, 102 * FRAME) == bytes(6 * FRAME)
    assert reference.audible_end == 0


def test_memory_is_bounded_by_what_the_door_takes_and_by_two_seconds_of_past() -> None:
    reference = PlayoutReference(8000)
    second = bytes(16_000)
    for number in range(1, 400):
        reference.play(Play(1, number, second, True))
    held = sum(len(utterance.pcm) for utterance in reference._utterances.values())
    assert held <= 60 * 16_000
    assert len(reference._utterances) <= 256
    for tick in range(1, 3000):
        reference.tick(tick, 1, min(8000, tick * FRAME))
    assert len(reference._history._pcm) <= 3 * 16_000
