"""The agent's report to control: what is a stage, what is speculation, and each only once."""

from __future__ import annotations

from models.protocols import Priority
from server.agent.head_room import HeadRoom, HeadRoomSettings
from server.agent.status_report import StatusReport

S = 1_000_000_000


def head_room() -> HeadRoom:
    return HeadRoom(HeadRoomSettings(places={"llm": 1}), capacity=3)


def test_a_turns_ledger_is_told_by_class_and_stage_and_only_once() -> None:
    report, room = StatusReport(), head_room()
    report.turn("plain", {"detect": 64, "words": 210, "gap": 480, "tomorrow": 5}, False)
    report.turn("plain", {"words": 300, "network": None}, True)
    report.turn("fixed", {"gap": 20}, False)
    told = report.take(room, S)
    assert told["turns"] == {"plain": 2, "interrupted": 1, "fixed": 1}
    assert told["stages_ms"] == {
        "plain": {"detect": [64], "words": [210, 300], "gap": [480], "tomorrow": [5]},
        "fixed": {"gap": [20]},
    }
    assert report.take(room, S)["stages_ms"] == {}


def test_speculation_is_counted_and_what_it_wasted_is_summed_by_kind() -> None:
    report, room = StatusReport(), head_room()
    hit = {"speculation": 1, "speculation_reused": 2, "gap": 300}
    missed = {"speculation": 0, "wasted_stt_ms": 200, "wasted_llm_ms": 900, "wasted_tts_ms": 0}
    assert report.turn("plain", hit, False) == {}
    assert report.turn("plain", missed, False) == {"stt": 200, "llm": 900, "tts": 0}
    report.turn("plain", {"speculation": 1, "speculation_misses": 3, "wasted_stt_ms": 100}, False)
    told = report.take(room, S)
    assert (told["speculation_hits"], told["speculation_misses"], told["speculation_reused"]) == (2, 4, 2)
    assert told["wasted_ms"] == {"stt": 300, "llm": 900, "tts": 0}
    assert told["stages_ms"] == {"plain": {"gap": [300]}}
    again = report.take(room, S)
    assert (again["speculation_hits"], again["wasted_ms"]) == (0, {})


def test_head_room_waits_and_refusals_are_told() -> None:
    report, room = StatusReport(), head_room()
    room.calls(1, 0)
    room.ended("llm", Priority.FINAL, 40, 2500, 5 * S)
    room.ended("llm", Priority.SPECULATIVE, 90, 0, 5 * S)
    report.refused("head_room")
    told = report.take(room, 5 * S)
    assert (told["capacity"], told["head_room"], told["busy"], told["shedding"]) == (3, 2, 0.5, 0)
    assert told["waits_ms"] == {"llm": [40, 90]}
    assert told["refused"] == {"head_room": 1}
    assert report.take(room, 5 * S)["waits_ms"] == {}
