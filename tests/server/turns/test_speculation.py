"""Replies prepared before the turn is over, signals that end it, and what may interrupt: in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.turns.endpointing import Expected
from server.turns.machine import State
from server.turns.messages import (
    CallUp,
    CancelReply,
    CommitReply,
    DropPartial,
    DropScore,
    DropTranscript,
    EffectStarted,
    FillSilence,
    HoldChange,
    KeyPress,
    LegGone,
    ModelLoad,
    PartialReady,
    PausePlayout,
    ReplyAsks,
    ReplyAudible,
    ReplyDone,
    ReplyQuiet,
    ResumePlayout,
    ScoreTurn,
    SpeechStart,
    SpeechStop,
    StartReply,
    StopPlayout,
    Transcribe,
    TranscribePartial,
    TranscriptReady,
    TurnOutput,
    TurnScored,
)
from server.turns.settings import TurnSettings
from tests.server.turns.test_machine import Call

SETTINGS = TurnSettings(early_transcribe_ms=64, partial_interval_ms=0)
QUESTION = "Where can I park?"


def call_up(settings: TurnSettings = SETTINGS) -> Call:
    return Call(settings).greeted()


def one(kind: type[TurnOutput], outputs: list[TurnOutput]) -> TurnOutput:
    (found,) = [output for output in outputs if isinstance(output, kind)]
    return found


def pause(call: Call, text: str, *, score: float | None = None) -> list[TurnOutput]:
    """The caller, who is speaking, pauses; words and score come 200 ms later."""
    outputs = call.tell(SpeechStop(call.offset(), call.now)) + call.wait(200)
    asked = [o for o in outputs if isinstance(o, ScoreTurn)]
    wanted = one(Transcribe, outputs)
    assert isinstance(wanted, Transcribe)
    if asked:
        outputs += call.tell(TurnScored(asked[-1].probe, score))
    return outputs + call.tell(TranscriptReady(wanted.revision, text, 0.9))


def say(call: Call, text: str, *, score: float | None = None, ms: int = 900) -> list[TurnOutput]:
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(ms)
    return pause(call, text, score=score)


def answering(call: Call, text: str = QUESTION) -> int:
    """Have the agent answer, heard for a second."""
    say(call, text, score=0.95)
    call.wait(900)
    call.tell(ReplyAudible(call.machine.turn))
    call.wait(1000)
    assert call.machine.state is State.SPEAKING
    return call.machine.turn


def test_a_reply_is_prepared_in_the_silence_and_committed_when_it_has_lasted() -> None:
    call = call_up()
    outputs = say(call, QUESTION, score=0.2)
    prepared = one(StartReply, outputs)
    assert isinstance(prepared, StartReply)
    assert prepared.speculative
    committed = one(CommitReply, call.wait(1000))
    assert isinstance(committed, CommitReply)
    assert (committed.turn, committed.speech_stop_at) == (prepared.turn, prepared.speech_stop_at)
    assert call.machine.state is State.THINKING


def test_a_turn_that_is_over_when_its_words_come_is_answered_without_speculation() -> None:
    call = call_up()
    outputs = say(call, QUESTION, score=0.95) + call.wait(60)
    prepared = one(StartReply, outputs)
    assert isinstance(prepared, StartReply)
    assert not prepared.speculative or one(CommitReply, outputs)


def test_who_goes_on_drops_the_prepared_reply_and_says_the_whole_turn() -> None:
    call = call_up()
    first = one(StartReply, say(call, QUESTION, score=0.2))
    assert isinstance(first, StartReply)
    assert first.speculative
    call.tell(SpeechStart(call.offset(), call.now))
    assert CancelReply(first.turn, reopen=True) in call.wait(SETTINGS.speculation_keep_ms)
    outputs = pause(call, "Where can I park my lorry?", score=0.95) + call.wait(900)
    texts = [o.text for o in outputs if isinstance(o, StartReply)]
    assert texts == ["Where can I park my lorry?"]


def test_a_noise_in_the_silence_uses_the_prepared_reply_again() -> None:
    call = call_up()
    first = one(StartReply, say(call, QUESTION, score=0.2))
    assert isinstance(first, StartReply)
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(120)
    outputs = pause(call, "where can I park", score=0.95) + call.wait(900)
    assert not [o for o in outputs if isinstance(o, StartReply | CancelReply)]
    committed = one(CommitReply, outputs)
    assert isinstance(committed, CommitReply)
    assert (committed.turn, committed.speech_stop_at) == (first.turn, call.stopped_at)
    assert committed.over_at <= call.now


def test_other_words_after_a_short_noise_drop_the_prepared_reply() -> None:
    call = call_up()
    first = one(StartReply, say(call, QUESTION, score=0.2))
    assert isinstance(first, StartReply)
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(120)
    outputs = pause(call, "Where can I park, then?", score=0.2)
    assert outputs.index(CancelReply(first.turn, reopen=True)) < outputs.index(one(StartReply, outputs))


@pytest.mark.parametrize("text", ["I would like to", "My number is 4 8"], ids=["broken off", "dictating"])
def test_nothing_is_prepared_long_before_it_can_be_needed(text: str) -> None:
    call = call_up()
    outputs = say(call, text, score=0.1)
    assert not [o for o in outputs if isinstance(o, StartReply)]
    assert [o for o in call.wait(1500) if isinstance(o, StartReply)]


def test_the_silence_is_scored_every_100_ms_until_speech_comes() -> None:
    call = call_up()
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(900)
    outputs = call.tell(SpeechStop(call.offset(), call.now))
    assert one(ScoreTurn, outputs)
    wanted = one(Transcribe, call.tell(TurnScored(1, 0.1)) + call.wait(70))
    assert isinstance(wanted, Transcribe)
    assert not [o for o in call.wait(200) if isinstance(o, ScoreTurn)], (
        "the recogniser has the cores to itself"
    )
    outputs = call.tell(TranscriptReady(wanted.revision, "I would like to", 0.9))
    outputs += call.wait(SETTINGS.score_interval_ms)
    for number in (2, 3):
        probe = one(ScoreTurn, outputs)
        assert probe == ScoreTurn(number, probe.start)  # type: ignore[union-attr]
        call.tell(TurnScored(number, 0.1))
        outputs = call.wait(SETTINGS.score_interval_ms)
    assert DropScore(4) in call.tell(SpeechStart(call.offset(), call.now))


def test_a_score_that_does_not_come_holds_nothing_up() -> None:
    call = call_up()
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(900)
    call.tell(SpeechStop(call.offset(), call.now))
    assert one(Transcribe, call.wait(100))


def test_an_effect_while_the_caller_goes_on_makes_what_follows_a_turn_of_its_own() -> None:
    call = call_up()
    say(call, "Yes, book it.", score=0.95)
    call.wait(1500)
    reply = call.machine.turn
    call.tell(ReplyAudible(reply))
    call.wait(100)
    began = call.offset()
    call.tell(SpeechStart(began, call.now))
    call.wait(500)
    call.tell(EffectStarted(reply))
    outputs = pause(call, "And a second one, please.", score=0.9)
    assert one(Transcribe, outputs).start == began  # type: ignore[union-attr]
    assert CancelReply(reply, reopen=False) in outputs


def test_one_wrong_score_costs_a_moment_and_not_seconds() -> None:
    call = call_up()
    say(call, QUESTION, score=0.05)
    outputs: list[TurnOutput] = []
    for _ in range(3):
        outputs += call.wait(SETTINGS.score_interval_ms)
        probe = [o for o in call.seen if isinstance(o, ScoreTurn)][-1]
        outputs += call.tell(TurnScored(probe.probe, 0.95))
    assert one(CommitReply, outputs)


def test_a_sure_score_is_not_asked_for_again() -> None:
    call = call_up()
    outputs = say(call, "I would like to", score=0.95) + call.wait(400)
    assert len([o for o in outputs if isinstance(o, ScoreTurn)]) <= 2


def test_a_number_that_was_asked_for_gets_its_time_and_then_none_more() -> None:
    call = call_up()
    reply = answering(call)
    call.tell(ReplyAsks(reply, Expected(digits=6)))
    call.tell(ReplyDone(reply))
    outputs = say(call, "4 8 2", score=0.3)
    assert not [o for o in outputs if isinstance(o, StartReply)]
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(700)
    outputs = pause(call, "4 8 2 9 1 0", score=0.9) + call.wait(200)
    assert [o.text for o in outputs if isinstance(o, StartReply)] == ["4 8 2 9 1 0"]


def test_a_caller_who_pauses_a_lot_is_waited_for() -> None:
    hasty, slow = call_up(), call_up()
    for _ in range(4):
        slow.tell(SpeechStart(slow.offset(), slow.now))
        slow.wait(900)
        slow.tell(SpeechStop(slow.offset(), slow.now))
        slow.wait(650)
        slow.tell(SpeechStart(slow.offset(), slow.now))
        slow.wait(700)
        pause(slow, QUESTION, score=0.95)
        slow.wait(2000)
        slow.tell(ReplyDone(slow.machine.turn))
    gaps = []
    for call in (hasty, slow):
        say(call, QUESTION, score=0.6)
        stopped = call.now
        while not any(isinstance(o, CommitReply) for o in call.wait(10)):
            assert call.now < stopped + 10**10
        gaps.append(call.now - stopped)
    assert gaps[1] > gaps[0]


def test_without_room_for_speculation_words_are_asked_for_once_when_the_sound_says_so() -> None:
    call = call_up()
    call.tell(ModelLoad(speculation=False, partials=False))
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(900)
    outputs = call.tell(SpeechStop(call.offset(), call.now)) + call.wait(150)
    assert not [o for o in outputs if isinstance(o, Transcribe)]
    probe = [o for o in outputs if isinstance(o, ScoreTurn)][-1]
    outputs = call.tell(TurnScored(probe.probe, 0.9)) + call.wait(200)
    wanted = one(Transcribe, outputs)
    assert isinstance(wanted, Transcribe)
    assert wanted.final
    outputs = call.tell(TranscriptReady(wanted.revision, QUESTION, 0.9)) + call.wait(200)
    prepared = one(StartReply, outputs)
    assert isinstance(prepared, StartReply)
    assert not prepared.speculative


def test_partials_are_asked_for_while_the_caller_speaks_and_dropped_at_the_pause() -> None:
    call = call_up(replace(SETTINGS, partial_interval_ms=500))
    call.tell(SpeechStart(call.offset(), call.now))
    first = one(TranscribePartial, call.wait(600))
    assert isinstance(first, TranscribePartial)
    assert not [o for o in call.wait(2000) if isinstance(o, TranscribePartial)], "one at a time"
    call.tell(PartialReady(first.partial, "Where can"))
    second = one(TranscribePartial, call.wait(600))
    assert isinstance(second, TranscribePartial)
    assert DropPartial(second.partial) in call.tell(SpeechStop(call.offset(), call.now))


@pytest.mark.parametrize("sign", ["Mm-hmm.", "Right.", "Okay, I see."])
def test_a_listeners_sign_does_not_take_the_turn(sign: str) -> None:
    call = call_up()
    answering(call)
    assert call.tell(SpeechStart(call.offset(), call.now)) == [PausePlayout()]
    call.wait(300)
    outputs = pause(call, sign)
    assert outputs[-1] == ResumePlayout()
    assert call.machine.state is State.SPEAKING


def test_the_same_sign_answers_a_question() -> None:
    call = call_up()
    reply = answering(call)
    call.tell(ReplyAsks(reply, Expected(brief=True)))
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(300)
    outputs = pause(call, "Mm-hmm.", score=0.9) + call.wait(900)
    assert [o for o in outputs if isinstance(o, CancelReply)] == [CancelReply(reply, reopen=False)]
    assert [o.text for o in outputs if isinstance(o, StartReply)] == ["Mm-hmm."]


def test_a_hello_over_the_greeting_lets_it_be_said() -> None:
    call = Call(SETTINGS)
    call.tell(CallUp())
    call.tell(ReplyAudible(1))
    call.wait(300)
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(400)
    assert pause(call, "Hello?")[-1] == ResumePlayout()


def test_first_words_over_the_greeting_are_a_turn() -> None:
    call = Call(SETTINGS)
    call.tell(CallUp())
    call.tell(ReplyAudible(1))
    call.wait(300)
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(900)
    outputs = pause(call, QUESTION, score=0.9) + call.wait(900)
    assert [type(o) for o in outputs if isinstance(o, CancelReply | StopPlayout)] == [
        CancelReply,
        StopPlayout,
    ]
    assert [o.text for o in outputs if isinstance(o, StartReply)] == [QUESTION]


def test_words_heard_while_the_caller_still_speaks_end_what_was_being_said() -> None:
    call = call_up(replace(SETTINGS, partial_interval_ms=500))
    reply = answering(call)
    call.tell(SpeechStart(call.offset(), call.now))
    wanted = one(TranscribePartial, call.wait(600))
    assert isinstance(wanted, TranscribePartial)
    outputs = call.tell(PartialReady(wanted.partial, "No, wait, I"))
    assert outputs == [CancelReply(reply, reopen=False), StopPlayout()]
    assert call.machine.state is State.CALLER_SPEAKING


def test_who_goes_on_as_the_answer_begins_is_still_in_the_same_turn() -> None:
    call = call_up()
    began = call.offset()
    say(call, QUESTION, score=0.95)
    call.wait(300)
    reply = call.machine.turn
    call.tell(ReplyAudible(reply))
    call.wait(200)
    assert call.tell(SpeechStart(call.offset(), call.now)) == [PausePlayout()]
    call.wait(700)
    outputs = pause(call, "Where can I park my lorry?", score=0.95) + call.wait(900)
    assert one(Transcribe, outputs).start == began  # type: ignore[union-attr]
    assert CancelReply(reply, reopen=True) in outputs
    answer = one(StartReply, outputs)
    assert isinstance(answer, StartReply)
    assert answer.text == "Where can I park my lorry?"


def test_a_noise_as_the_answer_begins_is_none_of_the_turn() -> None:
    call = call_up()
    say(call, QUESTION, score=0.95)
    call.wait(300)
    call.tell(ReplyAudible(call.machine.turn))
    call.wait(200)
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(150)
    assert pause(call, "Where can I park?")[-1] == ResumePlayout()


def test_what_has_an_effect_is_not_taken_back_by_who_goes_on() -> None:
    call = call_up()
    say(call, "Yes, book it.", score=0.95)
    call.wait(900)
    reply = call.machine.turn
    call.tell(EffectStarted(reply))
    call.tell(ReplyAudible(reply))
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(700)
    outputs = pause(call, "And a second one, please.", score=0.9)
    assert CancelReply(reply, reopen=False) in outputs


def test_work_that_takes_long_is_spoken_of_again_and_again() -> None:
    call = call_up()
    say(call, QUESTION, score=0.95)
    call.wait(600)
    reply = call.machine.turn
    assert call.wait(SETTINGS.dead_air_ms) == [FillSilence(reply)]
    call.tell(ReplyAudible(reply, content=False))
    call.wait(700)
    call.tell(ReplyQuiet(reply))
    assert call.wait(SETTINGS.dead_air_ms) == [FillSilence(reply)]


@pytest.mark.parametrize(
    "event", [KeyPress("#"), HoldChange(held=True), LegGone()], ids=["keys", "hold", "gone"]
)
def test_a_prepared_reply_is_dropped_by_whatever_takes_the_floor(
    event: KeyPress | HoldChange | LegGone,
) -> None:
    call = call_up()
    call.tell(KeyPress("5"))
    prepared = one(StartReply, say(call, QUESTION, score=0.2, ms=300))
    assert isinstance(prepared, StartReply)
    assert CancelReply(prepared.turn, reopen=True) in call.tell(event)


def test_words_that_were_asked_for_are_dropped_when_the_caller_goes_on() -> None:
    call = call_up()
    call.tell(SpeechStart(call.offset(), call.now))
    call.wait(900)
    wanted = one(Transcribe, call.tell(SpeechStop(call.offset(), call.now)) + call.wait(100))
    assert isinstance(wanted, Transcribe)
    assert DropTranscript(wanted.revision) in call.tell(SpeechStart(call.offset(), call.now))
