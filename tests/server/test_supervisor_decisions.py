"""Which agent talks, which waits, which is killed and when one is started again: in virtual time."""

from __future__ import annotations

import pytest

from server.agent_pair import AgentPair, Kill, Output, Promote, Role, Start
from server.restart_policy import RestartPolicy


class Pair:
    """The machine with a clock."""

    def __init__(self, *, with_spare: bool = True) -> None:
        self.now = 0.0
        self.machine = AgentPair(
            with_spare=with_spare,
            beat_timeout_s=1.0,
            start_timeout_s=60.0,
            spare_pause_s=4.0,
            policy=RestartPolicy(0.2, 30.0, 60.0),
        )
        self.machine.begin(self.now)

    def run(self, seconds: float, *beating: int) -> list[Output]:
        """Let time pass; the agents named beat every 250 ms."""
        outputs = self.machine.outputs()
        end = self.now + seconds
        while self.now < end:
            self.now = round(self.now + 0.05, 3)
            if round(self.now * 1000) % 250 == 0:
                for number in beating:
                    self.machine.beat(number, self.now)
            self.machine.handle_timeout(self.now)
            outputs += self.machine.outputs()
        return outputs


@pytest.fixture
def pair() -> Pair:
    """Agent 1 serves, agent 2 waits."""
    pair = Pair()
    assert pair.run(3.0, 1) == [Start(1, Role.ACTIVE)]
    pair.machine.settled(pair.now)
    assert pair.run(3.0, 1, 2) == [Start(2, Role.SPARE)]
    return pair


def test_a_killed_agent_is_replaced_by_the_spare_at_once(pair: Pair) -> None:
    pair.machine.died(1, pair.now)
    assert pair.machine.outputs() == [Promote(2)]
    assert pair.machine.takeovers == 1


def test_a_new_spare_comes_once_the_takeover_is_over(pair: Pair) -> None:
    pair.machine.died(1, pair.now)
    assert pair.run(3.5, 2) == [Promote(2)]
    assert pair.run(1.0, 2) == [Start(3, Role.SPARE)]


def test_a_hung_agent_is_killed_and_replaced_within_a_second(pair: Pair) -> None:
    assert pair.run(0.7, 2) == []
    outputs = pair.run(0.5, 2)
    assert outputs == [Kill(1, "hung"), Promote(2)]
    pair.machine.died(1, pair.now)
    assert pair.run(2.0, 2) == []
    assert pair.machine.takeovers == 1


def test_a_hung_spare_is_killed_and_nobody_is_promoted(pair: Pair) -> None:
    assert pair.run(1.5, 1) == [Kill(2, "hung")]
    pair.machine.died(2, pair.now)
    assert pair.run(5.0, 1) == [Start(3, Role.SPARE)]
    assert pair.machine.takeovers == 0


def test_a_promoted_spare_may_be_busy_before_its_first_beat(pair: Pair) -> None:
    pair.machine.died(1, pair.now)
    assert pair.run(2.0) == [Promote(2)]
    assert pair.run(1.0, 2) == []
    assert Kill(2, "hung") in pair.run(1.5)


def test_a_spare_that_hung_before_it_was_promoted_is_found(pair: Pair) -> None:
    pair.machine.died(1, pair.now)
    assert Kill(2, "not_started") in pair.run(3.5)


def test_without_a_spare_the_next_agent_is_the_active_one() -> None:
    pair = Pair(with_spare=False)
    pair.run(1.0, 1)
    pair.machine.settled(pair.now)
    pair.machine.died(1, pair.now)
    assert pair.run(0.5) == [Start(2, Role.ACTIVE)]
    assert pair.run(10.0, 2) == []


def test_both_lost_at_once_brings_back_an_active_one_first(pair: Pair) -> None:
    pair.machine.died(2, pair.now)
    pair.machine.died(1, pair.now)
    outputs = pair.run(5.0, 3)
    assert next(output for output in outputs if isinstance(output, Start)) == Start(3, Role.ACTIVE)


def test_an_agent_that_dies_at_every_start_is_started_ever_more_slowly() -> None:
    pair = Pair(with_spare=False)
    starts = 0
    for _ in range(600):
        for output in pair.run(0.1):
            if isinstance(output, Start):
                starts += 1
                pair.machine.died(output.number, pair.now)
    assert 6 <= starts <= 10


def test_an_agent_that_never_beats_is_given_up() -> None:
    pair = Pair(with_spare=False)
    assert Kill(1, "not_started") in pair.run(61.0)


def test_the_deadline_is_when_something_is_due(pair: Pair) -> None:
    deadline = pair.machine.deadline()
    assert deadline is not None
    assert pair.now < deadline <= pair.now + 1.0


def test_a_beat_of_an_agent_that_is_gone_is_nothing(pair: Pair) -> None:
    pair.machine.died(1, pair.now)
    pair.machine.beat(1, pair.now)
    pair.machine.died(1, pair.now)
    assert pair.machine.outputs() == [Promote(2)]


def test_pauses_double_up_to_a_limit_and_a_long_life_earns_the_first_again() -> None:
    policy = RestartPolicy(0.5, 4.0, 60.0)
    assert [policy.died(lived_s=1) for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert policy.died(lived_s=61) == 0.5
    assert policy.restarts == 6
