"""The calls that judge a model also judge the code: those that need no model must come out right without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.chat import NoLanguageModel
from scripts.eval_dialogue import SCENARIOS, Scenario, load_scenarios, play
from server.dialogue.agent_file import load_agent
from server.dialogue.knowledge import NoKnowledge
from tests.fakes.dialogue import CLINIC

pytestmark = pytest.mark.anyio

ALL = load_scenarios(SCENARIOS)


def test_there_are_enough_calls() -> None:
    assert len(ALL) >= 25
    assert len({scenario.name for scenario in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "scenario", [item for item in ALL if not item.needs], ids=lambda item: str(item.name)
)
async def test_a_call_that_needs_no_model(scenario: Scenario, tmp_path: Path) -> None:
    outcome = await play(
        scenario, load_agent(CLINIC), NoLanguageModel(), NoKnowledge(), tmp_path / "tools.db"
    )
    assert outcome.failures == []
