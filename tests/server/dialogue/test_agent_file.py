"""The agent's folder: what its owner gets wrong is named with file, line, field and what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.dialogue.agent_file import agent_schema, load_agent, schema_text
from server.dialogue.errors import AgentFileError
from server.dialogue.triggers import TriggerError, compile_trigger, normalise
from tests.fakes.dialogue import CLINIC

GOOD = """\
version: 1
name: shop
greeting: Hello.
disclosure: I am a machine.
persona: You work in a shop.
tools:
  module: ""
"""


def write(folder: Path, text: str) -> Path:
    (folder / "agent.yaml").write_text(text)
    return folder


def test_a_small_agent_is_enough(tmp_path: Path) -> None:
    agent = load_agent(write(tmp_path, GOOD))
    assert agent.full_greeting == "Hello. I am a machine. How can I help you?"
    assert agent.collection == "shop"


def test_the_sample_is_read() -> None:
    assert {"book", "cancel", "reschedule", "opening_hours"} <= set(load_agent(CLINIC).tasks)


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("version: 1", "version: 2"), 1, ["version", "expected 1"]),
        (("name: shop", "nane: shop"), 2, ["nane", "unknown key"]),
        (("name: shop", "name: a b"), 2, ["name", "expected text that matches"]),
        (("greeting: Hello.\n", ""), 1, ["greeting", "is missing"]),
        (("disclosure: I am a machine.", "disclosure: ''"), 4, ["disclosure", "expected"]),
        (("persona: You work in a shop.", "persona: [a]"), 5, ["persona", "expected a valid string"]),
        (('module: ""', "module: nothing.py"), 7, ["tools.module", "nothing.py", "expected a Python file"]),
        (('module: ""', 'module: "'), 8, ["not YAML"]),
        (("persona: You work in a shop.", "name: twice"), 5, ["stands twice"]),
        (('module: ""', 'module: ""\nhandoff:\n  target: nobody'), 9, ["handoff.target", "expected text that matches"]),
        (('module: ""', 'module: ""\nanswers:\n  - triggers: ["(x"]\n    say: Hi'), 9, ["answers.0.triggers", "expected words"]),
        (('module: ""', 'module: ""\nknowledge:\n  threshold: 2'), 9, ["knowledge.threshold", "expected", "1"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, change: tuple[str, str], line: int, words: list[str]) -> None:
    with pytest.raises(AgentFileError) as caught:
        load_agent(write(tmp_path, GOOD.replace(*change)))
    text = str(caught.value)
    assert f"agent.yaml, line {line}" in text
    for word in words:
        assert word in text


TASK = """\
tasks:
  order:
    triggers: [order ... bread]
    tool: order_bread
    slots:
      day: {kind: date}
    outcomes:
      ordered: {say: Done., ask: hour}
"""


def test_slots_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        AgentFileError, match=r"line 9: tasks\.order: outcome ordered: no slot 'hour'; expected one of day"
    ):
        load_agent(write(tmp_path, GOOD + TASK))


def test_pronunciations_are_respellings_or_phonemes(tmp_path: Path) -> None:
    agent = load_agent(
        write(tmp_path, GOOD + "pronunciations: {Siobhan: Shivawn, St. Mary's: '[[seɪnt mˈɛɹiz]]'}\n")
    )
    assert agent.pronunciations["Siobhan"] == "Shivawn"
    assert "pronunciations" in agent_schema()["properties"]
    for wrong in ("Siobhan: '[[ʃɪvˈɔːn'", "Siobhan: ''", "'...': dots"):
        with pytest.raises(AgentFileError, match=r"line \d+: pronunciations"):
            load_agent(write(tmp_path, GOOD + f"pronunciations:\n  {wrong}\n"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentFileError, match=r"agent\.yaml: not there; expected"):
        load_agent(tmp_path / "nowhere")


def test_the_schema_is_json_and_stable() -> None:
    assert json.loads(schema_text()) == agent_schema()
    assert "folder" not in agent_schema()["properties"]


@pytest.mark.parametrize(
    ("trigger", "text", "hit"),
    [
        ("book|make ... appointment", "Could you make me an appointment?", True),
        ("book|make ... appointment", "An appointment", False),
        ("^ yes $", "Yes.", True),
        ("^ yes $", "Yes, but", False),
        ("do [you] sell", "do sell", True),
        ("open on", "reopen on", False),
        ("can't come", "I can’t come", True),
    ],
)
def test_triggers_match_words(trigger: str, text: str, hit: bool) -> None:
    assert (compile_trigger(trigger).search(normalise(text)) is not None) is hit


@pytest.mark.parametrize("trigger", ["", "...", "(a|b)", "a||b"])
def test_a_trigger_that_cannot_be_read_is_refused(trigger: str) -> None:
    with pytest.raises(TriggerError, match="expected"):
        compile_trigger(trigger)
