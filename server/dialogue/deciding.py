"""Decides one turn: in code where it can, from the documents next, and with the language model where it must."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, assert_never

from server.dialogue.agent_file import FixedAnswer
from server.dialogue.answering import answer_from_knowledge, find_passages, free_talk, unknown
from server.dialogue.grounding import is_question
from server.dialogue.policy import Authenticate, Block, Continue, Escalate, gate, too_often
from server.dialogue.replies import EndCall, HandOff, Reply
from server.dialogue.small_talk import SmallTalk, small_talk
from server.dialogue.task_flow import TaskFlow
from server.dialogue.triggers import matches
from server.dialogue.turn import TurnContext
from server.dialogue.understanding.yes_no import yes_or_no

_REQUEST: Final = ("can|could|would|will you|i ... me|my", "i'd|i would like|want|need")
"""Words in which something is wished for that a tool might do."""


class TurnDecision:
    """Who decides this turn, and what is said."""

    def __init__(self, turn: TurnContext) -> None:
        """Work on this turn's state."""
        self._turn, self._state, self._agent = turn, turn.state, turn.agent

    async def decide(self, *, missed: bool) -> AsyncGenerator[Reply, None]:
        """Answer the turn. ``missed``: the question it might answer was cut off before its values were heard."""
        turn = self._turn
        decision = gate(self._agent, self._state, turn.heard)
        match decision:
            case Escalate():
                for reply in self._hand_over():
                    yield reply
            case Block():
                for reply in self._block(decision):
                    yield reply
            case Authenticate():
                yield turn.phrase(self._agent.phrases.not_verified)
            case Continue():
                async with aclosing(self._answer(missed=missed)) as replies:
                    async for reply in replies:
                        yield reply
            case _:
                assert_never(decision)

    def _hand_over(self) -> list[Reply]:
        self._state.task, self._state.offer = None, ""
        return [self._turn.phrase(self._agent.phrases.handing_over), HandOff("asked")]

    def _block(self, decision: Block) -> list[Reply]:
        match decision.reason:
            case "do_not_call":
                return [self._turn.phrase(self._agent.phrases.do_not_call), EndCall("caller_dnc")]
            case "subject":
                return [self._turn.phrase(self._agent.phrases.refused), *TaskFlow(self._turn).ask_again()]
            case _:
                assert_never(decision.reason)

    async def _answer(self, *, missed: bool) -> AsyncGenerator[Reply, None]:
        """Tier 1: patterns, slots and tasks. What they leave goes to the knowledge base and the model."""
        flow = TaskFlow(self._turn)
        if not self._turn.words or (self._turn.heard.source == "dtmf" and self._turn.text in "*#23456789"):
            for reply in self._not_understood(flow):
                yield reply
            return
        if missed and yes_or_no(self._turn.text) == "yes":
            for reply in flow.ask_again():
                yield reply
            return
        if steps := self._small_talk(flow):
            for reply in steps:
                yield reply
            return
        if answer := self._fixed_answer():
            for reply in self._say_fixed(flow, answer):
                yield reply
            return
        async with aclosing(self._tasks_and_questions(flow)) as replies:
            async for reply in replies:
                yield reply

    async def _tasks_and_questions(self, flow: TaskFlow) -> AsyncGenerator[Reply, None]:
        triggered = flow.triggered()
        active = self._state.task is not None
        if triggered and (not active or flow.is_interlude(triggered)):
            async with aclosing(flow.start(triggered)) as replies:
                async for reply in replies:
                    yield reply
            return
        if active:
            taken = False
            async with aclosing(flow.take()) as replies:
                async for reply in replies:
                    taken = True
                    yield reply
            if taken:
                return
            if triggered and self._state.task is not None and triggered != self._state.task.name:
                async with aclosing(flow.start(triggered)) as replies:
                    async for reply in replies:
                        yield reply
                return
        if self._state.offer.startswith("task:") and yes_or_no(self._turn.text) == "yes":
            async with aclosing(flow.start(self._state.offer.removeprefix("task:"))) as replies:
                async for reply in replies:
                    yield reply
            return
        if steps := self._take_offer():
            for reply in steps:
                yield reply
            return
        async with aclosing(self._tiers_two_and_three(flow)) as replies:
            async for reply in replies:
                yield reply

    async def _tiers_two_and_three(self, flow: TaskFlow) -> AsyncGenerator[Reply, None]:
        self._state.offer = ""
        active = self._state.task is not None
        if is_question(self._turn.text):
            passages = await find_passages(self._turn)
            if passages is None:
                self._state.offer = "" if active else "person"
                yield self._turn.phrase(self._agent.phrases.tool_failed)
            elif passages:
                self._state.misunderstandings = 0
                async with aclosing(answer_from_knowledge(self._turn, passages)) as replies:
                    async for reply in replies:
                        yield reply
            elif matches(_REQUEST, self._turn.words) and not active:
                async with aclosing(free_talk(self._turn, only_calls=True)) as replies:
                    async for reply in replies:
                        yield reply
            else:
                for reply in unknown(self._turn):
                    yield reply
            for reply in flow.ask_again():
                yield reply
        elif active:
            for reply in flow.not_understood():
                yield reply
        else:
            async with aclosing(free_talk(self._turn)) as replies:
                async for reply in replies:
                    yield reply

    # ── tier 1 ───────────────────────────────────────────────────────────────────────────────────

    def _not_understood(self, flow: TaskFlow) -> list[Reply]:
        if self._state.task is not None:
            return flow.not_understood()
        self._state.misunderstandings += 1
        phrases = self._agent.phrases
        if too_often(self._agent, self._state):
            self._state.misunderstandings = 0
            return [self._turn.phrase(phrases.handing_over_trouble), HandOff("misunderstood")]
        again = self._state.misunderstandings > 1
        return [self._turn.phrase(phrases.not_understood_again if again else phrases.not_understood)]

    def _small_talk(self, flow: TaskFlow) -> list[Reply]:
        phrases, active = self._agent.phrases, self._state.task is not None
        kind = small_talk(self._turn.text)
        match kind:
            case None:
                return []
            case SmallTalk.GOODBYE:
                self._state.task = None
                return [self._turn.phrase(phrases.goodbye), EndCall("completed")]
            case SmallTalk.REPEAT:
                last = self._state.last_said
                return [*self._turn.say(last)] if last else [self._turn.phrase(phrases.nothing_to_repeat)]
            case SmallTalk.ABANDON:
                return flow.abandon() if active else [self._turn.phrase(phrases.what_else)]
            case SmallTalk.MACHINE:
                return [self._turn.phrase(phrases.machine), *flow.ask_again()]
            case SmallTalk.WAIT:
                return [self._turn.phrase(phrases.take_your_time)]
            case SmallTalk.HELP:
                return [self._turn.phrase(phrases.help), *flow.ask_again()]
            case SmallTalk.HELLO:
                return flow.ask_again() if active else [self._turn.phrase(phrases.hello)]
            case SmallTalk.THANKS:
                if active:
                    return flow.ask_again()
                self._state.offer = "anything_else"
                return [self._turn.phrase(phrases.thanks)]
            case _:
                assert_never(kind)

    def _fixed_answer(self) -> FixedAnswer | None:
        return next((item for item in self._agent.answers if matches(item.triggers, self._turn.words)), None)

    def _say_fixed(self, flow: TaskFlow, answer: FixedAnswer) -> list[Reply]:
        said: list[Reply] = [*self._turn.say(answer.say)]
        if answer.offers and self._state.task is None:
            self._state.offer = f"task:{answer.offers}"
        match answer.then:
            case "go_on":
                return [*said, *flow.ask_again()]
            case "person":
                self._state.task = None
                return [*said, HandOff("policy")]
            case "emergency":
                self._state.task = None
                return said
            case "end":
                return [*said, EndCall("completed")]
            case _:
                assert_never(answer.then)

    def _take_offer(self) -> list[Reply]:
        """Take a bare yes or no to what was offered."""
        offer, phrases = self._state.offer, self._agent.phrases
        answer = yes_or_no(self._turn.text)
        if not offer or answer == "unclear" or len(self._turn.words.split()) > 6:
            return []
        self._state.offer = ""
        match offer, answer:
            case "person", "yes":
                return self._hand_over()
            case "anything_else", "no":
                return [self._turn.phrase(phrases.goodbye), EndCall("completed")]
            case _:
                return [self._turn.phrase(phrases.what_else)]
