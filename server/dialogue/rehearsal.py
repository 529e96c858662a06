"""What the language model would be asked if the caller said no more: the turn is gone through without being taken."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

from models.protocols import ChatRequest, ReplyItem

ANY_DAY: Final = datetime(2001, 1, 1)  # noqa: DTZ001 - no date reaches the model, so any will do
"""When a rehearsed turn is said."""


class NoteTaker:
    """Satisfies :class:`models.protocols.LanguageModel`: keeps what it is asked and answers nothing."""

    def __init__(self) -> None:
        self.asked: ChatRequest | None = None

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Keep the request."""
        self.asked = request
        nothing: tuple[ReplyItem, ...] = ()
        for item in nothing:
            yield item
