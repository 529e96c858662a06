"""Deadlines against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sip.deadlines import Deadlines

steps = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20)) | st.integers(0, 25).map(lambda now: (now,)),
    max_size=60,
)


@given(steps)
def test_what_is_due_comes_once_and_in_order(steps: list[tuple[int, int | None] | tuple[int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    expected: dict[int, int] = {}
    for step in steps:
        match step:
            case (key, at):
                deadlines.set(key, at)
                if at is None:
                    expected.pop(key, None)
                else:
                    expected[key] = at
            case (now,):
                due = []
                while (key_due := deadlines.pop_due(now)) is not None:
                    due.append((expected.pop(key_due), key_due))
                assert [at for at, _ in due] == sorted(at for at, _ in due)
                assert all(at <= now for at, _ in due)
                assert all(at > now for at in expected.values())
        assert deadlines.next() == min(expected.values(), default=None)
        assert len(deadlines) == len(expected)


def test_a_deadline_moved_for_ever_takes_no_room() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for at in range(10_000):
        deadlines.set("x", at)
    assert len(deadlines._heap) < 100
    assert deadlines.next() == 9_999
