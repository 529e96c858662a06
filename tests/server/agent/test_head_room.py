"""Head-room: nothing flutters, more load never means more room, and all comes back when the load is gone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.protocols import Priority
from server.agent.head_room import HeadRoom, HeadRoomSettings, ModelKind, Shedding

MS = 1_000_000
S = 1_000_000_000
TWO_CORES = HeadRoomSettings(
    places={"stt": 1, "turn": 1, "tts": 1, "llm": 2},
    host_threads={"stt": 2, "turn": 2, "tts": 2, "llm": 2},
    host_cores=2,
)


class Machine:
    """A head-room with a clock, loaded evenly."""

    def __init__(self, *, capacity: int = 8, settings: HeadRoomSettings = TWO_CORES) -> None:
        self.room = HeadRoom(settings, capacity=capacity)
        self.now = 0
        self.steps: list[Shedding] = [Shedding.NOTHING]
        self.capacities: list[int] = []

    def calls(self, up: int) -> None:
        self.room.calls(up, self.now)

    def load(
        self,
        share: float,
        seconds: float,
        *,
        priority: Priority = Priority.FINAL,
        kind: ModelKind = "llm",
        waited_ms: float = 0.0,
        wasted: bool = False,
    ) -> None:
        """Work ``share`` of every half second for so long, looking at the answers each time."""
        for _ in range(round(seconds * 2)):
            ran = round(share * 500) * MS
            if ran:
                self.room.began(kind, priority, self.now)
                self.now += ran
                self.room.ended(kind, priority, waited_ms, ran / MS, self.now)
                if wasted:
                    self.room.wasted(kind, ran / MS, self.now)
            self.now += 500 * MS - ran
            self.look()

    def look(self) -> None:
        self.capacities.append(self.room.capacity(self.now))
        step = self.room.shedding(self.now)
        if step is not self.steps[-1]:
            self.steps.append(step)


def test_speculation_goes_first_then_partials_and_final_work_never() -> None:
    machine = Machine()
    machine.calls(4)
    allowed = set()
    for _ in range(20):
        machine.load(1.0, 0.5)
        allowed.add(
            (
                machine.room.allows(Priority.FINAL, machine.now),
                machine.room.allows(Priority.SPECULATIVE, machine.now),
                machine.room.allows(Priority.PARTIAL, machine.now),
            )
        )
    assert machine.steps == [Shedding.NOTHING, Shedding.SPECULATION, Shedding.PARTIALS]
    assert allowed == {(True, True, True), (True, False, True), (True, False, False)}


def test_each_step_gets_its_time() -> None:
    """A second to show its effect on the way up, three of calm on the way down."""
    machine = Machine()
    machine.calls(2)
    changed: dict[Shedding, int] = {}
    while machine.room.shedding(machine.now) is not Shedding.PARTIALS:
        machine.load(1.0, 0.5)
        changed.setdefault(machine.steps[-1], machine.now)
    assert changed[Shedding.PARTIALS] - changed[Shedding.SPECULATION] >= 1 * S
    calm_at, restored = None, []
    while machine.steps[-1] is not Shedding.NOTHING:
        machine.load(0.0, 0.5)
        if calm_at is None and machine.room.busy(machine.now) <= TWO_CORES.restore_share:
            calm_at = machine.now
        if len(machine.steps) > 3:
            restored.append(machine.now)
    assert calm_at is not None
    assert (restored[0] - calm_at, machine.now - calm_at) == (3 * S, 6 * S)


def test_work_that_waits_is_a_sign_of_its_own() -> None:
    """Somebody else may keep the worker busy, which only the waiting shows."""
    machine = Machine()
    machine.calls(2)
    machine.load(0.1, 5, waited_ms=250)
    assert machine.steps == [Shedding.NOTHING, Shedding.SPECULATION]
    machine.load(0.1, 5, waited_ms=450)
    assert machine.steps[-1] is Shedding.PARTIALS


def test_a_lone_call_keeps_everything_however_busy_it_makes_the_models() -> None:
    machine = Machine()
    machine.calls(1)
    machine.load(1.0, 30, waited_ms=1000)
    assert machine.room.allows(Priority.SPECULATIVE, machine.now)


def test_work_that_has_not_ended_counts() -> None:
    machine = Machine()
    machine.calls(2)
    machine.room.began("llm", Priority.FINAL, 0)
    assert machine.room.shedding(2 * S) is Shedding.NOTHING
    assert machine.room.shedding(5 * S) is Shedding.SPECULATION


def test_work_whose_end_is_never_told_is_given_up() -> None:
    machine = Machine()
    machine.calls(2)
    machine.room.began("llm", Priority.FINAL, 0)
    assert machine.room.busy(20 * S) == 1.0
    assert machine.room.busy(31 * S) == 0.0


@given(st.lists(st.floats(0.62, 0.83), min_size=1, max_size=60), st.sampled_from(list(Shedding)))
@settings(deadline=None, max_examples=40)
def test_nothing_changes_between_the_bounds(shares: list[float], step: Shedding) -> None:
    machine = Machine()
    machine.calls(3)
    while machine.room.shedding(machine.now) < step:
        machine.load(1.0, 0.5)
    # The window still holds what led here; then it holds the band alone.
    machine.load(0.72, 5)
    before = machine.steps[-1]
    for share in shares:
        machine.load(share, 0.5)
    assert machine.steps[-1] is before


@given(st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=1, max_size=120))
@settings(deadline=None, max_examples=40)
def test_steps_are_taken_one_at_a_time_and_not_in_haste(shares: list[float]) -> None:
    machine = Machine()
    machine.calls(3)
    changes: list[tuple[int, Shedding]] = [(-10 * S, Shedding.NOTHING)]
    for share in shares:
        machine.load(share, 0.5)
        if machine.steps[-1] is not changes[-1][1]:
            changes.append((machine.now, machine.steps[-1]))
    for (before, earlier), (after, later) in pairwise(changes):
        assert abs(later - earlier) == 1
        assert after - before >= (1 if later > earlier else 3) * S


works = st.lists(
    st.tuples(
        st.integers(50, 4000),
        st.sampled_from(["stt", "turn", "llm", "tts"]),
        st.integers(0, 1500),
        st.sampled_from([Priority.FINAL, Priority.SPECULATIVE]),
        st.booleans(),
    ),
    max_size=60,
)


@given(works, st.integers(1, 12), st.integers(0, 12))
@settings(deadline=None, max_examples=40)
def test_more_load_never_means_more_room_or_less_shedding(
    work: list[tuple[int, ModelKind, int, Priority, bool]], configured: int, up: int
) -> None:
    """The one machine does some of the work, the other all of it."""
    some, everything = Machine(capacity=configured), Machine(capacity=configured)
    for machine in (some, everything):
        machine.calls(up)
    for after_ms, kind, ran_ms, priority, only_here in work:
        for machine in (some, everything):
            machine.now += after_ms * MS
            if machine is everything or not only_here:
                machine.room.ended(kind, priority, ran_ms / 4, ran_ms, machine.now)
            machine.look()
        assert everything.room.busy(everything.now) >= some.room.busy(some.now) - 1e-9
        assert everything.capacities[-1] <= some.capacities[-1]


@given(works, st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_all_comes_back_when_the_load_is_gone(
    work: list[tuple[int, ModelKind, int, Priority, bool]], configured: int
) -> None:
    machine = Machine(capacity=configured)
    machine.calls(configured)
    for after_ms, kind, ran_ms, priority, _ in work:
        machine.now += after_ms * MS
        machine.room.ended(kind, priority, ran_ms, ran_ms, machine.now)
        machine.look()
    machine.calls(2)
    machine.load(0.0, 15)
    assert machine.room.allows(Priority.SPECULATIVE, machine.now)
    assert machine.room.allows(Priority.PARTIAL, machine.now)
    machine.calls(0)
    machine.load(0.0, 600)
    assert machine.room.capacity(machine.now) == configured


@given(works, st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_the_first_call_is_always_taken_and_never_more_than_configured(
    work: list[tuple[int, ModelKind, int, Priority, bool]], configured: int
) -> None:
    machine = Machine(capacity=configured)
    for after_ms, kind, ran_ms, priority, _ in work:
        machine.now += after_ms * MS
        machine.room.ended(kind, priority, ran_ms, ran_ms, machine.now)
        assert 1 <= machine.room.capacity(machine.now) <= configured
        assert machine.room.room(machine.now) >= 1


@pytest.mark.parametrize("seconds", [60, 300])
@pytest.mark.parametrize(
    ("share_per_call", "fits"), [(0.05, 8), (0.19, 4), (0.3, 2)], ids=["light", "usual", "heavy"]
)
def test_capacity_follows_what_a_call_was_measured_to_need(
    share_per_call: float, fits: int, seconds: float
) -> None:
    machine = Machine(capacity=8)
    machine.calls(2)
    machine.load(2 * share_per_call, seconds)
    # Between the presumed eight and what was measured, and nearer to it the longer it was measured.
    assert fits <= machine.room.capacity(machine.now) <= fits + 1


def test_capacity_does_not_flutter_around_the_target() -> None:
    """At 0.57 a fourth call would fit, at 0.63 it would not."""
    machine = Machine(capacity=8)
    machine.calls(3)
    machine.load(0.6, 600)
    settled = len(machine.capacities)
    for _ in range(6):
        machine.load(0.57, 30)
        machine.load(0.63, 30)
    assert sum(a != b for a, b in pairwise(machine.capacities[settled:])) <= 1
    assert machine.capacities[-1] == 3
    machine.load(0.3, 60)
    assert machine.capacities[-1] > 3


def test_after_a_call_that_took_everything_the_next_is_taken_and_then_it_is_forgotten() -> None:
    machine = Machine(capacity=4)
    machine.calls(1)
    machine.load(1.0, 300)
    assert machine.room.room(machine.now) == 0
    machine.calls(0)
    assert machine.room.capacity(machine.now) == 1
    machine.load(0.0, 600)
    assert machine.room.capacity(machine.now) == 4


def test_a_call_that_ended_makes_room_at_once() -> None:
    machine = Machine(capacity=4)
    machine.calls(4)
    machine.load(0.76, 120)
    assert machine.room.room(machine.now) == 0
    machine.calls(3)
    assert machine.room.room(machine.now) == 1


def test_what_can_be_shed_takes_no_room_from_calls() -> None:
    """Wasted speculation and partials would be left out before anybody waits for them."""
    machine = Machine(capacity=4)
    machine.calls(2)
    machine.load(0.8, 120, priority=Priority.SPECULATIVE, wasted=True)
    machine.load(0.8, 60, priority=Priority.PARTIAL, kind="stt")
    assert machine.room.capacity(machine.now) == 4
    machine.load(0.8, 60, priority=Priority.SPECULATIVE)
    assert machine.room.capacity(machine.now) == 2


def test_a_model_of_which_nothing_is_known_is_no_bottleneck() -> None:
    machine = Machine(capacity=100, settings=HeadRoomSettings())
    machine.calls(50)
    machine.load(1.0, 60)
    assert (machine.room.capacity(machine.now), machine.room.busy(machine.now)) == (100, 0.0)


def test_four_cores_carry_two_models_of_two_threads_at_once() -> None:
    machine = Machine(settings=replace(TWO_CORES, places={}, host_cores=4))
    machine.load(1.0, 10)
    assert machine.room.busy(machine.now) == pytest.approx(0.5, abs=0.03)


def test_partials_stay_within_their_share_of_a_core() -> None:
    machine = Machine()
    machine.calls(1)
    ran_ms = 0
    for _ in range(1200):
        if machine.room.allows(Priority.PARTIAL, machine.now):
            machine.room.ended("stt", Priority.PARTIAL, 0, 200, machine.now)
            ran_ms += 200
        machine.now += 500 * MS
    # Two threads for 200 ms are 400 ms of processor; ten seconds' worth may be spent at once.
    assert ran_ms * 2 <= 0.2 * (600_000 + 10_000) + 400
    assert ran_ms * 2 >= 0.2 * 600_000 - 400


def test_the_interval_of_partials_follows_their_cost_and_the_calls() -> None:
    machine = Machine()
    machine.calls(1)
    assert machine.room.partial_interval_ms() == 600
    machine.room.ended("stt", Priority.PARTIAL, 0, 200, machine.now)
    assert machine.room.partial_interval_ms() == 2000
    machine.calls(3)
    assert machine.room.partial_interval_ms() == 6000
    assert machine.room.cpu_budget(Priority.PARTIAL) == 0.2
