"""A caller who speaks by script, a knowledge base that answers by script, and what came of each turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from server.dialogue.agent_file import Agent, load_agent
from server.dialogue.engine import Dialogue, Limits, Services
from server.dialogue.errors import ToolError
from server.dialogue.knowledge import Knowledge, NoKnowledge, Passage
from server.dialogue.replies import (
    JSON,
    EffectStarts,
    EndCall,
    HandOff,
    Heard,
    Reply,
    Role,
    Say,
    ToolRan,
    TurnClass,
)
from server.dialogue.tools import ToolRegistry, open_tools
from tests.fakes.models import ScriptedLanguageModel

CLINIC: Final = Path(__file__).parents[2] / "server" / "samples" / "clinic"
NOW: Final = datetime(2026, 11, 21, 10, 0)  # noqa: DTZ001 - the caller's wall clock, a Saturday


@dataclass
class ScriptedKnowledge:
    """Answers every question with the same passages, or fails."""

    passages: Sequence[Passage] = ()
    fails: bool = False
    asked: list[str] = field(default_factory=list)

    async def query(self, text: str, limit: int) -> Sequence[Passage]:
        """Return the passages."""
        self.asked.append(text)
        if self.fails:
            raise ToolError("the knowledge base is gone")
        return self.passages[:limit]


@dataclass
class TurnResult:
    """What one turn brought."""

    replies: list[Reply]

    @property
    def words(self) -> str:
        """Return the content, as the caller hears it."""
        return " ".join(
            item.text for item in self.replies if isinstance(item, Say) and item.role is Role.CONTENT
        )

    @property
    def fillers(self) -> list[str]:
        """Return the fillers."""
        return [item.text for item in self.replies if isinstance(item, Say) and item.role is Role.FILLER]

    @property
    def classes(self) -> set[TurnClass]:
        """Return the classes of the content."""
        return {
            item.turn_class for item in self.replies if isinstance(item, Say) and item.role is Role.CONTENT
        }

    @property
    def tools(self) -> list[ToolRan]:
        """Return the tools that ran or were refused."""
        return [item for item in self.replies if isinstance(item, ToolRan)]

    def ran(self, name: str) -> ToolRan | None:
        """Return the run of one tool."""
        return next((item for item in self.tools if item.tool == name and item.outcome == "ok"), None)

    @property
    def effects(self) -> list[str]:
        """Return the tools with an effect that were begun."""
        return [item.tool for item in self.replies if isinstance(item, EffectStarts)]

    @property
    def handed_over(self) -> str:
        """Return why a person takes over, or nothing."""
        return next((item.reason for item in self.replies if isinstance(item, HandOff)), "")

    @property
    def ended(self) -> str:
        """Return why the call ends, or nothing."""
        return next((item.reason for item in self.replies if isinstance(item, EndCall)), "")


class Talk:
    """A conversation between a scripted caller and a dialogue."""

    def __init__(
        self,
        database: Path,
        *,
        llm: ScriptedLanguageModel | None = None,
        knowledge: Knowledge | None = None,
        agent: Agent | None = None,
        tools: ToolRegistry | None = None,
        limits: Limits | None = None,
        call_id: str = "call-1",
        now: datetime = NOW,
        tell_played: bool = True,
    ) -> None:
        """Open the clinic's tools on ``database`` unless others are given."""
        self.agent = agent or load_agent(CLINIC)
        self.llm = llm or ScriptedLanguageModel()
        self.tools = tools or open_tools(CLINIC, "tools.py", database, today=now.date())
        services = Services(self.llm, knowledge or NoKnowledge(), self.tools)
        self.services = services
        self.now, self.tell_played = now, tell_played
        self.limits = limits
        self.call_id = call_id
        self.dialogue = Dialogue(self.agent, services, call_id=call_id, limits=limits)

    async def say(self, text: str, *, source: str = "speech", confidence: float = 1.0) -> TurnResult:
        """Say one thing and hear the whole answer."""
        heard = Heard(text, "dtmf" if source == "dtmf" else "speech", confidence)
        result = TurnResult([item async for item in self.dialogue.respond(heard, now=self.now)])
        if self.tell_played:
            self.dialogue.played(result.words)
        return result

    async def say_all(self, *texts: str) -> TurnResult:
        """Say one thing after another; return what the last one brought."""
        result = TurnResult([])
        for text in texts:
            result = await self.say(text)
        return result

    def handed_to_another(self, state: Mapping[str, JSON] | None = None) -> Talk:
        """Return the same conversation in another process, from the snapshot."""
        other = Talk.__new__(Talk)
        other.__dict__.update(self.__dict__)
        other.dialogue = Dialogue(self.agent, self.services, call_id=self.call_id, limits=self.limits)
        other.dialogue.restore(state or self.dialogue.snapshot())
        return other
