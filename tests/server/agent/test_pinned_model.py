"""Each call keeps to its own slot of the language model."""

from __future__ import annotations

import asyncio

import pytest

from models.protocols import ChatMessage, ChatRequest, TextDelta
from server.agent.pinned_model import PinnedModel, free_slot
from tests.fakes.models import ScriptedLanguageModel


@pytest.mark.parametrize(
    ("taken", "slot"), [([], 0), ([0], 1), ([1], 0), ([0, 1], 0), ([0, 1, 0], 1)], ids=str
)
def test_a_new_call_gets_the_slot_that_is_used_least(taken: list[int], slot: int) -> None:
    assert free_slot(taken, 2) == slot


def test_requests_carry_the_calls_slot() -> None:
    async def scenario() -> None:
        model = ScriptedLanguageModel(["Hello."])
        request = ChatRequest((ChatMessage("user", "Hello"),))
        items = [item async for item in PinnedModel(model, 1).reply(request)]
        assert TextDelta("Hello.") in items
        assert [asked.slot for asked in model.requests] == [1]

    asyncio.run(scenario())
