"""Traces: a call written down and driven through the machine again gives the same outputs at the same times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.turns import messages as turn
from server.turns.endpointing import Expected
from server.turns.machine import MS, TurnMachine
from server.turns.settings import TurnSettings
from server.turns.trace import Step, TraceError, TraceWriter, replay

TEXTS = st.sampled_from(["", "Where can I park?", "I would like to", "Mm-hmm."])
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["wait", "start", "stop", "words", "score", "audible", "done", "key"]), TEXTS, st.floats(0, 1)),
    max_size=40,
)  # fmt: skip


def run(actions: list[tuple[str, str, float]]) -> tuple[list[str], list[Step]]:
    """Drive a machine by hand and write it down."""
    machine, writer = TurnMachine(TurnSettings()), TraceWriter(TurnSettings(), rate_hz=8000)
    lines: list[str] = []
    steps: list[Step] = []
    now = origin = 7_000 * MS
    revision = probe = 0

    def step(event: turn.TurnInput | None) -> None:
        nonlocal revision, probe
        lines.extend(writer.line(event, now).splitlines())
        if event is None:
            machine.handle_timeout(now)
        else:
            machine.handle_input(event, now)
        outputs = tuple(machine.outputs())
        for output in outputs:
            revision = output.revision if isinstance(output, turn.Transcribe) else revision
            probe = output.probe if isinstance(output, turn.ScoreTurn) else probe
        steps.append(Step(now - origin, event, outputs))

    step(turn.CallUp())
    for kind, text, share in actions:
        match kind:
            case "wait":
                end = now + int(share * 2000) * MS
                while (due := machine.deadline()) is not None and due <= end:
                    now = max(now, due)
                    step(None)
                now = end
            case "start":
                step(turn.SpeechStart(now // MS * 8, now))
            case "stop":
                step(turn.SpeechStop(now // MS * 8, now))
            case "words":
                step(turn.TranscriptReady(revision, text, share))
            case "score":
                step(turn.TurnScored(probe, share))
            case "audible":
                step(turn.ReplyAudible(machine.turn))
                step(turn.ReplyAsks(machine.turn, Expected(digits=3)))
            case "done":
                step(turn.ReplyDone(machine.turn))
            case _:
                step(turn.KeyPress("5"))
    return lines, steps


@given(ACTIONS)
def test_a_call_replayed_is_the_same_call(actions: list[tuple[str, str, float]]) -> None:
    lines, steps = run(actions)
    again = list(replay(lines))
    assert [step.at for step in again] == [step.at for step in steps]
    relative = 7_000 * MS
    for one, other in zip(again, steps, strict=True):
        assert [type(o) for o in one.outputs] == [type(o) for o in other.outputs]
        for output, before in zip(one.outputs, other.outputs, strict=True):
            if isinstance(output, turn.CommitReply) and isinstance(before, turn.CommitReply):
                assert output.over_at == before.over_at - relative


def test_other_settings_show_what_they_would_have_done() -> None:
    spoken = [("start", "", 0.0), ("wait", "", 0.4), ("stop", "", 0.0), ("wait", "", 0.1)]
    known = [("score", "", 0.1), ("words", "Where can I park?", 0.9)]
    lines, _ = run([("audible", "", 0.0), ("done", "", 0.0), *spoken, *known])

    def prepared(settings: TurnSettings) -> list[bool]:
        outputs = [o for step in replay(lines, settings=settings) for o in step.outputs]
        return [o.speculative for o in outputs if isinstance(o, turn.StartReply)]

    assert prepared(TurnSettings()) == [True]
    assert prepared(TurnSettings(endpointing="fixed", endpoint_silence_ms=50)) == [False]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: expected a JSON object"),
        (['{"trace": 9}'], "expected version 1"),
        (['{"trace": 1}'], "expected settings"),
        (["{HEAD}", '{"at": 0, "input": "Sneeze"}'], "line 2: input is 'Sneeze'; expected one of CallUp"),
        (["{HEAD}", '{"at": 0, "input": "KeyPress", "key": "5"}'], "line 2"),
        (["{HEAD}", '{"at": "soon", "timeout": true}'], "line 2: at is 'soon'; expected nanoseconds"),
    ],
    ids=["empty", "version", "head", "unknown input", "unknown field", "no time"],
)
def test_what_cannot_be_read_is_named(lines: list[str], message: str) -> None:
    head = run([])[0][0]
    with pytest.raises(TraceError, match=message):
        list(replay([line.replace("{HEAD}", head) for line in lines]))
