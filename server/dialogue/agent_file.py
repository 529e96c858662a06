"""The agent file: one YAML file that its owner edits, read into one model, with errors that name line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.config_file import Lines, read_yaml
from server.dialogue.errors import AgentFileError
from server.dialogue.phrases import Phrases
from server.dialogue.triggers import TriggerError, compile_trigger
from server.errors import ConfigurationError

AGENT_FILE = "agent.yaml"


def _trigger(text: str) -> str:
    try:
        compile_trigger(text)
    except TriggerError as error:
        raise ValueError(str(error)) from error
    return text


def _respelling(text: str) -> str:
    if not re.fullmatch(r"\[\[[^\[\]]+\]\]|[^\[\]]*\w[^\[\]]*", text):
        raise ValueError("expected the word as it sounds, or its phonemes as [[...]]")
    return text


Trigger = Annotated[str, AfterValidator(_trigger)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Written = Annotated[str, Field(pattern=r"\w", max_length=60)]
Respelling = Annotated[str, Field(max_length=120), AfterValidator(_respelling)]
SlotKind = Literal["date", "time", "name", "digits", "text"]


class Part(BaseModel):
    """Base of every part: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Expansion(Part):
    """Words that callers use and documents do not: a brand for its kind, "located" for the address."""

    triggers: tuple[Trigger, ...] = Field(min_length=1)
    add: str = Field(min_length=1)
    """Added to the question when the documents are searched."""


class KnowledgePart(Part):
    """The agent's documents."""

    collection: str = ""
    """Name in the knowledge base. Empty: the agent's name."""
    documents: str = "documents"
    """Folder beside the agent file."""
    threshold: float = Field(default=0.42, ge=0, le=1)
    """Passages scored below it are no answer."""
    read_aloud: float = Field(default=0.55, ge=0, le=1)
    """Share of the question's words that a sentence must hold to be read word for word, without the LLM."""
    passages: int = Field(default=3, ge=1, le=10)
    expansions: tuple[Expansion, ...] = ()


class ToolsPart(Part):
    """The agent's own tools."""

    module: str = "tools.py"
    """Python file beside the agent file; empty: no tools."""


class HandOffPart(Part):
    """Who takes the call when a person is wanted."""

    target: str = Field(default="", pattern=r"^$|^sips?:[^\s<>]+$|^tel:[+0-9.\-]+$")
    """SIP URI; empty: the one of the settings."""


class Policies(Part):
    """What may be done."""

    misunderstandings: int = Field(default=3, ge=1, le=10)
    """So many in a row, and a person is offered."""
    blocked: tuple[Trigger, ...] = ()
    """Subjects the agent refuses."""
    do_not_call: tuple[Trigger, ...] = ()
    """More ways to say that one does not want to be called."""


class FixedAnswer(Part):
    """One thing callers say and the sentence that answers it."""

    triggers: tuple[Trigger, ...] = Field(min_length=1)
    say: str = Field(min_length=1)
    then: Literal["go_on", "person", "emergency", "end"] = "go_on"
    offers: str = ""
    """Task that begins when the caller answers with yes."""


class Slot(Part):
    """Something that a task needs to know."""

    kind: SlotKind
    ask: str = ""
    """The question; may be empty where the slot is optional."""
    again: str = ""
    """The question when the first answer was not understood."""
    optional: bool = False
    """Never asked for; taken when the caller says it."""
    digits: int = Field(default=4, ge=1, le=20)
    """Length of a ``digits`` slot."""


class TaskOutcome(Part):
    """What follows when a tool answered with this status."""

    say: str = ""
    ask: Name | Literal[""] = ""
    """Forget this slot and ask for it again."""
    clear: tuple[Name, ...] = ()
    """More slots to forget."""
    then: Literal["go_on", "answered", "done", "person", "end"] = "go_on"
    """``answered``: the task is over; ``done``: and the caller is asked whether there is anything else."""
    attempts: int = Field(default=3, ge=1)
    """So many times in a row, then a person is offered."""


class TaskCheck(Part):
    """A read-only tool that runs as soon as its slots are known."""

    tool: Name
    slots: tuple[Name, ...] = Field(min_length=1)
    outcomes: dict[Name, TaskOutcome]


class TaskOffer(TaskCheck):
    """A read-only tool that runs when the caller asks for choices ("what times do you have?")."""

    triggers: tuple[Trigger, ...] = Field(min_length=1)


class Task(Part):
    """Something that the agent does: slots are filled, checked, confirmed, and then a tool runs."""

    triggers: tuple[Trigger, ...] = Field(min_length=1)
    tool: Name
    opening: str = ""
    """Said when the task begins, before the first question."""
    slots: dict[Name, Slot] = Field(default_factory=dict)
    checks: tuple[TaskCheck, ...] = ()
    offers: tuple[TaskOffer, ...] = ()
    confirm: str = ""
    """Yes-or-no question before the tool runs; required where the tool writes."""
    change: str = ""
    """Question after a plain no."""
    declined: str = ""
    """Said when the caller does not want it after all."""
    outcomes: dict[Name, TaskOutcome] = Field(min_length=1)

    @model_validator(mode="after")
    def _slots_exist(self) -> Task:
        for check in (*self.checks, *self.offers):
            _known(check.slots, self.slots, f"tool {check.tool}: slots")
        for status, outcome in _outcomes(self):
            _known(
                (*outcome.clear, *((outcome.ask,) if outcome.ask else ())), self.slots, f"outcome {status}"
            )
        for name, slot in self.slots.items():
            if not slot.optional and not slot.ask:
                raise ValueError(f"slot {name}: expected `ask: QUESTION`, or `optional: true`")
        return self


def _outcomes(task: Task) -> Iterator[tuple[str, TaskOutcome]]:
    yield from task.outcomes.items()
    for check in (*task.checks, *task.offers):
        yield from check.outcomes.items()


def _known(names: tuple[str, ...], slots: dict[str, Slot], where: str) -> None:
    if unknown := [name for name in names if name not in slots]:
        raise ValueError(f"{where}: no slot {unknown[0]!r}; expected one of {', '.join(slots) or 'none'}")


class Agent(Part):
    """An agent, as its owner describes it."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{1,60}[a-zA-Z0-9]$")
    """Name in records; also of its collection of documents."""
    language: Literal["en"] = "en"
    voice: str = ""
    """Voice of the synthesiser; empty: the one of the settings."""
    greeting: str = Field(min_length=1)
    """First words."""
    disclosure: str = Field(min_length=1)
    """Says that a machine speaks; always follows the greeting."""
    opening_question: str = "How can I help you?"
    persona: str = Field(min_length=1, max_length=900)
    """Who the agent is, for the language model. Short: every word costs time at start."""
    examples: tuple[tuple[str, str], ...] = ()
    """Questions and answers that show the language model the tone."""
    hot_words: tuple[str, ...] = ()
    """Names that speech recognition should expect."""
    pronunciations: dict[Written, Respelling] = Field(default_factory=dict, max_length=500)
    """Words and phrases that the voice says wrongly, with how they sound; nothing else is changed by them."""
    handoff: HandOffPart = HandOffPart()
    knowledge: KnowledgePart = KnowledgePart()
    tools: ToolsPart = ToolsPart()
    policies: Policies = Policies()
    phrases: Phrases = Phrases()
    answers: tuple[FixedAnswer, ...] = ()
    tasks: dict[Name, Task] = Field(default_factory=dict)
    folder: Path = Field(default=Path(), exclude=True, json_schema_extra={"readOnly": True})
    """Where it was read; set by :func:`load_agent`, not in the file."""

    @model_validator(mode="after")
    def _offers_exist(self) -> Agent:
        for number, answer in enumerate(self.answers, 1):
            if answer.offers and answer.offers not in self.tasks:
                raise ValueError(
                    f"answer {number}: offers: no task {answer.offers!r}; expected one of {', '.join(self.tasks)}"
                )
        return self

    @property
    def full_greeting(self) -> str:
        """Greeting, disclosure and opening question."""
        return " ".join(
            part.strip() for part in (self.greeting, self.disclosure, self.opening_question) if part
        )

    @property
    def collection(self) -> str:
        """Collection of the knowledge base."""
        return self.knowledge.collection or self.name


def load_agent(folder: Path) -> Agent:
    """Read ``folder/agent.yaml``. Raises :class:`AgentFileError` naming file, line, field and expectation."""
    path = folder / AGENT_FILE
    if not path.is_file():
        raise AgentFileError(f"{path}: not there; expected an agent's folder with a file {AGENT_FILE}")
    try:
        values, lines = read_yaml(path)
    except ConfigurationError as error:
        raise AgentFileError(str(error)) from None
    if "folder" in values:
        raise AgentFileError(f"{path}, line {lines.get(('folder',), 1)}: folder: unknown key")
    try:
        agent = Agent.model_validate({**values, "folder": folder.resolve()})
    except ValidationError as error:
        raise AgentFileError("\n".join(_explain(path, lines, item) for item in error.errors())) from None
    if agent.tools.module and not (folder / agent.tools.module).is_file():
        line = lines.get(("tools", "module"), 1)
        raise AgentFileError(
            f"{path}, line {line}: tools.module: no file {agent.tools.module} beside the agent file; "
            "expected a Python file with tools, or `module: ''`"
        )
    return agent


def _explain(path: Path, lines: Lines, item: Any) -> str:
    place = tuple(str(part) for part in item["loc"])
    known = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)
    field = ".".join(place) or "agent"
    message = _expectation(item)
    given = item.get("input")
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{path}, line {known}: {field}: {message}{shown}"


def _expectation(item: Any) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown key; see the agent guide for the keys that exist here"
        case "missing":
            return "is missing; expected a value"
        case "literal_error":
            return f"expected {item['ctx']['expected']}"
        case "string_pattern_mismatch":
            return f"expected text that matches {item['ctx']['pattern']}"
        case "value_error":
            return str(item["ctx"]["error"])
        case _:
            text = re.sub(r"^Input should be", "expected", str(item["msg"]))
            return text if text.startswith("expected") else f"expected otherwise: {text}"


def agent_schema() -> dict[str, Any]:
    """Return the JSON Schema of the agent file."""
    schema: dict[str, Any] = Agent.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Landline agent file"
    del schema["properties"]["folder"]
    return schema


def schema_text() -> str:
    """Return the JSON Schema as text, byte-stable."""
    return json.dumps(agent_schema(), indent=2, sort_keys=True) + "\n"
