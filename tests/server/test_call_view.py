"""A call as it is drawn: the bar shows where the time went, and what does not add up stands out."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from server.commands.call_view import STAGES, bar, latest_turns, parts_of, print_call, with_sums

LEDGER = {
    "network": 20,
    "detect": 60,
    "endpoint": 180,
    "stt_wait": 0,
    "words": 120,
    "voice": 80,
    "playout": 40,
    "gap": 500,
    "filler_gap": 260,
    "barge_in": 140,
    "speculation": 1,
    "wasted_stt_ms": 0,
    "wasted_llm_ms": 900,
}


def turn(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "turn": number,
        "sequence": number * 10,
        "revision": 0,
        "heard": "When do you open?",
        "said": "We open at eight",
        "turn_class": "grounded",
        "interrupted": False,
        "sources": ["hours.md"],
        "ledger": LEDGER,
        **fields,
    }


def call(*turns: dict[str, Any], tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "call_id": "c1",
        "door": "sip",
        "agent_name": "clinic",
        "caller": "sip:anna@example.org",
        "callee": "sip:clinic@example.org",
        "codec": "PCMU",
        "started_at": "2026-03-01T10:00:00+00:00",
        "end_reason": None,
        "duration_ms": None,
        "turns": list(turns),
        "tools": tools or [],
        "transitions": [{"sequence": 5, "name": "takeover", "detail": {"restored": True}}],
    }


def drawn(shown: dict[str, Any], *, width: int = 100, colours: bool = False) -> str:
    out = io.StringIO()
    print_call(shown, Console(file=out, width=width, force_terminal=colours, no_color=not colours))
    return out.getvalue()


def test_a_turn_tells_its_class_its_times_and_what_was_heard_and_said() -> None:
    text = drawn(call(turn(interrupted=True, revision=2)))
    for words in (
        "turn 1  grounded  gap 500 ms  speculation hit  reopened 2×  interrupted",
        "caller: When do you open?",
        "agent:  We open at eight",
        "from:   hours.md",
        "· network 20  ░ detect 60  ▒ endpoint 180  ▓ stt wait 0  █ words 120  ▆ voice 80  ▂ playout 40  = 500 ms",
        "first sound (a filler) after 260 ms",
        "silent 140 ms after the caller spoke over it",
        "wasted 900 ms of llm",
        "takeover",
    ):
        assert words in text, words
    assert "unaccounted" not in text
    assert "wasted 0" not in text


def test_bars_of_one_call_have_one_scale() -> None:
    short = {"endpoint": 100, "words": 150, "gap": 250}
    bars = [line.strip() for line in drawn(call(turn(1), turn(2, ledger=short))).splitlines() if "▒▒" in line]
    assert [len(line) for line in bars] == [60, 30]
    assert bars[1] == "▒" * 12 + "█" * 18


@given(st.dictionaries(st.sampled_from(list(STAGES)), st.integers(0, 3000), min_size=1))
def test_a_bar_is_as_long_as_its_gap_and_each_stage_has_its_part(stages: dict[str, int]) -> None:
    gap = sum(stages.values())
    line = bar(parts_of({**stages, "gap": gap}), 50.0).plain
    assert len(line) == round(gap / 50)
    by_fill: dict[str, int] = {}
    for name, value_ms in stages.items():
        by_fill[STAGES[name][0]] = by_fill.get(STAGES[name][0], 0) + value_ms
    for fill, value_ms in by_fill.items():
        assert abs(line.count(fill) - value_ms / 50) <= 2


@pytest.mark.parametrize(
    ("ledger", "unaccounted", "shown"),
    [
        ({"endpoint": 200, "words": 100, "gap": 300}, 0, False),
        ({"endpoint": 200, "words": 100, "gap": 319}, 19, False),
        ({"endpoint": 200, "words": 100, "gap": 335}, 35, True),
        ({"endpoint": 200, "words": 100, "gap": 250}, -50, True),
        ({"silence": 450, "stt_wait": 0, "words": 100, "voice": 30, "playout": 9, "gap": 589}, 0, False),
        ({"endpoint": 200, "rerank": 90, "words": 10, "gap": 300}, 0, False),
        ({"endpoint": 200, "words": 100, "gap": 300, "mouth_open": 5}, 0, False),
        ({"endpoint": 200, "words": None, "gap": 200}, 0, False),
        ({"gap": 90}, 90, True),
    ],
    ids=["exact", "rounded", "missing", "too_much", "old", "new_stage", "new_aside", "null", "gap_alone"],
)
def test_stages_are_checked_against_the_gap(
    ledger: dict[str, float | None], unaccounted: float, shown: bool
) -> None:
    parts = parts_of(ledger)
    assert parts.unaccounted_ms == unaccounted
    text = drawn(call(turn(ledger=ledger)))
    assert ("unaccounted" in text) == shown
    (told,) = with_sums(call(turn(ledger=ledger)))["turns"]
    assert told["unaccounted_ms"] == unaccounted


def test_a_turn_without_a_gap_is_drawn_too() -> None:
    """The greeting, a turn that was not answered, and records of long ago."""
    text = drawn(call(turn(0, ledger={}, heard="", turn_class="fixed"), turn(1, ledger={"stt": 210.5})))
    assert "turn 0  fixed\n" in text
    assert "stt 210" in text
    assert with_sums(call(turn(ledger={})))["turns"][0]["unaccounted_ms"] is None


@pytest.mark.parametrize(
    ("ledger", "shown"),
    [
        ({"speculation": 1, "speculation_misses": 2, "speculation_reused": 1}, "hit"),
        ({"speculation": 0, "speculation_misses": 2, "speculation_reused": 0}, "missed"),
        ({"speculation": 0}, "missed"),
        ({"speculation": 0, "speculation_misses": 0}, None),
        ({}, None),
    ],
    ids=["hit", "missed", "missed_uncounted", "nothing_prepared", "old"],
)
def test_what_was_prepared_for_a_turn_is_told(ledger: dict[str, float | None], shown: str | None) -> None:
    text = drawn(call(turn(ledger={"endpoint": 200, "gap": 200, **ledger})))
    assert ("speculation" in text) == (shown is not None)
    assert f"speculation {shown}" in text or shown is None
    assert ("2 prepared replies dropped" in text) == bool(ledger.get("speculation_misses"))
    assert ("1 reused" in text) == bool(ledger.get("speculation_reused"))


def test_only_the_latest_record_of_a_turn_is_drawn() -> None:
    first, second = turn(1, heard="When"), turn(1, sequence=11, revision=1)
    assert latest_turns([first, second, turn(2)]) == [second, turn(2)]
    assert "caller: When\n" not in drawn(call(first, second))


def test_a_tool_stands_below_the_turn_that_ran_it() -> None:
    ran = {
        "turn": 1,
        "sequence": 7,
        "tool": "find_slots",
        "arguments": {"day": "Tuesday"},
        "outcome": "ok",
        "result": {"slots": ["ten"]},
        "duration_ms": 12.4,
    }
    text = drawn(call(turn(1), turn(2), tools=[ran]))
    assert text.index("turn 1") < text.index('find_slots {"day": "Tuesday"} → ok') < text.index("turn 2")
    assert 'ok {"slots": ["ten"]} in 12 ms' in text


def test_a_caller_cannot_command_the_terminal_nor_the_markup() -> None:
    text = drawn(call(turn(heard="\x1b[2J[bold]hi[/bold]\x07")), colours=True)
    assert "\x1b[2J" not in text
    assert "[bold]hi[/bold]" in text


def test_a_narrow_terminal_gets_a_shorter_bar() -> None:
    lines = drawn(call(turn()), width=40).splitlines()
    assert [len(line.strip()) for line in lines if "▒▒" in line] == [34]
