"""Two user agents over a network that loses, doubles, delays and reorders, in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sip.address import Address
from sip.transaction_tables import LIFETIME_NS, MS
from sip.user_agent import (
    Answered,
    CallEnded,
    Confirmed,
    Event,
    Failed,
    IncomingCall,
    Reoffer,
    Ringing,
    TransferProgress,
)
from tests.fakes.network import Conditions, Host, Network

CALLER = Address("192.0.2.1", 5060)
CALLED = Address("192.0.2.2", 5060)
BAD = Conditions(loss=0.25, duplication=0.15, delay_ns=5 * MS, jitter_ns=700 * MS)
OVER = (CallEnded, Failed)


def legs_of(host: Host, *kinds: type[Event]) -> list[int]:
    """Return the legs of a host's events of some kinds."""
    return [event.leg_id for event in host.events if isinstance(event, kinds)]


@pytest.mark.parametrize("seed", range(25))
def test_a_call_over_a_bad_network_is_one_call_and_both_sides_agree_that_it_is_over(seed: int) -> None:
    network = Network(seed, BAD)

    def shell(host: Host, event: Event) -> None:
        if isinstance(event, IncomingCall):
            host.agent.ring(event.leg_id, network.now)
            host.agent.answer(event.leg_id, "answer", network.now)

    caller = network.host("caller", CALLER)
    called = network.host("called", CALLED, shell)
    leg_id = caller.agent.invite(f"sip:called@{CALLED}", CALLED, "offer", network.now)
    network.run(20_000)
    caller.agent.hang_up(leg_id, network.now)
    network.run(120_000)
    assert len(legs_of(called, IncomingCall)) <= 1
    assert legs_of(caller, *OVER) == [leg_id]
    assert legs_of(called, CallEnded) == legs_of(called, IncomingCall)
    assert caller.agent.deadline() is None
    assert called.agent.deadline() is None


def test_a_network_this_bad_still_carries_most_calls() -> None:
    answered = confirmed = lost = 0
    for seed in range(25):
        network = Network(seed, BAD)

        def shell(host: Host, event: Event, network: Network = network) -> None:
            if isinstance(event, IncomingCall):
                host.agent.answer(event.leg_id, "answer", network.now)

        caller = network.host("caller", CALLER)
        called = network.host("called", CALLED, shell)
        caller.agent.invite(f"sip:called@{CALLED}", CALLED, "offer", network.now)
        network.run(32_000)
        lost += len(network.lost)
        answered += len(legs_of(caller, Answered))
        confirmed += len(legs_of(called, Confirmed))
    assert lost > 25
    assert answered >= 24
    assert confirmed >= 24


class Telephone(RuleBasedStateMachine):
    """Any order of commands on two user agents, while the network does its worst."""

    @initialize(
        seed=st.integers(0, 2**32),
        loss=st.sampled_from([0.0, 0.2, 0.5]),
        duplication=st.sampled_from([0.0, 0.3]),
        jitter_ms=st.sampled_from([0, 50, 1500]),
    )
    def lay_the_line(self, seed: int, loss: float, duplication: float, jitter_ms: int) -> None:
        self.network = Network(seed, Conditions(loss, duplication, 5 * MS, jitter_ms * MS))
        self.hosts = [
            self.network.host("caller", CALLER, self.note),
            self.network.host("called", CALLED, self.note),
        ]
        self.live: list[set[int]] = [set(), set()]
        self.ringing: list[set[int]] = [set(), set()]
        self.up: list[set[int]] = [set(), set()]
        self.offered: list[set[int]] = [set(), set()]
        self.calls = 0

    def note(self, host: Host, event: Event) -> None:
        """Keep what a shell would know."""
        side = self.hosts.index(host)
        leg_id = event.leg_id
        if isinstance(event, IncomingCall):
            assert leg_id not in self.live[side]
            self.live[side].add(leg_id)
            self.ringing[side].add(leg_id)
            return
        assert leg_id in self.live[side], f"{event} about a leg that is over"
        match event:
            case Answered() | Confirmed():
                self.up[side].add(leg_id)
            case Reoffer():
                self.offered[side].add(leg_id)
            case CallEnded() | Failed():
                self.forget(side, leg_id)
            case Ringing() | TransferProgress():
                pass

    def forget(self, side: int, leg_id: int) -> None:
        for kept in (self.live, self.ringing, self.up, self.offered):
            kept[side].discard(leg_id)

    def choose(self, legs: set[int], pick: int) -> int | None:
        return sorted(legs)[pick % len(legs)] if legs else None

    @rule(side=st.sampled_from([0, 1]))
    def invite(self, side: int) -> None:
        if self.calls < 6:
            self.calls += 1
            other = self.hosts[1 - side].address
            agent = self.hosts[side].agent
            self.live[side].add(agent.invite(f"sip:x@{other}", other, "offer", self.network.now))
            self.network.flush()

    @rule(
        side=st.sampled_from([0, 1]),
        pick=st.integers(0, 9),
        how=st.sampled_from(["ring", "answer", "reject"]),
    )
    def handle_ringing(self, side: int, pick: int, how: str) -> None:
        leg_id = self.choose(self.ringing[side], pick)
        if leg_id is None:
            return
        agent = self.hosts[side].agent
        if how == "ring":
            agent.ring(leg_id, self.network.now)
        elif how == "answer":
            self.ringing[side].discard(leg_id)
            agent.answer(leg_id, "answer", self.network.now)
        else:
            self.forget(side, leg_id)
            agent.reject(leg_id, 486, self.network.now)
        self.network.flush()

    @rule(side=st.sampled_from([0, 1]), pick=st.integers(0, 9))
    def hang_up(self, side: int, pick: int) -> None:
        leg_id = self.choose(self.live[side], pick)
        if leg_id is not None:
            self.hosts[side].agent.hang_up(leg_id, self.network.now)
            self.network.flush()

    @rule(side=st.sampled_from([0, 1]), pick=st.integers(0, 9))
    def transfer(self, side: int, pick: int) -> None:
        leg_id = self.choose(self.up[side], pick)
        if leg_id is not None:
            self.hosts[side].agent.transfer(leg_id, "sip:reception@192.0.2.9", self.network.now)
            self.network.flush()

    @rule(for_ms=st.sampled_from([1, 20, 400, 3_000, 33_000]))
    def wait(self, for_ms: int) -> None:
        self.network.run(for_ms)

    @invariant()
    def nobody_sleeps_past_a_deadline(self) -> None:
        for host in getattr(self, "hosts", []):
            deadline = host.agent.deadline()
            assert deadline is None or deadline <= self.network.now + 181_000 * MS

    def teardown(self) -> None:
        if not hasattr(self, "hosts"):
            return
        for side, host in enumerate(self.hosts):
            for leg_id in sorted(self.live[side]):
                host.agent.hang_up(leg_id, self.network.now)
        # The longest chain of waits: ringing to its limit, CANCEL, BYE, and what lingers after it.
        self.network.run(180_000 + 4 * LIFETIME_NS // MS)
        for side, host in enumerate(self.hosts):
            assert self.live[side] == set()
            assert host.agent.deadline() is None
            assert (host.agent.legs, host.agent.transactions) == (0, 0)
            assert not any(count > 1 for count in Counter(legs_of(host, *OVER)).values())
            assert len(legs_of(host, IncomingCall)) <= self.calls


Telephone.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_any_order_of_commands_ends_in_silence = Telephone.TestCase
