"""Marks by what a client says it has played."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sip.leg_protocol import Mark, MarkKind
from sip.playout import Playout
from sip.websocket.played_marks import HOLD_LIMIT_NS, PlayedMarks

MS = 1_000_000
FRAME = 160


def mark(kind: MarkKind, played: int, at_ms: int = 0, utterance: int = 1) -> Mark:
    return Mark(1, utterance, kind, played, at_ms * MS)


def kinds(marks: list[Mark]) -> list[MarkKind]:
    return [one.kind for one in marks]


def test_without_reports_marks_are_told_as_they_are_made() -> None:
    marks = PlayedMarks()
    made = [mark(MarkKind.STARTED, 0)]
    marks.send(FRAME, made)
    assert marks.take(0) == made
    stopped = [mark(MarkKind.STOPPED, FRAME)]
    marks.clear(stopped)
    assert marks.take(0) == stopped


def test_a_mark_waits_until_the_client_has_played_up_to_it() -> None:
    marks = PlayedMarks()
    marks.report(0, 0)
    marks.send(FRAME, [mark(MarkKind.STARTED, 0)])
    marks.send(FRAME, [mark(MarkKind.FINISHED, 2 * FRAME)])
    assert marks.take(20 * MS) == []
    marks.report(80, 60 * MS)
    (started,) = marks.take(60 * MS)
    assert (started.kind, started.at_ns) == (MarkKind.STARTED, 60 * MS)
    marks.report(2 * FRAME, 100 * MS)
    assert kinds(marks.take(100 * MS)) == [MarkKind.FINISHED]
    assert marks.idle


def test_what_the_client_drops_was_not_played() -> None:
    marks = PlayedMarks()
    marks.report(0, 0)
    for _ in range(5):
        marks.send(FRAME, [])
    marks.report(3 * FRAME, 0)
    marks.clear([mark(MarkKind.PAUSED, 5 * FRAME)])
    (paused,) = marks.take(0)
    assert paused.played == 3 * FRAME
    # What was dropped is never reported; counting goes on without it.
    marks.send(FRAME, [mark(MarkKind.FINISHED, 6 * FRAME)])
    marks.report(4 * FRAME, 0)
    assert kinds(marks.take(0)) == [MarkKind.FINISHED]


def test_a_client_that_stops_reporting_keeps_nobody_waiting() -> None:
    marks = PlayedMarks()
    marks.report(0, 0)
    marks.send(FRAME, [mark(MarkKind.FINISHED, FRAME)])
    assert marks.take(HOLD_LIMIT_NS - 1) == []
    assert kinds(marks.take(HOLD_LIMIT_NS)) == [MarkKind.FINISHED]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("play"), st.integers(1, 1000)),
            st.tuples(st.just("tick"), st.integers(1, 20)),
            st.tuples(st.just("stop"), st.just(0)),
            st.tuples(st.just("report"), st.integers(0, 4000)),
        ),
        max_size=40,
    )
)
def test_no_mark_is_lost_and_none_claims_more_than_was_sent(actions: list[tuple[str, int]]) -> None:
    playout, marks = Playout(1, 8000), PlayedMarks()
    now, newest, told, made = 0, 0, [], 0
    for action, amount in actions:
        if action == "play":
            newest += 1
            playout.play(newest, bytes(2 * amount), True, now)
        elif action == "tick":
            for _ in range(amount):
                now += 20 * MS
                between = playout.marks()
                marks.add(between)
                made += len(between)
                if playout.next_frame(FRAME, now) is not None:
                    by_frame = playout.marks()
                    marks.send(FRAME, by_frame)
                    made += len(by_frame)
                told += marks.take(now)
        elif action == "stop":
            playout.stop(now)
            stopped = playout.marks()
            made += len(stopped)
            marks.clear(stopped)
        else:
            marks.report(amount, now)
    told += marks.take(now + HOLD_LIMIT_NS)
    left = playout.marks()
    assert len(told) == made
    assert all(one.played >= 0 for one in told + left)
    for utterance in range(1, newest + 1):
        of_it = [one.kind for one in told + left if one.utterance_id == utterance]
        assert of_it.count(MarkKind.STARTED) <= 1
        assert sum(kind in (MarkKind.FINISHED, MarkKind.STOPPED) for kind in of_it) <= 1
        if MarkKind.STARTED in of_it:
            assert of_it[0] is MarkKind.STARTED
