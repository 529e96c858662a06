"""Answers that need more than patterns: from the knowledge base, or in the language model's words."""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from models.clauses import ClauseSplitter
from models.protocols import ChatRequest, ReplyEnd, ReplyItem, TextDelta, ToolCall
from server.dialogue.grounding import (
    Reading,
    adds_nothing,
    admits_ignorance,
    best_reading,
    claims_effect,
    invents_numbers,
)
from server.dialogue.knowledge import Passage
from server.dialogue.prompts import grounded_request, plain_request
from server.dialogue.provenance import prove_proposal
from server.dialogue.replies import HandOff, Provenance, Reply, ToolRan, TurnClass
from server.dialogue.task_flow import TaskFlow
from server.dialogue.triggers import matches
from server.dialogue.turn import TurnContext
from server.errors import LandlineError

MAX_ITEMS: Final = 400
"""Pieces of one reply that are listened to; a model that never ends is cut off."""
MAX_CLAUSES: Final = 4
FIRST_PAUSE_WORDS: Final = 3
FIRST_CLAUSE_WORDS: Final = 6
"""The caller waits for the first clause: it ends at a pause after so many words, and at the latest after so many."""
_MARKUP: Final = re.compile(r"[*_`#|]+")
"""Signs that a model likes and a voice would read out."""
TOOL_WORDS: Final = ("appointment|booking|book|cancel|reschedule|move|change|visit|slot|reservation",)


class ModelFailed(LandlineError):
    """The language model was late, gone or broken."""


async def answer_from_knowledge(
    turn: TurnContext, passages: Sequence[Passage]
) -> AsyncGenerator[Reply, None]:
    """Answer from passages above the threshold: read where a sentence fits, else in the model's words."""
    reading = best_reading(expanded(turn), passages)
    turn.turn_class = TurnClass.GROUNDED
    if reading is not None and reading.share >= turn.agent.knowledge.read_aloud:
        for say in turn.say(reading.text, sources=(reading.source,), read=True):
            yield say
        return
    async with aclosing(_model_from_passage(turn, passages[0], reading)) as replies:
        async for reply in replies:
            yield reply


async def _model_from_passage(
    turn: TurnContext, passage: Passage, reading: Reading | None
) -> AsyncGenerator[Reply, None]:
    limits = turn.limits
    request = grounded_request(
        turn.agent, turn.services.tools, passage.text, turn.text,
        fresh=limits.fresh_tokens, passage=limits.passage_tokens, answer=limits.answer_tokens,
    )  # fmt: skip
    said = 0
    try:
        async with aclosing(clauses(turn, request)) as stream:
            async for clause in stream:
                if isinstance(clause, Waiting):
                    yield turn.thinking()
                    continue
                # A passage cannot order anything: a tool call that it brought about is no answer.
                if isinstance(clause, ToolCall) or admits_ignorance(clause):
                    break
                if invents_numbers(clause, passage.text, passage.title, turn.text):
                    break
                if not said and adds_nothing(clause, passage.text, turn.text):
                    break
                said += 1
                yield turn.phrase(clause, sources=(passage.source,))
    except ModelFailed:
        if said:
            return
        for reply in _read_instead(turn, passage, reading) or model_failed(turn):
            yield reply
        return
    if not said:
        for reply in _read_instead(turn, passage, reading) or unknown(turn):
            yield reply


def _read_instead(turn: TurnContext, passage: Passage, reading: Reading | None) -> list[Reply]:
    """Return the passage's own words where they at least touch the question."""
    if reading is None or reading.source != passage.source or reading.share <= 0.3:
        return []
    return [*turn.say(reading.text, sources=(reading.source,), read=True)]


async def find_passages(turn: TurnContext) -> Sequence[Passage] | None:
    """Return the passages that count as an answer; None when the knowledge base cannot be asked now."""
    part = turn.agent.knowledge
    try:
        async with asyncio.timeout(turn.limits.knowledge_s):
            found = await turn.services.knowledge.query(expanded(turn), part.passages)
    except (TimeoutError, LandlineError, OSError):
        return None
    return [item for item in found if item.score >= part.threshold]


def expanded(turn: TurnContext) -> str:
    """Return the question with the words that the documents use for it."""
    added = [item.add for item in turn.agent.knowledge.expansions if matches(item.triggers, turn.words)]
    return " ".join([turn.text, *added])


def unknown(turn: TurnContext) -> list[Reply]:
    """Say honestly that there is no answer, and offer a person."""
    turn.turn_class = TurnClass.FIXED if not turn.state.planned else turn.turn_class
    turn.state.offer = "person" if turn.state.task is None else ""
    phrases = turn.agent.phrases
    return [turn.phrase(phrases.unknown if turn.state.task is None else phrases.unknown_in_task)]


def model_failed(turn: TurnContext) -> list[Reply]:
    """Say honestly that the model cannot be used, and hand over."""
    turn.turn_class = TurnClass.FIXED if not turn.state.planned else turn.turn_class
    return [turn.phrase(turn.agent.phrases.llm_error), HandOff("llm_error")]


async def free_talk(turn: TurnContext, *, only_calls: bool = False) -> AsyncGenerator[Reply, None]:
    """Let the model decide on a structured action: words, or a tool whose arguments must then be proven.

    ``only_calls``: it was a question that the documents do not answer, so the model's words are no answer either.
    """
    limits = turn.limits
    request = plain_request(
        turn.agent, turn.services.tools, turn.state.turns[:-1], turn.text,
        fresh=limits.fresh_tokens, answer=limits.answer_tokens,
    )  # fmt: skip
    if matches(TOOL_WORDS, turn.words):
        yield turn.filler()
    turn.turn_class = TurnClass.PLAIN
    call: ToolCall | None = None
    said = 0
    try:
        async with aclosing(clauses(turn, request)) as stream:
            async for clause in stream:
                if isinstance(clause, Waiting):
                    yield turn.thinking()
                    continue
                if isinstance(clause, ToolCall):
                    call = clause
                    break
                if only_calls or _unfounded(turn, clause):
                    break
                said += 1
                yield turn.phrase(clause)
                if said >= MAX_CLAUSES:
                    break
    except ModelFailed:
        for reply in model_failed(turn):
            yield reply
        return
    if call is not None and not said:
        async with aclosing(_take_call(turn, call)) as replies:
            async for reply in replies:
                yield reply
    elif not said:
        turn.turn_class = TurnClass.FIXED
        for reply in unknown(turn):
            yield reply


def _unfounded(turn: TurnContext, clause: str) -> bool:
    """Return whether the model's words claim something done, or a number that nobody has said."""
    earlier = [item.said for item in turn.state.turns[-4:]]
    return claims_effect(clause) or invents_numbers(clause, turn.text, *earlier)


async def _take_call(turn: TurnContext, call: ToolCall) -> AsyncGenerator[Reply, None]:
    """Turn a model's tool call into a task whose slots hold only what the caller said."""
    phrases, state = turn.agent.phrases, turn.state
    turn.turn_class = TurnClass.TOOL
    if call.name == "hand_over":
        state.offer = "person"
        yield turn.phrase(phrases.person_wanted)
        return
    if call.name == "end_call":
        state.offer = "anything_else"
        yield turn.phrase(phrases.anything_else)
        return
    tool = turn.services.tools.get(call.name)
    task = next((name for name, item in turn.agent.tasks.items() if item.tool == call.name), None)
    if tool is None or tool.function is None or task is None:
        yield turn.phrase(phrases.not_understood)
        return
    proven = prove_proposal(tool, call.arguments, state, turn.today)
    invented = sorted(set(call.arguments) - set(proven))
    if invented:
        # The refusal is recorded with the names alone: what a model made up is nobody's data.
        origins = {name: Provenance("utterance", "none", "") for name in invented}
        yield ToolRan(tool.name, {}, origins, "", "refused", {"reason": f"no origin: {', '.join(invented)}"})
    async with aclosing(TaskFlow(turn).start(task, proven)) as replies:
        async for reply in replies:
            yield reply


class Waiting(enum.Enum):
    """The model takes its time: something is to be said meanwhile."""

    WAITING = "waiting"


async def clauses(turn: TurnContext, request: ChatRequest) -> AsyncGenerator[str | ToolCall | Waiting, None]:
    """Yield the model's clauses as they are complete, or its call. Raises :class:`ModelFailed`.

    :class:`Waiting` comes first, once, where the model has not begun by the time a caller grows uneasy.
    """
    limits = turn.limits
    cutter = ClauseSplitter(first_words=FIRST_PAUSE_WORDS, first_limit=FIRST_CLAUSE_WORDS)
    async with aclosing(turn.services.llm.reply(replace(request, priority=turn.priority))) as stream:
        first = asyncio.ensure_future(_next(stream, limits.llm_first_s))
        try:
            await asyncio.wait({first}, timeout=turn.filler_wait_s)
            if not first.done():
                yield Waiting.WAITING
            item = await first
        finally:
            if not first.done():
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
        for _ in range(MAX_ITEMS):
            match item:
                case TextDelta():
                    for clause in cutter.feed(_MARKUP.sub("", item.text)):
                        yield clause
                case ToolCall():
                    yield item
                    return
                case ReplyEnd() | None:
                    break
            item = await _next(stream, limits.llm_next_s)
        for clause in cutter.flush():
            yield clause


async def _next(stream: AsyncIterator[ReplyItem], limit_s: float) -> ReplyItem | None:
    try:
        async with asyncio.timeout(limit_s):
            return await anext(stream)
    except StopAsyncIteration:
        return None
    except Exception as error:  # whatever a model's adapter raises: the caller hears an honest sentence
        raise ModelFailed(f"{type(error).__name__}") from error
