"""A language model as one call sees it: always the same slot of an embedded server, whose cache holds this call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace

from models.llm_gate import GatedModel
from models.protocols import ChatRequest, LanguageModel, ReplyItem


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """Satisfies :class:`models.protocols.LanguageModel` and :class:`models.protocols.Promotes`."""

    model: LanguageModel
    slot: int

    def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Return the model's reply, from this call's slot."""
        return self.model.reply(replace(request, slot=self.slot))

    def promote(self) -> None:
        """Treat every speculative request of this call as final from now on."""
        if isinstance(self.model, GatedModel):
            self.model.promote(self.slot)


def free_slot(taken: Iterable[int], slots: int) -> int:
    """Return the slot that the fewest calls use, the first of those."""
    used = list(taken)
    return min(range(slots), key=lambda slot: (used.count(slot), slot))
