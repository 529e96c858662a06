"""Tasks: slots are filled from what the caller says, checked, confirmed, and then the tool runs. No model decides here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from server.dialogue.agent_file import Slot, Task, TaskCheck, TaskOutcome
from server.dialogue.policy import too_often
from server.dialogue.provenance import Found, understand
from server.dialogue.replies import EndCall, HandOff, Provenance, Reply
from server.dialogue.speaking import speak_date
from server.dialogue.state import SlotValue, TaskState, typed
from server.dialogue.tools import Tool
from server.dialogue.triggers import matches
from server.dialogue.turn import TurnContext
from server.dialogue.understanding.yes_no import starts_with_yes, yes_or_no

CHANGING: Final = "?"
"""Stands for the open slot while the caller says what to change."""

_SLOT_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "date": ("day|date|week",),
    "time": ("time|hour|clock",),
    "name": ("name|spelling",),
    "digits": ("number|reference|code",),
    "text": ("reason|subject",),
}
_NUMBER_CUES: Final = ("number|reference|booking|code|appointment",)


class TaskFlow:
    """Drives the task of a conversation through one turn."""

    def __init__(self, turn: TurnContext) -> None:
        """Work on this turn's state."""
        self._turn, self._state, self._agent = turn, turn.state, turn.agent

    # ── beginning ────────────────────────────────────────────────────────────────────────────────

    def triggered(self) -> str | None:
        """Return the first task whose trigger was said."""
        return next(
            (name for name, task in self._agent.tasks.items() if matches(task.triggers, self._turn.words)),
            None,
        )

    def is_interlude(self, name: str) -> bool:
        """Return whether a task only looks something up, so that it may interrupt another."""
        task = self._agent.tasks[name]
        return not task.confirm and all(slot.optional for slot in task.slots.values())

    async def start(
        self, name: str, proven: Mapping[str, SlotValue] | None = None
    ) -> AsyncGenerator[Reply, None]:
        """Begin a task with what the caller said so far."""
        task = self._agent.tasks[name]
        interrupted = self._state.task if self.is_interlude(name) else None
        current = self._state.task = TaskState(name)
        self._state.offer = ""
        current.slots |= {key: item for key, item in (proven or {}).items() if key in task.slots}
        self._fill(current, task)
        async with aclosing(self._advance(current, task, opening=True)) as replies:
            async for reply in replies:
                yield reply
        if interrupted is not None and self._idle():
            self._state.task, self._state.offer = interrupted, ""
            for reply in self.ask_again():
                yield reply

    def _idle(self) -> bool:
        return self._state.task is None

    # ── the caller's answer ──────────────────────────────────────────────────────────────────────

    async def take(self) -> AsyncGenerator[Reply, None]:
        """Take the turn as an answer to the open question. Yields nothing where it was none."""
        current = self._state.task
        assert current is not None
        task = self._agent.tasks[current.name]
        if current.doubtful is not None:
            steps = self._resolve_doubt(current, task)
        elif current.confirming:
            steps = self._take_confirmation(current, task)
        elif current.open_slot == CHANGING:
            steps = self._take_change(current, task)
        else:
            steps = self._take_slots(current, task)
        async with aclosing(steps) as replies:
            async for reply in replies:
                yield reply

    async def _take_slots(self, current: TaskState, task: Task) -> AsyncGenerator[Reply, None]:
        if offer := next((item for item in task.offers if matches(item.triggers, self._turn.words)), None):
            self._fill(current, task)
            async with aclosing(self._offer_choices(current, task, offer)) as replies:
                async for reply in replies:
                    yield reply
        elif self._fill(current, task) or current.doubtful is not None:
            self._state.misunderstandings = 0
            async with aclosing(self._advance(current, task)) as replies:
                async for reply in replies:
                    yield reply

    async def _take_confirmation(self, current: TaskState, task: Task) -> AsyncGenerator[Reply, None]:
        answer = yes_or_no(self._turn.text)
        if self._fill(current, task) or current.doubtful is not None:
            current.confirming = False
            self._state.misunderstandings = 0
            async with aclosing(self._advance(current, task)) as replies:
                async for reply in replies:
                    yield reply
        elif answer == "no":
            current.confirming, current.open_slot = False, CHANGING
            named = self._named_slot(task)
            change = task.change or self._agent.phrases.which_to_change
            for say in self._ask(current, self._ask_anew(current, task, named) if named else change):
                yield say
        elif answer == "yes" or starts_with_yes(self._turn.text):
            if self._turn.heard.confidence < self._turn.limits.unsure_below:
                for reply in self.not_understood():
                    yield reply
                return
            self._state.misunderstandings = 0
            current.confirming = False
            async with aclosing(self._carry_out(current, task)) as replies:
                async for reply in replies:
                    yield reply

    async def _take_change(self, current: TaskState, task: Task) -> AsyncGenerator[Reply, None]:
        if self._fill(current, task) or current.doubtful is not None:
            async with aclosing(self._advance(current, task)) as replies:
                async for reply in replies:
                    yield reply
        elif named := self._named_slot(task):
            for say in self._ask(current, self._ask_anew(current, task, named)):
                yield say
        elif yes_or_no(self._turn.text) == "no" or matches(
            ("nothing", "leave it", "cancel"), self._turn.words
        ):
            for reply in self.abandon():
                yield reply

    async def _resolve_doubt(self, current: TaskState, task: Task) -> AsyncGenerator[Reply, None]:
        doubtful, current.doubtful = current.doubtful, None
        assert doubtful is not None
        answer = yes_or_no(self._turn.text)
        if self._fill(current, task) or current.doubtful is not None:
            pass
        elif answer == "yes":
            current.slots[current.open_slot] = doubtful
        elif answer == "unclear":
            current.doubtful = doubtful
            return
        async with aclosing(self._advance(current, task)) as replies:
            async for reply in replies:
                yield reply

    def _named_slot(self, task: Task) -> str:
        """Return the slot that "the time is wrong" names."""
        for name, slot in task.slots.items():
            if matches((name, *_SLOT_WORDS[slot.kind]), self._turn.words):
                return name
        return ""

    def _ask_anew(self, current: TaskState, task: Task, name: str) -> str:
        current.slots.pop(name, None)
        current.open_slot = name
        return task.slots[name].ask

    # ── understanding ────────────────────────────────────────────────────────────────────────────

    def _fill(self, current: TaskState, task: Task) -> bool:
        """Put into the slots what this turn says; return whether any of them changed."""
        changed = False
        open_first = sorted(task.slots.items(), key=lambda item: item[0] != current.open_slot)
        for name, slot in open_first:
            found = self._find(current, name, slot, changed=changed)
            if found is None:
                continue
            origin = Provenance("utterance", f"turn {self._state.turn}", self._turn.text)
            value = SlotValue(slot.kind, found.text, origin)
            if found.note == "weekday":
                current.doubtful, current.open_slot = value, name
                current.slots.pop(name, None)
                continue
            before = current.slots.get(name)
            if before is None or before.text != found.text or name == current.open_slot:
                current.slots[name] = value
                changed = changed or before is None or before.text != found.text or not current.confirming
            if name == current.open_slot and slot.kind in ("digits", "name", "text"):
                break  # the words of a name or a number are not looked at again as a date or a time
        return changed

    def _find(self, current: TaskState, name: str, slot: Slot, *, changed: bool) -> Found | None:
        asked = name == current.open_slot
        correcting = (current.confirming or current.open_slot == CHANGING) and not changed
        if slot.kind == "name" and correcting:
            correcting = yes_or_no(self._turn.text) == "no" or current.open_slot == CHANGING
        expected = asked or (correcting and slot.kind in ("date", "time", "name"))
        found = understand(
            slot.kind, self._turn.text, self._turn.today, expected=expected, digits=slot.digits
        )
        if found is None or found.strong or expected:
            return found
        empty = name not in current.slots
        if slot.kind == "digits":
            return found if empty and matches(_NUMBER_CUES, self._turn.words) else None
        if slot.kind == "name":
            return found if empty else None
        return None

    def _doubt(self, value: SlotValue) -> str:
        day = typed("date", value.text)
        words = speak_date(day)  # type: ignore[arg-type]
        return f"That date is a {words.split()[0]}. Do you mean {words}?"

    # ── going on ─────────────────────────────────────────────────────────────────────────────────

    async def _advance(
        self, current: TaskState, task: Task, *, opening: bool = False
    ) -> AsyncGenerator[Reply, None]:
        """Check what is known, then ask for the next thing, or for the confirmation, or run the tool."""
        for check in task.checks:
            mark = self._mark(check, current)
            if mark is None or mark in current.checked:
                continue
            passed = False
            async with aclosing(self._check(current, task, check)) as replies:
                async for reply in replies:
                    yield reply
            passed = self._turn.result is not None and self._outcome_passes(check)
            if not passed:
                return
            current.checked.append(mark)
        if current.doubtful is not None:
            for say in self._ask(current, self._doubt(current.doubtful)):
                yield say
            return
        missing = next(
            (name for name, slot in task.slots.items() if not slot.optional and name not in current.slots), ""
        )
        if missing:
            current.open_slot = missing
            lead = task.opening if opening else ""
            for say in self._ask(current, task.slots[missing].ask, lead=lead):
                yield say
        elif task.confirm:
            for question in self._ask_confirmation(current, task):
                yield question
        else:
            async with aclosing(self._carry_out(current, task)) as replies:
                async for reply in replies:
                    yield reply

    def _ask_confirmation(self, current: TaskState, task: Task) -> list[Reply]:
        current.confirming, current.open_slot = True, ""
        return self._ask(current, task.confirm)

    def _ask(self, current: TaskState, template: str, *, lead: str = "") -> list[Reply]:
        """Put a question, and remember how it was put."""
        current.question = self._turn.fill(template, current)
        return [*self._turn.say(f"{self._turn.fill(lead, current)} {current.question}".strip())]

    def _mark(self, check: TaskCheck, current: TaskState) -> str | None:
        if any(name not in current.slots for name in check.slots):
            return None
        return "|".join([check.tool, *(current.slots[name].text for name in check.slots)])

    def _outcome_passes(self, check: TaskCheck) -> bool:
        assert self._turn.result is not None
        outcome = check.outcomes.get(self._turn.result.status)
        return outcome is not None and not outcome.ask and outcome.then == "go_on"

    async def _check(self, current: TaskState, task: Task, check: TaskCheck) -> AsyncGenerator[Reply, None]:
        arguments = {name: current.slots[name] for name in check.slots}
        async with aclosing(self._run(check.tool, arguments)) as replies:
            async for reply in replies:
                yield reply
        async with aclosing(self._follow(current, task, check.tool, check.outcomes)) as replies:
            async for reply in replies:
                yield reply

    async def _offer_choices(
        self, current: TaskState, task: Task, offer: TaskCheck
    ) -> AsyncGenerator[Reply, None]:
        unknown = next((name for name in offer.slots if name not in current.slots), "")
        if unknown:
            current.open_slot = unknown
            for say in self._ask(current, task.slots[unknown].ask):
                yield say
            return
        async with aclosing(self._check(current, task, offer)) as replies:
            async for reply in replies:
                yield reply

    async def _carry_out(self, current: TaskState, task: Task) -> AsyncGenerator[Reply, None]:
        async with aclosing(self._run(task.tool, current.slots)) as replies:
            async for reply in replies:
                yield reply
        async with aclosing(self._follow(current, task, task.tool, task.outcomes)) as replies:
            async for reply in replies:
                yield reply

    async def _run(self, name: str, arguments: Mapping[str, SlotValue]) -> AsyncGenerator[Reply, None]:
        tool = self._tool(name)
        if tool is None:
            self._turn.result = None
            return
        async with aclosing(self._turn.run_tool(tool, arguments)) as replies:
            async for reply in replies:
                yield reply

    def _tool(self, name: str) -> Tool | None:
        tool = self._turn.services.tools.get(name)
        return tool if tool is not None and tool.function is not None else None

    async def _follow(
        self, current: TaskState, task: Task, tool: str, outcomes: Mapping[str, TaskOutcome]
    ) -> AsyncGenerator[Reply, None]:
        """Do what the agent file says for the tool's answer."""
        result = self._turn.result
        outcome = outcomes.get(result.status) if result is not None else None
        if result is None or outcome is None:
            for reply in self._tool_failed(tool):
                yield reply
            return
        text = self._turn.fill(outcome.say, current) if outcome.say else ""
        for name in (*outcome.clear, *((outcome.ask,) if outcome.ask else ())):
            current.slots.pop(name, None)
        if outcome.ask:
            for question in self._ask_after(current, task, outcome, result.status, text):
                yield question
            return
        for reply in self._finish(outcome, text):
            yield reply

    def _ask_after(
        self, current: TaskState, task: Task, outcome: TaskOutcome, status: str, text: str
    ) -> list[Reply]:
        current.attempts[status] = current.attempts.get(status, 0) + 1
        current.confirming, current.open_slot = False, outcome.ask
        if current.attempts[status] >= outcome.attempts:
            current.attempts[status] = 0
            self._state.offer, self._state.task = "person", None
            return [self._turn.phrase(self._agent.phrases.offer_person)]
        question = task.slots[outcome.ask].ask
        if not text.endswith("?"):
            return self._ask(current, question, lead=text)
        current.question = self._turn.fill(question, current)
        return [*self._turn.say(text)]

    def _finish(self, outcome: TaskOutcome, text: str) -> list[Reply]:
        replies: list[Reply] = [*self._turn.say(text)]
        match outcome.then:
            case "go_on":
                pass
            case "answered":
                self._state.task = None
            case "done":
                self._state.task = None
                if not text.endswith("?"):
                    self._state.offer = "anything_else"
                    replies.append(self._turn.phrase(self._agent.phrases.anything_else))
            case "person":
                self._state.task = None
                replies += [self._turn.phrase(self._agent.phrases.handing_over), HandOff("policy")]
            case "end":
                self._state.task = None
                replies.append(EndCall("completed"))
        return replies

    def _tool_failed(self, name: str) -> list[Reply]:
        tool = self._tool(name)
        self._state.task, self._state.offer = None, "person"
        return [self._turn.phrase((tool.fallback if tool else "") or self._agent.phrases.tool_failed)]

    # ── repair ───────────────────────────────────────────────────────────────────────────────────

    def open_question(self) -> str:
        """Return the question that waits for an answer, or nothing."""
        return self._state.task.question if self._state.task is not None else ""

    def ask_again(self) -> list[Reply]:
        """Ask the open question once more, after something else was said in between."""
        return [*self._turn.say(self.open_question())]

    def not_understood(self) -> list[Reply]:
        """Ask in other words; after the policy's limit a person takes over."""
        self._state.misunderstandings += 1
        current = self._state.task
        assert current is not None
        if too_often(self._agent, self._state):
            self._state.misunderstandings = 0
            return [self._turn.phrase(self._agent.phrases.handing_over_trouble), HandOff("misunderstood")]
        if current.confirming or current.doubtful is not None:
            return [self._turn.phrase(self._agent.phrases.say_yes_or_no), *self.ask_again()]
        slot = self._agent.tasks[current.name].slots.get(current.open_slot)
        again = (slot.again if slot else "") or self.open_question()
        return [*self._turn.say(self._turn.fill(again, current))]

    def abandon(self) -> list[Reply]:
        """Leave the task."""
        current = self._state.task
        task = self._agent.tasks[current.name] if current else None
        self._state.task, self._state.offer = None, "anything_else"
        left = (task.declined if task else "") or self._agent.phrases.cancelled
        said = self._turn.say(left)
        return [
            *said,
            *([] if left.endswith("?") else [self._turn.phrase(self._agent.phrases.anything_else)]),
        ]
