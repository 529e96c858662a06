"""One call's dialogue: decides every turn, in code where it can and with the language model where it must.

Knows no audio and no clock: what was heard and when are arguments.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal, assert_never

from models.errors import ModelError
from models.protocols import ChatRequest
from server.dialogue.agent_file import Agent, FixedAnswer
from server.dialogue.answering import answer_from_knowledge, find_passages, free_talk, unknown
from server.dialogue.grounding import is_question
from server.dialogue.policy import Authenticate, Block, Continue, Escalate, gate, too_often
from server.dialogue.prompts import history_request, warm_request
from server.dialogue.replies import JSON, EndCall, HandOff, Heard, Reply, Say
from server.dialogue.small_talk import SmallTalk, small_talk
from server.dialogue.state import State, load_state
from server.dialogue.task_flow import TaskFlow
from server.dialogue.tools import ToolRegistry
from server.dialogue.triggers import matches
from server.dialogue.turn import Limits, Services, TurnContext, spoken_parts
from server.dialogue.understanding.yes_no import yes_or_no

__all__ = ["Dialogue", "Limits", "Services", "fixed_phrases", "warm_prefix"]

FarewellReason = Literal[
    "silence_timeout", "duration_limit", "turn_limit", "speech_error", "llm_error", "shutdown"
]
TransferFailure = Literal["unconfigured", "refused", "timeout"]
HEARD_SHARE: Final = 0.6
"""A confirmation counts only if so much of the question was really heard."""
_REQUEST: Final = ("can|could|would|will you|i ... me|my", "i'd|i would like|want|need")
"""Words in which something is wished for that a tool might do."""
_KEYS: Final = {"1": "yes", "2": "no"}


class Dialogue:
    """The conversation of one call."""

    def __init__(
        self, agent: Agent, services: Services, *, call_id: str, limits: Limits | None = None
    ) -> None:
        """Begin a conversation. ``call_id`` makes the idempotency keys of this call's tools its own."""
        self._agent, self._services, self._call_id = agent, services, call_id
        self._limits = limits or Limits()
        self._state = State()
        self._before: dict[str, JSON] | None = None
        self._wrote = False

    # ── what is said without being asked ─────────────────────────────────────────────────────────

    def greeting(self) -> str:
        """Return the first words, which say that a machine speaks."""
        return self._begin(self._agent.full_greeting)

    def silence_prompt(self) -> str:
        """Return what to ask a caller who says nothing: with the open question, so that a yes means one thing."""
        return self._begin(f"{self._agent.phrases.silence_prompt} {self._open_question()}".strip())

    def farewell(self, reason: FarewellReason) -> str:
        """Return the last words when the call ends for another reason than what was said."""
        phrases = self._agent.phrases
        match reason:
            case "silence_timeout":
                return self._begin(phrases.silence_farewell)
            case "duration_limit":
                return self._begin(phrases.duration_farewell)
            case "turn_limit":
                return self._begin(phrases.turns_farewell)
            case "speech_error":
                return self._begin(phrases.speech_error)
            case "llm_error":
                return self._begin(phrases.llm_error)
            case "shutdown":
                return self._begin(phrases.shutdown_farewell)
            case _:
                assert_never(reason)

    def transfer_failed(self, reason: TransferFailure) -> Sequence[Reply]:
        """Return what is said when nobody could be reached; the conversation goes on."""
        phrases = self._agent.phrases
        outcome = {
            "unconfigured": phrases.transfer_unconfigured,
            "refused": phrases.transfer_refused,
            "timeout": phrases.transfer_timeout,
        }[reason]
        question = self._open_question()
        if not question:
            self._state.offer, question = "anything_else", phrases.after_transfer
        state = self._state
        if state.answering and state.heard_of_reply is None:  # still within the reply that wanted a person
            state.planned = f"{state.planned} {outcome} {question}".strip()
        else:
            self._begin(f"{outcome} {question}")
        return [Say(outcome), *(Say(part) for part in spoken_parts(question))]

    def resume_line(self) -> str:
        """Return what an agent process says that took the call over: an apology and the open question."""
        phrases = self._agent.phrases
        question = self._open_question()
        if not question and (offered := self._offered()):
            question = offered
        return self._begin(f"{phrases.resume_question} {question}" if question else phrases.resume)

    def _begin(self, text: str) -> str:
        self._state.begin_reply()
        self._state.planned = self._state.last_said = text
        return text

    def _open_question(self) -> str:
        return self._state.task.question if self._state.task is not None else ""

    def _offered(self) -> str:
        phrases = self._agent.phrases
        return {"": "", "person": phrases.person_wanted, "anything_else": phrases.anything_else}[
            self._state.offer
        ]

    # ── what really happened ─────────────────────────────────────────────────────────────────────

    def played(self, text: str) -> None:
        """Tell what of the last reply (all of it so far) was really heard; history keeps exactly that."""
        self._state.heard_of_reply = text
        if self._state.turns and self._state.answering:
            self._state.turns[-1].said = text

    def undo_turn(self) -> None:
        """Forget the last :meth:`respond`: the caller went on, and the whole turn will be said anew.

        What a tool has written stays written, and so does the conversation about it.
        """
        if self._before is not None and not self._wrote:
            self._state = load_state(self._before)
        self._before = None

    def snapshot(self) -> dict[str, JSON]:
        """Return everything needed to go on elsewhere, as versioned JSON."""
        return self._state.dump()

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Go on from a snapshot. Raises ``SnapshotTooNew``."""
        self._state = load_state(state)
        self._before = None
        if self._state.task is not None and self._state.task.name not in self._agent.tasks:
            self._state.task = None

    async def prefill(self) -> None:
        """Put the conversation so far into the language model's cache, ahead of the next turn. May be cancelled."""
        request = history_request(
            self._agent, self._services.tools, self._state.turns, fresh=self._limits.fresh_tokens
        )
        if request is None:
            return
        # A model that cannot be reached now is met with in the next turn.
        with suppress(ModelError):
            async with aclosing(self._services.llm.reply(request)) as items:
                async for _ in items:
                    pass

    # ── one turn ─────────────────────────────────────────────────────────────────────────────────

    async def respond(self, heard: Heard, *, now: datetime) -> AsyncGenerator[Reply, None]:
        """Answer. ``now`` is the caller's local time, aware or naive. Closing the iterator cancels everything."""
        self._before, self._wrote = self._state.dump(), False
        last = self._state.last_said
        missed = self._confirmation_missed()
        if (entered := self._keys(heard)) is None:
            return
        state = self._state
        state.begin_turn(entered.text, entered.source, now.date())
        state.answering = True
        turn = self._context(entered, now)
        try:
            async with aclosing(self._decide(turn, missed=missed)) as replies:
                async for reply in replies:
                    self._wrote = self._wrote or turn.wrote
                    yield reply
        finally:
            self._wrote = self._wrote or turn.wrote
            state.last_said = state.planned or last

    def _context(self, heard: Heard, now: datetime) -> TurnContext:
        return TurnContext(
            self._agent,
            self._services,
            self._state,
            self._limits,
            call_id=self._call_id,
            heard=heard,
            now=now,
        )

    def _confirmation_missed(self) -> bool:
        """Return whether a confirmation waits whose question was cut off before its values were heard."""
        state = self._state
        if state.task is None or not state.task.confirming or state.heard_of_reply is None:
            return False
        return len(state.heard_of_reply) < HEARD_SHARE * len(state.planned)

    def _keys(self, heard: Heard) -> Heard | None:
        """Gather pressed digits; return what they mean once they are complete, None while more must come."""
        if heard.source != "dtmf":
            self._state.keyed = ""
            return heard
        task = self._state.task
        if (task is not None and (task.confirming or task.doubtful is not None)) or self._state.offer:
            return replace(heard, text=_KEYS.get(heard.text, heard.text))
        slot = self._agent.tasks[task.name].slots.get(task.open_slot) if task is not None else None
        if slot is None or slot.kind != "digits" or (heard.text == "0" and not self._state.keyed):
            return heard
        self._state.keyed += "".join(key for key in heard.text if key.isdigit())
        if len(self._state.keyed) < slot.digits and heard.text != "#":
            return None
        keyed, self._state.keyed = self._state.keyed, ""
        return Heard(keyed, "dtmf")

    async def _decide(self, turn: TurnContext, *, missed: bool) -> AsyncGenerator[Reply, None]:
        decision = gate(self._agent, self._state, turn.heard)
        match decision:
            case Escalate():
                for reply in self._hand_over(turn):
                    yield reply
            case Block():
                for reply in self._block(turn, decision):
                    yield reply
            case Authenticate():
                yield turn.phrase(self._agent.phrases.not_verified)
            case Continue():
                async with aclosing(self._answer(turn, missed=missed)) as replies:
                    async for reply in replies:
                        yield reply
            case _:
                assert_never(decision)

    def _hand_over(self, turn: TurnContext) -> list[Reply]:
        self._state.task, self._state.offer = None, ""
        return [turn.phrase(self._agent.phrases.handing_over), HandOff("asked")]

    def _block(self, turn: TurnContext, decision: Block) -> list[Reply]:
        match decision.reason:
            case "do_not_call":
                return [turn.phrase(self._agent.phrases.do_not_call), EndCall("caller_dnc")]
            case "subject":
                return [turn.phrase(self._agent.phrases.refused), *TaskFlow(turn).ask_again()]
            case _:
                assert_never(decision.reason)

    async def _answer(self, turn: TurnContext, *, missed: bool) -> AsyncGenerator[Reply, None]:
        """Tier 1: patterns, slots and tasks. What they leave goes to the knowledge base and the model."""
        flow = TaskFlow(turn)
        if not turn.words or (turn.heard.source == "dtmf" and turn.text in "*#23456789"):
            for reply in self._not_understood(turn, flow):
                yield reply
            return
        if missed and yes_or_no(turn.text) == "yes":
            for reply in flow.ask_again():
                yield reply
            return
        if steps := self._small_talk(turn, flow):
            for reply in steps:
                yield reply
            return
        if answer := self._fixed_answer(turn):
            for reply in self._say_fixed(turn, flow, answer):
                yield reply
            return
        async with aclosing(self._tasks_and_questions(turn, flow)) as replies:
            async for reply in replies:
                yield reply

    async def _tasks_and_questions(self, turn: TurnContext, flow: TaskFlow) -> AsyncGenerator[Reply, None]:
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
        if self._state.offer.startswith("task:") and yes_or_no(turn.text) == "yes":
            async with aclosing(flow.start(self._state.offer.removeprefix("task:"))) as replies:
                async for reply in replies:
                    yield reply
            return
        if steps := self._take_offer(turn):
            for reply in steps:
                yield reply
            return
        async with aclosing(self._tiers_two_and_three(turn, flow)) as replies:
            async for reply in replies:
                yield reply

    async def _tiers_two_and_three(self, turn: TurnContext, flow: TaskFlow) -> AsyncGenerator[Reply, None]:
        self._state.offer = ""
        active = self._state.task is not None
        if is_question(turn.text):
            passages = await find_passages(turn)
            if passages is None:
                self._state.offer = "" if active else "person"
                yield turn.phrase(self._agent.phrases.tool_failed)
            elif passages:
                self._state.misunderstandings = 0
                async with aclosing(answer_from_knowledge(turn, passages)) as replies:
                    async for reply in replies:
                        yield reply
            elif matches(_REQUEST, turn.words) and not active:
                async with aclosing(free_talk(turn, only_calls=True)) as replies:
                    async for reply in replies:
                        yield reply
            else:
                for reply in unknown(turn):
                    yield reply
            for reply in flow.ask_again():
                yield reply
        elif active:
            for reply in flow.not_understood():
                yield reply
        else:
            async with aclosing(free_talk(turn)) as replies:
                async for reply in replies:
                    yield reply

    # ── tier 1 ───────────────────────────────────────────────────────────────────────────────────

    def _not_understood(self, turn: TurnContext, flow: TaskFlow) -> list[Reply]:
        if self._state.task is not None:
            return flow.not_understood()
        self._state.misunderstandings += 1
        phrases = self._agent.phrases
        if too_often(self._agent, self._state):
            self._state.misunderstandings = 0
            return [turn.phrase(phrases.handing_over_trouble), HandOff("misunderstood")]
        again = self._state.misunderstandings > 1
        return [turn.phrase(phrases.not_understood_again if again else phrases.not_understood)]

    def _small_talk(self, turn: TurnContext, flow: TaskFlow) -> list[Reply]:
        phrases, active = self._agent.phrases, self._state.task is not None
        kind = small_talk(turn.text)
        match kind:
            case None:
                return []
            case SmallTalk.GOODBYE:
                self._state.task = None
                return [turn.phrase(phrases.goodbye), EndCall("completed")]
            case SmallTalk.REPEAT:
                last = self._state.last_said
                return [*turn.say(last)] if last else [turn.phrase(phrases.nothing_to_repeat)]
            case SmallTalk.ABANDON:
                return flow.abandon() if active else [turn.phrase(phrases.what_else)]
            case SmallTalk.MACHINE:
                return [turn.phrase(phrases.machine), *flow.ask_again()]
            case SmallTalk.WAIT:
                return [turn.phrase(phrases.take_your_time)]
            case SmallTalk.HELP:
                return [turn.phrase(phrases.help), *flow.ask_again()]
            case SmallTalk.HELLO:
                return flow.ask_again() if active else [turn.phrase(phrases.hello)]
            case SmallTalk.THANKS:
                if active:
                    return flow.ask_again()
                self._state.offer = "anything_else"
                return [turn.phrase(phrases.thanks)]
            case _:
                assert_never(kind)

    def _fixed_answer(self, turn: TurnContext) -> FixedAnswer | None:
        return next((item for item in self._agent.answers if matches(item.triggers, turn.words)), None)

    def _say_fixed(self, turn: TurnContext, flow: TaskFlow, answer: FixedAnswer) -> list[Reply]:
        said: list[Reply] = [*turn.say(answer.say)]
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

    def _take_offer(self, turn: TurnContext) -> list[Reply]:
        """Take a bare yes or no to what was offered."""
        offer, phrases = self._state.offer, self._agent.phrases
        answer = yes_or_no(turn.text)
        if not offer or answer == "unclear" or len(turn.words.split()) > 6:
            return []
        self._state.offer = ""
        match offer, answer:
            case "person", "yes":
                return self._hand_over(turn)
            case "anything_else", "no":
                return [turn.phrase(phrases.goodbye), EndCall("completed")]
            case _:
                return [turn.phrase(phrases.what_else)]


def fixed_phrases(agent: Agent) -> list[str]:
    """Return every fixed line of this agent, each as one ``Say`` carries it (render them at start)."""
    lines = [agent.full_greeting, *agent.phrases.spoken_whole()]
    for answer in agent.answers:
        lines += spoken_parts(answer.say)
    for task in agent.tasks.values():
        texts = [task.opening, task.change, task.declined]
        texts += [text for slot in task.slots.values() for text in (slot.ask, slot.again)]
        texts += [item.say for item in task.outcomes.values()]
        for text in texts:
            lines += [part for part in spoken_parts(text) if "{" not in part]
    return list(dict.fromkeys(lines))


def warm_prefix(agent: Agent, tools: ToolRegistry) -> ChatRequest:
    """Return the request that warms the language model: everything constant of this agent."""
    return warm_request(agent, tools)
