"""The table of a leg's life: from everywhere there is a way out."""

from __future__ import annotations

import pytest

from sip.leg import OVER, TABLE, LegAction, LegInput, LegState

REPORTS = {
    LegAction.REFUSE_AND_REPORT,
    LegAction.BYE_AND_REPORT,
    LegAction.ACK_BYE_AND_REPORT,
    LegAction.REPORT_ENDED,
    LegAction.REPORT_FAILED,
}


@pytest.mark.parametrize("state", [state for state in LegState if state is not LegState.ENDED])
def test_every_state_can_be_left_by_time_alone(state: LegState) -> None:
    by_time = {LegInput.NO_ACK, LegInput.NO_RESPONSE, LegInput.EXPIRED, LegInput.BYE_DONE}
    reached = {state}
    for _ in TABLE:
        reached |= {
            after for (before, event), (after, _) in TABLE.items() if before in reached and event in by_time
        }
    # A confirmed call may last; it is the one state that waits for a person.
    assert LegState.ENDED in reached or LegState.ENDING in reached or state is LegState.CONFIRMED


@pytest.mark.parametrize("state", [state for state in LegState if state not in OVER])
def test_the_shell_can_hang_up_in_every_state_it_knows(state: LegState) -> None:
    after, _ = TABLE[state, LegInput.HANG_UP]
    assert after in OVER


def test_the_end_is_told_once_on_every_way() -> None:
    def ways(state: LegState, told: int, seen: frozenset[LegState]) -> None:
        if state is LegState.ENDED:
            assert told == 1
            return
        for (before, event), (after, action) in TABLE.items():
            if before is state and after not in seen and event is not LegInput.REJECT:
                ways(after, told + (action in REPORTS), seen | {after})

    for start in (LegState.INCOMING, LegState.CALLING):
        ways(start, 0, frozenset({start}))
