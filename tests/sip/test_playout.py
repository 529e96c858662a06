"""What the caller hears and what the marks say about it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sip.leg_protocol import MAX_QUEUED_MS, Mark, MarkKind
from sip.playout import Playout

FRAME = 160
TICK = 20_000_000


def _pcm(value: int, samples: int) -> bytes:
    return np.full(samples, value, "<i2").tobytes()


class Wire:
    """Plays a queue tick by tick and keeps what was sent."""

    def __init__(self) -> None:
        self.playout = Playout(7, 8000)
        self.now = 0
        self.sent: list[int] = []
        self.marks: list[Mark] = []

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += TICK
            frame = self.playout.next_frame(FRAME, self.now)
            samples = [0] * FRAME if frame is None else np.frombuffer(frame, "<i2").tolist()
            assert len(samples) == FRAME
            self.sent += samples
        self.marks += self.playout.marks()

    def told(self) -> list[tuple[int, MarkKind, int]]:
        self.marks += self.playout.marks()
        return [(mark.utterance_id, mark.kind, mark.played) for mark in self.marks]


def test_an_utterance_is_sent_whole_and_marked_when_its_samples_are() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(5, 400), True, 0)
    wire.run(4)
    assert wire.sent == [5] * 400 + [0] * 240
    assert wire.told() == [(1, MarkKind.STARTED, 0), (1, MarkKind.FINISHED, 400)]
    assert [mark.at_ns for mark in wire.marks] == [TICK, 3 * TICK]
    assert wire.marks[0].leg_id == 7


def test_utterances_follow_each_other_without_a_gap() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 200), True, 0)
    wire.playout.play(2, _pcm(2, 200), True, 0)
    wire.run(3)
    assert wire.sent[:400] == [1] * 200 + [2] * 200


def test_an_utterance_that_is_still_being_made_is_waited_for() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 160), False, 0)
    wire.playout.play(2, _pcm(2, 160), True, 0)
    wire.run(3)
    assert 2 not in wire.sent
    wire.playout.play(1, _pcm(1, 160), True, wire.now)
    wire.run(3)
    assert [value for value in wire.sent if value] == [1] * 320 + [2] * 160
    assert wire.told()[-1] == (2, MarkKind.FINISHED, 160)


def test_the_end_of_an_utterance_may_come_after_its_last_sample() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 160), False, 0)
    wire.run(2)
    assert wire.told() == [(1, MarkKind.STARTED, 0)]
    wire.playout.play(1, b"", True, wire.now)
    assert wire.told()[-1] == (1, MarkKind.FINISHED, 160)


def test_a_pause_silences_at_the_next_tick_and_resuming_loses_nothing() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 800), True, 0)
    wire.run(2)
    wire.playout.pause(wire.now)
    wire.run(5)
    assert wire.sent[320:] == [0] * 800
    wire.playout.resume(wire.now)
    wire.run(4)
    assert [value for value in wire.sent if value] == [1] * 800
    kinds = [(kind, played) for _, kind, played in wire.told()]
    assert kinds == [
        (MarkKind.STARTED, 0),
        (MarkKind.PAUSED, 320),
        (MarkKind.RESUMED, 320),
        (MarkKind.FINISHED, 800),
    ]


def test_stop_drops_everything_and_says_what_was_heard_of_each() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 320), True, 0)
    wire.playout.play(2, _pcm(2, 800), False, 0)
    wire.playout.play(3, _pcm(3, 160), True, 0)
    wire.run(3)
    wire.playout.stop(wire.now)
    wire.run(3)
    assert 3 not in wire.sent
    assert wire.told()[2:] == [
        (2, MarkKind.STARTED, 0),
        (2, MarkKind.STOPPED, 160),
        (3, MarkKind.STOPPED, 0),
    ]


def test_chunks_still_under_way_when_it_was_stopped_are_not_heard() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 800), False, 0)
    wire.run(1)
    wire.playout.stop(wire.now)
    wire.playout.play(1, _pcm(1, 800), True, wire.now)
    wire.playout.play(2, _pcm(2, 160), True, wire.now)
    wire.run(2)
    assert wire.sent[160:] == [2] * 160 + [0] * 160


def test_stop_ends_a_pause() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 800), True, 0)
    wire.playout.pause(0)
    wire.playout.stop(0)
    wire.playout.play(2, _pcm(2, 160), True, 0)
    wire.run(1)
    assert wire.sent == [2] * 160


def test_more_than_a_minute_is_refused_and_told_once() -> None:
    wire = Wire()
    second = _pcm(1, 8000)
    for _ in range(MAX_QUEUED_MS // 1000):
        wire.playout.play(1, second, False, 0)
    for _ in range(3):
        wire.playout.play(1, _pcm(9, 160), False, 0)
    wire.playout.play(1, _pcm(9, 160), True, 0)
    assert wire.told() == [(1, MarkKind.OVERFLOW, 0)]
    wire.run(MAX_QUEUED_MS // 20 + 1)
    assert 9 not in wire.sent
    assert wire.told()[-1] == (1, MarkKind.FINISHED, MAX_QUEUED_MS * 8)


def test_a_flood_of_empty_utterances_is_bounded() -> None:
    wire = Wire()
    for number in range(1, 2000):
        wire.playout.play(number, b"", False, 0)
    assert any(kind is MarkKind.OVERFLOW for _, kind, _ in wire.told())


def test_what_a_lost_agent_began_is_finished_even_if_it_was_paused() -> None:
    wire = Wire()
    wire.playout.play(1, _pcm(1, 320), False, 0)
    wire.playout.play(2, _pcm(2, 160), True, 0)
    wire.playout.pause(0)
    wire.playout.close(0)
    wire.run(3)
    assert wire.sent == [1] * 320 + [2] * 160
    assert wire.playout.drained


_COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(1, 6), st.integers(0, 700), st.booleans()),
        st.tuples(
            st.sampled_from(["pause", "resume", "stop", "tick"]), st.just(0), st.just(0), st.just(False)
        ),
    ),
    max_size=60,
)


@given(_COMMANDS)
def test_marks_always_count_exactly_the_samples_on_the_wire(
    commands: list[tuple[str, int, int, bool]],
) -> None:
    wire = Wire()
    for command, utterance_id, samples, final in commands:
        match command:
            case "play":
                wire.playout.play(utterance_id, _pcm(utterance_id, samples), final, wire.now)
            case "pause":
                wire.playout.pause(wire.now)
            case "resume":
                wire.playout.resume(wire.now)
            case "stop":
                wire.playout.stop(wire.now)
            case _:
                wire.run(1)
    closed = [told for told in wire.told() if told[1] in (MarkKind.STOPPED, MarkKind.FINISHED)]
    assert len({utterance_id for utterance_id, _, _ in closed}) == len(closed)
    for utterance_id, _, played in closed:
        assert wire.sent.count(utterance_id) == played
