"""The turn machine, told what happens in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.turns.machine import MS, State, TurnMachine
from server.turns.messages import (
    CallUp,
    CancelReply,
    DropTranscript,
    EffectStarted,
    Farewell,
    FarewellReason,
    FillSilence,
    Greet,
    HandOffFailed,
    HangUpNow,
    HoldChange,
    KeyPress,
    LegGone,
    PausePlayout,
    PromptSilence,
    ReplyAudible,
    ReplyCloses,
    ReplyDone,
    ResumePlayout,
    SpeakHandOffFailure,
    SpeechStart,
    SpeechStop,
    StartReply,
    StopPlayout,
    Transcribe,
    TranscriptFailed,
    TranscriptReady,
    TurnInput,
    TurnOutput,
)
from server.turns.settings import TurnSettings

SETTINGS = TurnSettings(
    endpointing="transcript",
    early_transcribe_ms=160,
    score_interval_ms=0,
    partial_interval_ms=0,
    speculation_lead_ms=0,
)
"""Words only: what the sound and speculation add is tested beside it."""


class Call:
    """A machine and a virtual clock."""

    def __init__(self, settings: TurnSettings = SETTINGS) -> None:
        self.machine = TurnMachine(settings)
        self.now = 1_000 * MS
        self.seen: list[TurnOutput] = []
        self.stopped_at = 0

    def tell(self, event: TurnInput) -> list[TurnOutput]:
        if isinstance(event, SpeechStop):
            self.stopped_at = event.at
        self.machine.handle_input(event, self.now)
        return self._drain()

    def wait(self, ms: int) -> list[TurnOutput]:
        """Let time pass, waking the machine at each of its deadlines."""
        end = self.now + ms * MS
        outputs: list[TurnOutput] = []
        while (due := self.machine.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.handle_timeout(self.now)
            outputs += self._drain()
        self.now = end
        return outputs

    def _drain(self) -> list[TurnOutput]:
        outputs = self.machine.outputs()
        self.seen += outputs
        return outputs

    def offset(self) -> int:
        return self.now // MS * 8

    def greeted(self) -> Call:
        """Be past the greeting."""
        self.tell(CallUp())
        self.tell(ReplyAudible(1))
        self.wait(2000)
        self.tell(ReplyDone(1))
        return self

    def speak(self, ms: int) -> list[TurnOutput]:
        """The caller speaks for ``ms`` and stops (noticed 64 ms later)."""
        outputs = self.tell(SpeechStart(self.offset(), self.now))
        outputs += self.wait(ms)
        outputs += self.tell(SpeechStop(self.offset(), self.now))
        return outputs

    def say(self, text: str, ms: int = 1000) -> StartReply:
        """The caller says something whole; return the reply that is asked for."""
        self.speak(ms)
        (wanted,) = [o for o in self.wait(SETTINGS.early_transcribe_ms) if isinstance(o, Transcribe)]
        outputs = self.tell(TranscriptReady(wanted.revision, text, 0.9))
        outputs += self.wait(SETTINGS.unfinished_silence_ms)
        (reply,) = [o for o in outputs if isinstance(o, StartReply)]
        return reply


def transcribe_in(outputs: list[TurnOutput]) -> Transcribe:
    (wanted,) = [o for o in outputs if isinstance(o, Transcribe)]
    return wanted


def test_the_call_begins_with_the_greeting() -> None:
    call = Call()
    assert call.tell(CallUp()) == [Greet(1, resumed=False)]


def test_a_turn_is_transcribed_early_and_answered_when_the_silence_has_lasted() -> None:
    call = Call().greeted()
    call.speak(1200)
    stopped_at = call.now
    wanted = transcribe_in(call.wait(200))
    assert call.tell(TranscriptReady(wanted.revision, "What are your hours on Saturday?", 0.9)) == []
    outputs = call.wait(400)
    over_at = stopped_at + SETTINGS.endpoint_silence_ms * MS
    assert outputs == [StartReply(2, "What are your hours on Saturday?", "speech", 0.9, stopped_at, over_at)]


def test_a_late_transcript_is_answered_at_once() -> None:
    call = Call().greeted()
    call.speak(1200)
    wanted = transcribe_in(call.wait(900))
    assert [type(o) for o in call.tell(TranscriptReady(wanted.revision, "Where can I park?", 0.9))] == [
        StartReply
    ]


def test_an_unfinished_phrase_gets_more_time_than_a_finished_one() -> None:
    call = Call().greeted()
    call.speak(800)
    wanted = transcribe_in(call.wait(200))
    call.tell(TranscriptReady(wanted.revision, "I would like to", 0.9))
    assert call.wait(500) == []
    assert [type(o) for o in call.wait(600)] == [StartReply]


def test_speech_within_the_pause_drops_the_revision_and_transcribes_the_whole_turn() -> None:
    call = Call().greeted()
    began = call.offset()
    call.speak(800)
    first = transcribe_in(call.wait(200))
    assert call.tell(SpeechStart(call.offset(), call.now)) == [DropTranscript(first.revision)]
    call.wait(700)
    call.tell(SpeechStop(call.offset(), call.now))
    second = transcribe_in(call.wait(300))
    assert second.start == began
    assert second.stop > first.stop
    # The first revision's words are out of date, even if they still arrive.
    assert call.tell(TranscriptReady(first.revision, "I'd like an appointment", 0.9)) == []


def test_words_over_the_agent_pause_it_at_once_and_stop_it_when_they_are_words() -> None:
    call = Call().greeted()
    call.say("Tell me about the clinic.")
    call.tell(ReplyAudible(2))
    call.wait(1000)
    assert call.tell(SpeechStart(call.offset(), call.now)) == [PausePlayout()]
    call.wait(900)
    call.tell(SpeechStop(call.offset(), call.now))
    wanted = transcribe_in(call.wait(300))
    outputs = call.tell(TranscriptReady(wanted.revision, "Stop, where do I park?", 0.9))
    outputs += call.wait(1000)
    assert [type(o) for o in outputs] == [CancelReply, StopPlayout, StartReply]
    assert outputs[0] == CancelReply(2, reopen=False)


def test_a_cough_over_the_agent_pauses_and_resumes_it() -> None:
    call = Call().greeted()
    call.say("Tell me about the clinic.")
    call.tell(ReplyAudible(2))
    call.speak(200)
    wanted = transcribe_in(call.wait(300))
    outputs = call.tell(TranscriptReady(wanted.revision, "", 0.1)) + call.wait(1000)
    assert outputs == [ResumePlayout()]
    assert call.machine.state is State.SPEAKING


def test_speech_before_the_answer_is_heard_reopens_the_turn() -> None:
    call = Call().greeted()
    call.say("I need an appointment.")
    outputs = call.tell(SpeechStart(call.offset(), call.now))
    assert outputs == [CancelReply(2, reopen=True)]
    assert call.machine.state is State.CALLER_SPEAKING


def test_a_turn_with_an_effect_is_not_reopened() -> None:
    call = Call().greeted()
    call.say("Yes, book it.")
    call.tell(EffectStarted(2))
    assert call.tell(SpeechStart(call.offset(), call.now)) == [PausePlayout()]


def test_mumbling_is_answered_and_a_knock_is_not() -> None:
    call = Call().greeted()
    mumbled = call.say("", ms=1500)
    assert mumbled.text == ""
    call = Call().greeted()
    call.speak(150)
    wanted = transcribe_in(call.wait(300))
    assert call.tell(TranscriptReady(wanted.revision, "", 0.0)) + call.wait(1000) == []
    assert call.machine.state is State.LISTENING


def test_silence_is_asked_about_after_8_s_and_ends_the_call_after_30_s() -> None:
    call = Call().greeted()
    assert call.wait(7_999) == []
    assert call.wait(1) == [PromptSilence(2)]
    call.tell(ReplyAudible(2))
    call.wait(1000)
    call.tell(ReplyDone(2))
    outputs = call.wait(8_000)
    assert outputs == [PromptSilence(3)]
    call.tell(ReplyAudible(3))
    call.tell(ReplyDone(3))
    outputs = call.wait(13_000)
    assert PromptSilence(4) in outputs or Farewell(4, FarewellReason.SILENCE) in outputs
    call.tell(ReplyDone(4))
    assert any(isinstance(o, Farewell) for o in outputs + call.wait(8_000))
    assert call.machine.state is State.CLOSING


def test_speech_after_the_prompt_starts_the_silence_anew() -> None:
    call = Call().greeted()
    call.wait(8_000)
    call.tell(ReplyAudible(2))
    call.tell(ReplyDone(2))
    reply = call.say("Yes, I am here.")
    call.tell(ReplyAudible(reply.turn))
    call.tell(ReplyDone(reply.turn))
    assert call.wait(7_900) == []


def test_keys_are_a_turn_after_a_pause_or_a_hash() -> None:
    call = Call().greeted()
    call.tell(KeyPress("0"))
    outputs = call.wait(SETTINGS.dtmf_gap_ms)
    assert [(o.text, o.source) for o in outputs if isinstance(o, StartReply)] == [("0", "dtmf")]
    call.tell(ReplyDone(2))
    for digit in "4821":
        call.tell(KeyPress(digit))
    outputs = call.tell(KeyPress("#"))
    assert [o.text for o in outputs if isinstance(o, StartReply)] == ["4821"]


def test_a_key_stops_what_is_being_said() -> None:
    call = Call()
    call.tell(CallUp())
    call.tell(ReplyAudible(1))
    call.tell(KeyPress("0"))
    outputs = call.wait(SETTINGS.dtmf_gap_ms)
    assert [type(o) for o in outputs] == [CancelReply, StopPlayout, StartReply]


def test_no_reply_in_time_ends_in_an_honest_farewell() -> None:
    call = Call().greeted()
    call.say("Tell me about the clinic.")
    outputs = call.wait(SETTINGS.reply_limit_ms)
    assert outputs[-3:] == [CancelReply(2, reopen=False), StopPlayout(), Farewell(3, FarewellReason.NO_REPLY)]
    assert set(outputs[:-3]) == {FillSilence(2)}


def test_a_recogniser_that_fails_twice_ends_in_a_farewell() -> None:
    call = Call().greeted()
    call.speak(1000)
    first = transcribe_in(call.wait(300))
    outputs = call.tell(TranscriptFailed(first.revision)) + call.wait(1000)
    assert [o.text for o in outputs if isinstance(o, StartReply)] == [""]
    call.tell(ReplyDone(call.machine.turn))
    call.speak(1000)
    second = transcribe_in(call.wait(300))
    outputs = call.tell(TranscriptFailed(second.revision))
    assert [o.reason for o in outputs if isinstance(o, Farewell)] == [FarewellReason.SPEECH]


def test_limits_on_turns_and_on_the_length_of_the_call() -> None:
    call = Call(replace(SETTINGS, max_turns=1)).greeted()
    call.say("Hello there.")
    call.tell(ReplyAudible(2))
    call.tell(ReplyDone(2))
    call.speak(900)
    wanted = transcribe_in(call.wait(300))
    outputs = call.tell(TranscriptReady(wanted.revision, "And now?", 0.9)) + call.wait(1000)
    assert outputs == [Farewell(3, FarewellReason.TURNS)]

    call = Call(replace(SETTINGS, max_call_s=60)).greeted()
    call.speak(20_000)
    call.wait(300)
    outputs = call.wait(60_000)
    assert any(isinstance(o, Farewell) for o in outputs)


def test_whoever_never_stops_is_answered_on_what_was_said() -> None:
    call = Call().greeted()
    call.tell(SpeechStart(call.offset(), call.now))
    outputs = call.wait(SETTINGS.utterance_limit_ms + SETTINGS.early_transcribe_ms)
    wanted = transcribe_in(outputs)
    assert (wanted.stop - wanted.start) // 8 == SETTINGS.utterance_limit_ms


def test_hold_stops_the_clocks_and_the_voice() -> None:
    call = Call().greeted()
    call.say("Tell me about the clinic.")
    call.tell(ReplyAudible(2))
    assert call.tell(HoldChange(held=True)) == [PausePlayout()]
    assert call.wait(120_000) == []
    assert call.tell(HoldChange(held=False)) == [ResumePlayout()]
    call.tell(ReplyDone(2))
    assert call.machine.state is State.LISTENING


def test_a_failed_hand_off_is_spoken_and_the_conversation_goes_on() -> None:
    call = Call().greeted()
    call.say("A person, please.")
    call.tell(ReplyAudible(2))
    call.tell(ReplyCloses(2))
    assert call.machine.state is State.CLOSING
    assert call.tell(HandOffFailed()) == [SpeakHandOffFailure(3)]
    call.tell(ReplyAudible(3))
    call.tell(ReplyDone(3))
    assert call.say("Then tell me where to park.").turn == 4


def test_a_call_that_will_not_close_is_closed() -> None:
    call = Call().greeted()
    call.say("Goodbye.")
    call.tell(ReplyCloses(2))
    assert call.wait(SETTINGS.closing_limit_ms) == [HangUpNow()]


@pytest.mark.parametrize(
    "events", [[], [KeyPress("1")], [SpeechStart(0, 0)]], ids=["nothing", "key", "speech"]
)
def test_after_the_end_nothing_is_asked_for(events: list[TurnInput]) -> None:
    call = Call().greeted()
    call.tell(LegGone())
    for event in events:
        assert call.tell(event) == []
    assert call.machine.deadline() is None
