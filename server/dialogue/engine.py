"""One call's dialogue: decides every turn, in code where it can and with the language model where it must.

Knows no audio and no clock: what was heard and when are arguments.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, assert_never

from models.errors import ModelError
from models.protocols import ChatRequest, Priority, Promotes
from server.dialogue.agent_file import Agent
from server.dialogue.deciding import TurnDecision
from server.dialogue.expectation import asks, expectation
from server.dialogue.prompts import history_request, prefill_of, warm_request
from server.dialogue.rehearsal import ANY_DAY, NoteTaker
from server.dialogue.replies import JSON, Expectation, Heard, Reply, Role, Say
from server.dialogue.state import State, load_state
from server.dialogue.tools import ToolRegistry
from server.dialogue.turn import Limits, Services, TurnContext, spoken_parts

__all__ = ["Dialogue", "Limits", "Services", "fixed_phrases", "warm_prefix"]

FarewellReason = Literal[
    "silence_timeout", "duration_limit", "turn_limit", "speech_error", "llm_error", "shutdown"
]
TransferFailure = Literal["unconfigured", "refused", "timeout"]
HEARD_SHARE: Final = 0.6
"""A confirmation counts only if so much of the question was really heard."""
_KEYS: Final = {"1": "yes", "2": "no"}


@dataclass(slots=True)
class _Taken:
    """The latest turn taken, as long as it can be taken back."""

    before: dict[str, JSON]
    expects: Expectation
    """What was waited for when it was said, and whether by a question."""
    asks: bool
    committed: bool = False
    turn: TurnContext | None = None

    @property
    def wrote(self) -> bool:
        return self.turn is not None and self.turn.wrote


class Dialogue:
    """The conversation of one call."""

    def __init__(
        self, agent: Agent, services: Services, *, call_id: str, limits: Limits | None = None
    ) -> None:
        """Begin a conversation. ``call_id`` makes the idempotency keys of this call's tools its own."""
        self._agent, self._services, self._call_id = agent, services, call_id
        self._limits = limits or Limits()
        self._state = State()
        self._taken: _Taken | None = None
        self._open = False
        """Whether the turn taken last may not be over: what is waited for is still what it answers."""
        self._cached: ChatRequest | None = None
        """The last prefill that went through, while nothing else was asked of the model since."""
        self._fixed = frozenset((*fixed_phrases(agent), *services.tools.fixed_phrases()))

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
        parts = [outcome, *spoken_parts(question)]
        return [Say(part, cacheable=part in self._fixed) for part in parts]

    def resume_line(self) -> str:
        """Return what an agent process says that took the call over: an apology and the open question."""
        phrases = self._agent.phrases
        question = self._open_question()
        if not question and (offered := self._offered()):
            question = offered
        return self._begin(f"{phrases.resume_question} {question}" if question else phrases.resume)

    def _begin(self, text: str) -> str:
        self._open = False
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
        """Tell what of the last reply (all of it so far) was really heard; history keeps exactly that.

        Of the reply that a new turn cuts off this is told before :meth:`respond`.
        """
        self._open = self._open and not text
        self._state.heard_of_reply = text
        if self._state.turns and self._state.answering:
            self._state.turns[-1].said = text

    def undo_turn(self) -> None:
        """Forget the last :meth:`respond`: the caller went on, and the whole turn will be said anew.

        Its iterator is closed before. What a tool has written stays written, and so does the conversation about it.
        Without a turn to take back nothing happens.
        """
        if self._taken is not None and not self._taken.wrote:
            self._state = load_state(self._taken.before)
        self._taken, self._open = None, False

    def commit_turn(self) -> None:
        """The caller is done: the last :meth:`respond` stands, whether it has finished or not."""
        if (taken := self._taken) is not None:
            taken.committed = True
            if taken.turn is not None:
                taken.turn.priority = Priority.FINAL
        self._taken, self._open = None, False
        if isinstance(self._services.llm, Promotes):
            self._services.llm.promote()

    # ── what is waited for ───────────────────────────────────────────────────────────────────────

    def expects(self) -> Expectation:
        """Return what kind of answer is waited for: until a turn is committed, what it was to be an answer to."""
        if self._open and self._taken is not None:
            return self._taken.expects
        return expectation(self._agent, self._state)

    @property
    def asks(self) -> bool:
        """Whether the running or last reply ends with a question; until a turn is committed, the reply before it."""
        if self._open and self._taken is not None:
            return self._taken.asks
        return asks(self._state)

    # ── another process, and the model's cache ───────────────────────────────────────────────────

    def snapshot(self) -> dict[str, JSON]:
        """Return everything needed to go on elsewhere, as versioned JSON."""
        return self._state.dump()

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Go on from a snapshot. Raises ``SnapshotTooNew``."""
        self._state = load_state(state)
        self._taken, self._open = None, False
        if self._state.task is not None and self._state.task.name not in self._agent.tasks:
            self._state.task = None

    async def prefill(self, partial: str = "") -> None:
        """Put the conversation so far, and the words heard so far of the next turn, into the language model's cache.

        What is put there is the beginning of what :meth:`respond` will ask, so that only the last words are left to be
        read. Nothing is asked where code would decide the words, nor what is in the cache already. May be cancelled;
        not while a turn is being answered.
        """
        request = await self._rehearse(partial) if partial.strip() else self._history()
        if request is None or request == self._cached:
            return
        self._cached = None
        # A model that cannot be reached now is met with in the next turn.
        with suppress(ModelError):
            async with aclosing(self._services.llm.reply(request)) as items:
                async for _ in items:
                    pass
            self._cached = request

    def _history(self) -> ChatRequest | None:
        return history_request(
            self._agent, self._services.tools, self._state.turns, fresh=self._limits.fresh_tokens
        )

    async def _rehearse(self, partial: str) -> ChatRequest | None:
        """Return what the model would be asked if these were all the words; None where code would decide."""
        notes, state = NoteTaker(), load_state(self._state.dump())
        missed = self._confirmation_missed()
        state.begin_turn(partial, "speech", ANY_DAY.date())
        turn = TurnContext(
            self._agent, replace(self._services, llm=notes), state, self._limits,
            call_id=self._call_id, heard=Heard(partial), now=ANY_DAY, rehearsal=True,
        )  # fmt: skip
        async with aclosing(TurnDecision(turn).decide(missed=missed)) as replies:
            async for reply in replies:
                if notes.asked is not None or not isinstance(reply, Say) or reply.role is not Role.FILLER:
                    break
        return prefill_of(notes.asked) if notes.asked is not None else None

    # ── one turn ─────────────────────────────────────────────────────────────────────────────────

    def respond(
        self, heard: Heard, *, now: datetime, silent_for_s: float = 0.0, speculative: bool = False
    ) -> AsyncGenerator[Reply, None]:
        """Answer. Closing the iterator cancels everything.

        ``now`` is the caller's local time, aware or naive; ``silent_for_s`` how long ago the caller stopped speaking,
        from when a filler is counted. ``speculative``: the caller may go on, so the model serves others first until
        :meth:`commit_turn`. Whoever answers a turn that is not committed holds back what is said and asks for nothing
        after ``EffectStarts``: everything before it changes nothing but this conversation, and that is taken back by
        :meth:`undo_turn`, from the moment of this call.
        """
        waited_for, by_question = self.expects(), self.asks
        self._taken = _Taken(self._state.dump(), waited_for, by_question)
        self._open = speculative
        return self._respond(self._taken, heard, now, silent_for_s=silent_for_s, speculative=speculative)

    async def _respond(
        self, taken: _Taken, heard: Heard, now: datetime, *, silent_for_s: float, speculative: bool
    ) -> AsyncGenerator[Reply, None]:
        self._cached = None
        state, last = self._state, self._state.last_said
        missed = self._confirmation_missed()
        if (entered := self._keys(heard)) is None:
            return
        turn = taken.turn = TurnContext(
            self._agent, self._services, state, self._limits,
            call_id=self._call_id, heard=entered, now=now, fixed=self._fixed,
            priority=Priority.SPECULATIVE if speculative and not taken.committed else Priority.FINAL,
            silent_for_s=silent_for_s,
        )  # fmt: skip
        state.begin_turn(entered.text, entered.source, now.date())
        state.answering = True
        try:
            async with aclosing(TurnDecision(turn).decide(missed=missed)) as replies:
                async for reply in replies:
                    yield reply
        finally:
            state.last_said = state.planned or last

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
