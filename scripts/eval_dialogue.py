"""Evaluate an agent's dialogue: scenarios of what callers say and what must come of it, against the real models.

A scenario file (YAML) holds a list of scenarios: ``name``, ``today``, ``needs`` (``knowledge``, ``llm``) and ``turns``.
A turn has ``caller`` (or ``key``) and what is expected: ``words`` (each must be heard), ``any`` (at least one of them),
``never`` (none of them), ``class``, ``tool`` with ``arguments``, ``no_effect``, ``handoff``, ``end``, ``source``.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from models.protocols import LanguageModel
from scripts.chat import embedding_folder, language_model, local_knowledge
from server.dialogue.agent_file import Agent, load_agent
from server.dialogue.engine import Dialogue, Limits, Services
from server.dialogue.knowledge import Knowledge
from server.dialogue.replies import EffectStarts, EndCall, HandOff, Heard, Reply, Role, Say, ToolRan
from server.dialogue.tools import open_tools

SCENARIOS: Final = Path(__file__).parents[1] / "tests" / "server" / "dialogue" / "scenarios"
_TURN_KEYS: Final = frozenset(
    "caller key words any never class tool arguments no_effect handoff end source refused".split()
)


@dataclass(frozen=True)
class Scenario:
    """One call by script."""

    name: str
    now: datetime
    needs: tuple[str, ...]
    turns: tuple[dict[str, Any], ...]


@dataclass
class Outcome:
    """What came of a scenario."""

    name: str
    failures: list[str] = field(default_factory=list)
    first_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    transcript: list[str] = field(default_factory=list)


def load_scenarios(folder: Path) -> list[Scenario]:
    """Read every scenario. Raises ValueError naming file and scenario where a key is not known."""
    found: list[Scenario] = []
    for path in sorted(folder.glob("*.yaml")):
        for raw in yaml.safe_load(path.read_text(encoding="utf-8")):
            turns = tuple(dict(item) for item in raw["turns"])
            for turn in turns:
                if unknown := set(turn) - _TURN_KEYS:
                    raise ValueError(f"{path.name}, {raw['name']}: unknown keys {sorted(unknown)}")
            today = raw.get("today", date(2026, 11, 21))
            now = datetime(today.year, today.month, today.day, 10, 0)  # noqa: DTZ001 - the caller's wall clock
            found.append(Scenario(raw["name"], now, tuple(raw.get("needs", ())), turns))
    return found


async def play(
    scenario: Scenario,
    agent: Agent,
    llm: LanguageModel,
    knowledge: Knowledge,
    database: Path,
    *,
    patient: bool = False,
) -> Outcome:
    """Play one scenario on a fresh database. ``patient``: wait a minute for models on a busy machine."""
    outcome = Outcome(scenario.name)
    tools = open_tools(agent.folder, agent.tools.module, database, today=scenario.now.date())
    limits = Limits(llm_first_s=60.0, llm_next_s=60.0, knowledge_s=60.0) if patient else None
    dialogue = Dialogue(agent, Services(llm, knowledge, tools), call_id=scenario.name, limits=limits)
    dialogue.played(dialogue.greeting())
    for number, turn in enumerate(scenario.turns, 1):
        heard = Heard(str(turn["key"]), "dtmf") if "key" in turn else Heard(str(turn["caller"]))
        replies: list[Reply] = []
        began, first = time.perf_counter(), 0.0
        async for reply in dialogue.respond(heard, now=scenario.now):
            replies.append(reply)
            if isinstance(reply, Say) and reply.role is Role.CONTENT and not first:
                first = time.perf_counter() - began
                outcome.first_s[str(reply.turn_class)].append(first)
        said = " ".join(item.text for item in replies if isinstance(item, Say) and item.role is Role.CONTENT)
        dialogue.played(said)
        outcome.transcript += [f"caller: {heard.text}", f"agent:  {said}"]
        outcome.failures += [
            f"turn {number} ({heard.text!r}): {text}" for text in problems(turn, replies, said)
        ]
    tools.close()
    return outcome


def problems(turn: dict[str, Any], replies: list[Reply], said: str) -> list[str]:
    """Return in what the replies differ from what was expected."""
    found: list[str] = []
    lowered = said.lower()
    found += [
        f"expected {text!r} in {said!r}" for text in turn.get("words", ()) if text.lower() not in lowered
    ]
    found += [
        f"did not expect {text!r} in {said!r}" for text in turn.get("never", ()) if text.lower() in lowered
    ]
    choices = turn.get("any", ())
    if choices and not any(text.lower() in lowered for text in choices):
        found.append(f"expected one of {choices} in {said!r}")
    classes = {
        str(item.turn_class) for item in replies if isinstance(item, Say) and item.role is Role.CONTENT
    }
    if "class" in turn and classes != {turn["class"]}:
        found.append(f"expected class {turn['class']}, was {sorted(classes)}")
    found += _tool_problems(turn, replies)
    handoff = next((item.reason for item in replies if isinstance(item, HandOff)), "")
    if handoff != turn.get("handoff", ""):
        found.append(f"expected hand-off {turn.get('handoff', '')!r}, was {handoff!r}")
    end = next((item.reason for item in replies if isinstance(item, EndCall)), "")
    if end != turn.get("end", ""):
        found.append(f"expected end {turn.get('end', '')!r}, was {end!r}")
    sources = {source for item in replies if isinstance(item, Say) for source in item.sources}
    if "source" in turn and not any(turn["source"] in source for source in sources):
        found.append(f"expected source {turn['source']}, was {sorted(sources)}")
    return found


def _tool_problems(turn: dict[str, Any], replies: list[Reply]) -> list[str]:
    ran = [item for item in replies if isinstance(item, ToolRan)]
    found: list[str] = []
    if turn.get("no_effect") and any(isinstance(item, EffectStarts) for item in replies):
        found.append("expected that nothing is written")
    if "tool" in turn:
        run = next((item for item in ran if item.tool == turn["tool"] and item.outcome == "ok"), None)
        if run is None:
            found.append(f"expected tool {turn['tool']}, ran {[(item.tool, item.outcome) for item in ran]}")
        else:
            wanted = {name: str(value) for name, value in turn.get("arguments", {}).items()}
            got = {name: str(value) for name, value in run.arguments.items()}
            found += [
                f"expected {name}={value}, was {got.get(name)}"
                for name, value in wanted.items()
                if got.get(name) != value
            ]
    return found


async def evaluate(options: argparse.Namespace) -> int:
    """Play every scenario that the given models allow; print a table; return how many failed."""
    agent = load_agent(options.agent)
    llm = language_model(options.llm, options.adapter, options.model)
    have = {"llm"} if options.llm else set()
    failed, times, skipped = 0, defaultdict[str, list[float]](list), 0
    with (
        tempfile.TemporaryDirectory(prefix="landline-eval-") as folder,
        local_knowledge(agent, options.embeddings, Path(folder)) as knowledge,
    ):
        have |= {"knowledge"} if options.embeddings.is_dir() else set()
        for number, scenario in enumerate(load_scenarios(options.scenarios)):
            if not set(scenario.needs) <= have or options.only not in scenario.name:
                skipped += 1
                continue
            outcome = await play(scenario, agent, llm, knowledge, Path(folder) / f"{number}.db")
            failed += bool(outcome.failures)
            print(f"{'FAIL' if outcome.failures else 'ok  '} {scenario.name}")
            for line in outcome.failures:
                print(f"       {line}")
            if options.verbose:
                print("\n".join(f"       {line}" for line in outcome.transcript))
            for turn_class, values in outcome.first_s.items():
                times[turn_class] += values
    for turn_class, values in sorted(times.items()):
        p95 = sorted(values)[int(0.95 * (len(values) - 1))]
        print(
            f"{turn_class:9} {len(values):3} turns, first clause median {statistics.median(values):.3f} s, P95 {p95:.3f} s"
        )
    print(f"{failed} failed, {skipped} skipped")
    return failed


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--agent", type=Path, default=Path("server/samples/clinic"))
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS)
    parser.add_argument("--llm", default="", help="OpenAI-compatible base URL, ending in /v1")
    parser.add_argument("--adapter", choices=("structured", "native"), default="structured")
    parser.add_argument("--model", default="")
    parser.add_argument("--embeddings", type=Path, default=embedding_folder())
    parser.add_argument("--only", default="", help="part of a scenario's name")
    parser.add_argument("--verbose", action="store_true", help="print what was said")
    return 1 if asyncio.run(evaluate(parser.parse_args())) else 0


if __name__ == "__main__":
    sys.exit(main())
