"""Structured actions: what the model is shown, and what is read from it while it writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.action_format import BEGUN, action_schema, chat_messages, grammar, system_text
from models.action_stream import ActionParser, Called, JsonStringDecoder
from models.errors import LanguageModelRefused
from models.native_tools import ToolCallAssembler
from models.protocols import ChatMessage, ToolCall, ToolExample, ToolSpec

FIND = ToolSpec(
    "find_slots",
    "Find free times",
    {
        "type": "object",
        "properties": {
            "day": {"type": "string"},
            "doctor": {"type": "string"},
            "kind": {"enum": ["new", "old"]},
        },
        "required": ["day"],
    },
    (
        ToolExample("Anything on Monday?", {"day": "Monday"}),
        ToolExample("I need a time.", reply="Which day?"),
    ),
)
END = ToolSpec("end_call", "End the call", {"type": "object", "properties": {}})


def spoken(text: str, step: int) -> tuple[str, Called | None]:
    parser = ActionParser()
    said = []
    for start in range(0, len(text), step):
        said += [piece.text for piece in parser.feed(text[start : start + step])]
    return "".join(said), parser.finish()


@given(st.text(max_size=40), st.integers(1, 9), st.booleans())
def test_words_come_out_of_the_unfinished_json_as_they_were_meant(
    text: str, step: int, ascii_only: bool
) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert spoken(json.dumps({"say": text}, ensure_ascii=ascii_only), step) == (text, None)


def test_words_are_passed_on_before_the_string_is_closed() -> None:
    parser = ActionParser()
    assert parser.feed(BEGUN) == []
    assert [piece.text for piece in parser.feed('say": "We are open')] == ["We are open"]
    assert [piece.text for piece in parser.feed(' until \\"six\\"')] == [' until "six"']


@given(st.integers(1, 9))
def test_a_tool_call_comes_out_whole(step: int) -> None:
    text = '{"action": "find_slots", "arguments": {"day": "Monday"}}'
    assert spoken(text, step) == ("", Called("find_slots", {"day": "Monday"}))


@pytest.mark.parametrize(
    "text",
    ['{"action": "find_slots", "arguments": {"day": "Mon', '{"action": 3}', '{"x": 1}', "hello", '{"action": "a", "arguments": []}'],
)  # fmt: skip
def test_what_is_not_a_whole_action_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        spoken(text, 5)


def test_half_a_surrogate_pair_is_not_spoken() -> None:
    decoder = JsonStringDecoder()
    assert decoder.feed("a\\ud83d") + decoder.feed("b\\ude00c") == "abc"


def test_the_prefix_does_not_change_between_turns() -> None:
    system, question = ChatMessage("system", "You are a clinic."), ChatMessage("user", "Hello?")
    answer, again = (
        ChatMessage("assistant", "Hello, how can I help?"),
        ChatMessage("user", "When are you open?"),
    )
    first = chat_messages((system, question), (FIND, END))
    second = chat_messages((system, question, answer, again), (FIND, END))
    assert second[: len(first)] == first
    # Its own words are shown to the model exactly as it wrote them, or they would have to be read again.
    assert second[2] == {"role": "assistant", "content": '{"say": "Hello, how can I help?"}'}


def test_calls_and_results_are_part_of_the_conversation() -> None:
    call = ToolCall("find_slots", {"day": "Monday"}, "call-1")
    messages = (
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "10:30", tool_call_id="call-1"),
    )
    assert chat_messages(messages, (FIND,)) == [
        {"role": "assistant", "content": '{"action": "find_slots", "arguments": {"day": "Monday"}}'},
        {"role": "user", "content": "Result: 10:30"},
    ]


def test_the_model_is_shown_its_tools_and_their_examples() -> None:
    text = system_text("You are a clinic.", (FIND, END))
    assert text.startswith("You are a clinic.\n")
    assert "find_slots(day, doctor?, kind?: new|old): Find free times" in text
    assert 'Caller: Anything on Monday? -> {"action": "find_slots", "arguments": {"day": "Monday"}}' in text
    assert 'Caller: I need a time. -> {"say": "Which day?"}' in text
    assert system_text("You are a clinic.", ()) == "You are a clinic."


def test_the_grammar_names_every_tool_and_demands_what_is_required() -> None:
    rules = dict(line.split(" ::= ", 1) for line in grammar((FIND, END)).splitlines())
    assert rules["root"] == '"say\\": " string "}" | tool-0 | tool-1'
    assert rules["tool-0"].startswith(
        '"action\\": \\"find_slots\\", \\"arguments\\": {" "\\"day\\": " string ('
    )
    assert rules["tool-1"] == '"action\\": \\"end_call\\", \\"arguments\\": {" "" "}}"'
    assert [entry["required"] for entry in action_schema((FIND, END))["anyOf"]] == [
        ["say"],
        *[["action", "arguments"]] * 2,
    ]


def test_native_tool_calls_are_put_together_from_their_deltas() -> None:
    calls = ToolCallAssembler()
    calls.feed([{"index": 1, "id": "b", "function": {"name": "end_call", "arguments": ""}}])
    calls.feed([{"index": 0, "id": "a", "function": {"name": "find_slots", "arguments": '{"day": '}}])
    calls.feed([{"index": 0, "function": {"arguments": '"Monday"}'}}])
    assert calls.finish() == [ToolCall("find_slots", {"day": "Monday"}, "a"), ToolCall("end_call", {}, "b")]


@pytest.mark.parametrize("arguments", ['{"day": ', "[]", "nonsense"])
def test_a_native_tool_call_that_broke_off_is_refused(arguments: str) -> None:
    calls = ToolCallAssembler()
    calls.feed([{"index": 0, "function": {"name": "find_slots", "arguments": arguments}}])
    with pytest.raises(LanguageModelRefused, match="not whole"):
        calls.finish()
