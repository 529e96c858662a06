"""Tools: typed Python functions with a declared effect, run with a limit and, where they write, only once per key."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import inspect
import logging
import re
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any, Literal, NewType, Protocol

from models.protocols import ToolExample, ToolSpec
from server.dialogue.errors import AgentFileError, ToolError
from server.dialogue.replies import JSON

_log = logging.getLogger("server.dialogue.tools")

PersonName = NewType("PersonName", str)
Digits = NewType("Digits", str)
"""Text of digits only, spoken one by one."""

Effect = Literal["read", "write", "control"]
Authentication = Literal["none", "verified"]
Value = date | clock_time | str | int
Action = Literal["hand_over", "end_call"]

_KINDS: Mapping[Any, tuple[str, Mapping[str, JSON]]] = {
    date: ("date", {"type": "string", "format": "date"}),
    clock_time: ("time", {"type": "string", "format": "time"}),
    PersonName: ("name", {"type": "string"}),
    Digits: ("digits", {"type": "string", "pattern": "^[0-9]+$"}),
    str: ("text", {"type": "string"}),
    int: ("number", {"type": "integer"}),
}


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool knows besides its arguments."""

    database: Path
    now: datetime
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool found out: a status that the agent file gives words to, and values to fill in."""

    status: str
    data: Mapping[str, object] = field(default_factory=dict)
    verified: Mapping[str, str] = field(default_factory=dict)
    """Identities that this result proves, such as ``{"reference": "4821"}``."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool."""

    name: str
    kind: str
    schema: Mapping[str, JSON]
    required: bool


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool with everything that is declared about it."""

    name: str
    description: str
    function: Callable[..., ToolResult] | None
    parameters: tuple[Parameter, ...]
    effect: Effect
    authentication: Authentication = "none"
    timeout_s: float = 4.0
    slow: bool = False
    filler: str = ""
    fallback: str = ""
    offered: bool = True
    """Whether the language model may ask for it."""
    action: Action | None = None
    examples: tuple[str, ...] = ()
    """What callers say who want it; a small model picks the right tool by them."""

    def spec(self) -> ToolSpec:
        """Return the tool as the language model sees it."""
        properties = {item.name: dict(item.schema) for item in self.parameters}
        # Nothing is required of the model: what the caller has not said it would have to invent. The dialogue
        # reads the values from the caller's own words and asks for what is missing.
        schema = {"type": "object", "properties": properties, "required": [], "additionalProperties": False}
        examples = tuple(ToolExample(words, {}) for words in self.examples)
        return ToolSpec(self.name, self.description, schema, examples)

    def parameter(self, name: str) -> Parameter | None:
        """Return one parameter."""
        return next((item for item in self.parameters if item.name == name), None)


def tool(
    *,
    effect: Effect,
    authentication: Authentication = "none",
    timeout_s: float = 4.0,
    slow: bool = False,
    filler: str = "",
    fallback: str = "",
    offered: bool = True,
    examples: tuple[str, ...] = (),
) -> Callable[[Callable[..., ToolResult]], Callable[..., ToolResult]]:
    """Declare a function ``(context, *, argument…) -> ToolResult`` as a tool; its docstring is the description."""

    def declare(function: Callable[..., ToolResult]) -> Callable[..., ToolResult]:
        declared = Tool(
            name=function.__name__,
            description=(inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "),
            function=function,
            parameters=_parameters(function),
            effect=effect,
            authentication=authentication,
            timeout_s=timeout_s,
            slow=slow,
            filler=filler,
            fallback=fallback,
            offered=offered,
            examples=examples,
        )
        function.__dict__["landline_tool"] = declared
        return function

    return declare


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function)
    found: list[Parameter] = []
    for name, item in list(inspect.signature(function).parameters.items())[1:]:
        hint = hints.get(name)
        choices = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        if hint not in _KINDS and len(choices) == 1:
            hint = choices[0]
        if hint not in _KINDS:
            raise TypeError(
                f"tool {function.__name__}: parameter {name}: expected one of date, time, PersonName, Digits, str, int"
            )
        kind, schema = _KINDS[hint]
        found.append(Parameter(name, kind, schema, item.default is inspect.Parameter.empty))
    return tuple(found)


HAND_OVER = Tool(
    "hand_over",
    "The caller wants to speak to a person.",
    None,
    (),
    "control",
    action="hand_over",
    examples=("I'd rather talk to somebody real.",),
)
END_CALL = Tool(
    "end_call",
    "The caller says goodbye.",
    None,
    (),
    "control",
    action="end_call",
    examples=("Well, that was it, have a nice day.",),
)


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run, finished."""

    outcome: Literal["ok", "failed"]
    result: ToolResult
    duration_ms: float


class ToolRegistry:
    """The tools of one agent, over a database of their own. Thread-safe; shared by all calls."""

    def __init__(self, tools: Sequence[Tool], database: Path, *, workers: int = 4) -> None:
        """Take the tools. ``database`` is the agent's own, never the records'."""
        self._tools = {item.name: item for item in (*tools, HAND_OVER, END_CALL)}
        self._database = database
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tool")
        self._slots = asyncio.Semaphore(workers)

    def get(self, name: str) -> Tool | None:
        """Return a tool."""
        return self._tools.get(name)

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what the language model may ask for, always in the same order."""
        return tuple(item.spec() for item in self._tools.values() if item.offered)

    def fixed_phrases(self) -> list[str]:
        """Return what is said while tools run and when they fail."""
        return [text for item in self._tools.values() for text in (item.filler, item.fallback) if text]

    async def run(
        self, name: str, arguments: Mapping[str, Value], *, now: datetime, idempotency_key: str
    ) -> ToolRun:
        """Run a tool; never raises for what the tool does wrong, never waits longer than its limit."""
        item = self._tools[name]
        assert item.function is not None, name
        context = ToolContext(self._database, now, idempotency_key)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(item.timeout_s), self._slots:
                call = asyncio.get_running_loop().run_in_executor(
                    self._pool,
                    lambda: item.function(context, **arguments),  # type: ignore[misc]
                )
                result = await asyncio.shield(call) if item.effect == "write" else await call
        except (TimeoutError, ToolError) as error:
            _log.warning("tool_failed", extra={"tool": name, "error": type(error).__name__})
            return ToolRun("failed", ToolResult("failed"), (time.perf_counter() - started) * 1000)
        except Exception as error:  # the owner's own code: the caller hears the fallback phrase
            _log.error("tool_failed", extra={"tool": name, "error": type(error).__name__})
            return ToolRun("failed", ToolResult("failed"), (time.perf_counter() - started) * 1000)
        return ToolRun("ok", result, (time.perf_counter() - started) * 1000)

    def close(self) -> None:
        """Let the workers go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def open_tools(folder: Path, module: str, database: Path, *, today: date) -> ToolRegistry:
    """Load an agent's tool module, prepare its database, and return the tools.

    The module may define ``prepare(database: Path, today: date) -> None``, which must be repeatable.
    """
    if not module:
        return ToolRegistry((), database)
    loaded = _import(folder / module)
    tools = [value.__dict__["landline_tool"] for value in vars(loaded).values() if _declared(value)]
    prepare = getattr(loaded, "prepare", None)
    if callable(prepare):
        database.parent.mkdir(parents=True, exist_ok=True)
        prepare(database, today)
    return ToolRegistry(tools, database)


def _declared(value: object) -> bool:
    return inspect.isfunction(value) and "landline_tool" in value.__dict__


def _import(path: Path) -> Any:
    name = f"landline_agent_{re.sub(r'[^a-zA-Z0-9]', '_', str(path.resolve()))}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise AgentFileError(f"{path}: expected a Python file with tools")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # the owner's own code: whatever it raises is named
        raise AgentFileError(
            f"{path}: {type(error).__name__}: {error}; expected a module that imports"
        ) from error
    return module


class Prepares(Protocol):
    """What a tool module may define to make its database ready."""

    def __call__(self, database: Path, today: date) -> None:
        """Create what is missing; safe to run again."""
        ...


def to_json(value: object) -> JSON:
    """Return a value of a tool as JSON: dates and times in ISO 8601."""
    match value:
        case datetime() | date():
            return value.isoformat()
        case clock_time():
            return value.isoformat(timespec="minutes")
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [to_json(item) for item in value]
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return to_json(dataclasses.asdict(value))
        case _:
            return str(value)
