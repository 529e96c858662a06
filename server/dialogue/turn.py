"""One turn under way: what was heard, what is being said, and the only way to a tool."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from kb.sentences import split_sentences
from models.protocols import LanguageModel, Priority
from server.dialogue.agent_file import Agent
from server.dialogue.knowledge import Knowledge
from server.dialogue.provenance import authorised, unproven, values
from server.dialogue.replies import EffectStarts, Heard, Reply, Role, Say, ToolRan, TurnClass
from server.dialogue.speaking import speak
from server.dialogue.state import SlotValue, State, TaskState, canonical
from server.dialogue.tools import Tool, ToolRegistry, ToolResult, to_json
from server.dialogue.triggers import normalise

LONG_SENTENCE: Final = 150


@dataclass(frozen=True, slots=True)
class Services:
    """What the dialogue works with."""

    llm: LanguageModel
    knowledge: Knowledge
    tools: ToolRegistry


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a turn waits for others, and how much it asks of the language model."""

    llm_first_s: float = 8.0
    """For the first words or call of the language model."""
    filler_after_s: float = 1.5
    """From the end of the caller's speech: then something is said while the language model has not begun."""
    llm_next_s: float = 4.0
    """For each next piece."""
    knowledge_s: float = 3.0
    fresh_tokens: int = 120
    """Prompt tokens a turn may add behind the warm prefix: on two cores each costs 13 ms."""
    passage_tokens: int = 70
    answer_tokens: int = 70
    unsure_below: float = 0.35
    """A yes heard with less confidence is asked for again before anything is written."""


class TurnContext:
    """What the parts of the dialogue share while one turn is answered."""

    def __init__(
        self,
        agent: Agent,
        services: Services,
        state: State,
        limits: Limits,
        *,
        call_id: str,
        heard: Heard,
        now: datetime,
        fixed: Container[str] = (),
        priority: Priority = Priority.FINAL,
        silent_for_s: float = 0.0,
        rehearsal: bool = False,
    ) -> None:
        """Begin with a turn that only patterns have decided so far.

        ``fixed`` holds every fixed line; ``silent_for_s`` is how long ago the caller stopped speaking; in a
        ``rehearsal`` no tool runs. Only within a running event loop, whose clock measures the wait for a filler.
        """
        self.agent, self.services, self.state, self.limits = agent, services, state, limits
        self.call_id, self.heard, self.now = call_id, heard, now
        self.priority, self._fixed, self._rehearsal = priority, fixed, rehearsal
        self._filler_at = asyncio.get_running_loop().time() + limits.filler_after_s - silent_for_s
        self.text = heard.text.strip()
        self.words = normalise(self.text)
        self.turn_class = TurnClass.FIXED
        self.wrote = False
        self.result: ToolResult | None = None
        """Of the last tool run; None where it was refused or failed."""

    @property
    def today(self) -> date:
        """Return the caller's date."""
        return self.now.date()

    @property
    def filler_wait_s(self) -> float:
        """How much longer the caller may be left in silence before something is said."""
        return max(0.0, self._filler_at - asyncio.get_running_loop().time())

    def phrase(self, text: str, *, sources: Sequence[str] = (), read: bool = False) -> Say:
        """Return one sentence, unsplit; ``read`` word for word from a document."""
        self.state.planned = f"{self.state.planned} {text}".strip()
        return Say(text, Role.CONTENT, self.turn_class, tuple(sources), cacheable=read or text in self._fixed)

    def say(self, text: str, *, sources: Sequence[str] = (), read: bool = False) -> list[Say]:
        """Return the sentences of a text."""
        return [self.phrase(part, sources=sources, read=read) for part in spoken_parts(text)]

    def filler(self, tool: Tool | None = None) -> Say:
        """Return what is said while something slow happens; makes this a tool turn."""
        text = (tool.filler if tool else "") or self.agent.phrases.filler
        return Say(text, Role.FILLER, TurnClass.TOOL, cacheable=True)

    def thinking(self) -> Say:
        """Return what is said while the language model has not begun; the turn keeps its class."""
        return Say(self.agent.phrases.thinking, Role.FILLER, self.turn_class, cacheable=True)

    def fill(self, template: str, task: TaskState | None, extra: Mapping[str, str] | None = None) -> str:
        """Return a template of the agent file with slots and the tools' results put in as words."""
        words: dict[str, str] = {}
        for spoken in self.state.spoken.values():
            words.update(spoken)
        if task is not None:
            words |= {
                name: speak(item.value, item.kind, today=self.today) for name, item in task.slots.items()
            }
        words |= dict(extra or {})
        return " ".join(template.format_map(_Words(words)).split())

    async def run_tool(self, tool: Tool, arguments: Mapping[str, SlotValue]) -> AsyncGenerator[Reply, None]:
        """Run a tool if every argument has an origin and the caller may; the result is left in ``result``."""
        self.result = None
        if self._rehearsal:
            return
        chosen = {name: item for name, item in arguments.items() if tool.parameter(name) is not None}
        plain = {name: item.text for name, item in chosen.items()}
        origins = {name: item.provenance for name, item in chosen.items()}
        key = self._idempotency_key(tool, plain)
        wrong = unproven(tool, chosen, self.state)
        if wrong or not authorised(tool, chosen, self.state):
            reason = f"no origin: {', '.join(wrong)}" if wrong else "caller not verified"
            yield ToolRan(tool.name, dict(plain), origins, key, "refused", {"reason": reason})
            return
        if tool.slow:
            yield self.filler(tool)
        if tool.effect == "write":
            yield EffectStarts(tool.name)
        self.turn_class = TurnClass.TOOL
        run = await self.services.tools.run(tool.name, values(chosen), now=self.now, idempotency_key=key)
        if run.outcome == "ok":
            self._remember(tool, run.result)
        record: dict[str, object] = {"status": run.result.status, **run.result.data}
        result = {name: to_json(item) for name, item in record.items()}
        yield ToolRan(tool.name, dict(plain), origins, key, run.outcome, result, run.duration_ms)

    def _remember(self, tool: Tool, result: ToolResult) -> None:
        self.result = result
        if tool.effect == "write":
            self.state.writes, self.wrote = self.state.writes + 1, True
        self.state.verified |= result.verified
        single = {
            name: canonical(item)
            for name, item in result.data.items()
            if isinstance(item, date | time | str | int)
        }
        self.state.records[tool.name] = single
        self.state.spoken[tool.name] = {
            name: speak(item, today=self.today) for name, item in result.data.items() if item is not None
        }

    def _idempotency_key(self, tool: Tool, arguments: Mapping[str, str]) -> str:
        """Same call, same number of writes so far, same arguments: the same run."""
        what = json.dumps([self.call_id, tool.name, self.state.writes, arguments], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()[:32]


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def spoken_parts(text: str) -> list[str]:
    """Return the sentences of a text; a very long one is parted at a comma, so that speech begins early."""
    parts: list[str] = []
    for sentence in split_sentences(text):
        rest = sentence
        while len(rest) > LONG_SENTENCE and (cut := rest.rfind(", ", 40, LONG_SENTENCE)) > 0:
            parts.append(rest[: cut + 1])
            rest = rest[cut + 2 :]
        parts.append(rest)
    return parts
