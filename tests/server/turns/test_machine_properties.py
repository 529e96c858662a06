"""Rules that hold for the turn machine whatever happens, in any order, at any time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.turns import messages as turn
from server.turns.machine import MS, State, TurnMachine
from server.turns.settings import TurnSettings

SETTINGS = TurnSettings(max_turns=6, max_call_s=240)
REPLIES = (turn.Greet, turn.StartReply, turn.PromptSilence, turn.SpeakHandOffFailure, turn.Farewell)
TEXTS = st.sampled_from(["", "Where can I park?", "I would like to", "four eight", "Yes."])


class TurnTaking(RuleBasedStateMachine):
    """A door, a recogniser and a dialogue that do anything they may do."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = TurnMachine(SETTINGS)
        self.now = 5_000 * MS
        self.running: int | None = None
        """The reply that has the floor: there is never a second one."""
        self.paused = False
        self.speaking = False
        self.wanted: set[int] = set()
        self.gone = False
        self.held = False
        self.turns_seen: list[int] = []

    def tell(self, event: turn.TurnInput) -> None:
        self.machine.handle_input(event, self.now)
        self.take()

    def take(self) -> int:
        outputs = self.machine.outputs()
        for output in outputs:
            if isinstance(output, REPLIES):
                assert self.running is None, "two voices of the agent at once"
                assert not self.paused, "a new reply into a paused playout"
                assert output.turn not in self.turns_seen, "a reply's number used twice"
                self.turns_seen.append(output.turn)
                self.running = output.turn
            match output:
                case turn.CancelReply(turn=number):
                    assert self.running == number, "cancelled what does not run"
                    self.running = None
                case turn.PausePlayout():
                    self.paused = True
                case turn.ResumePlayout() | turn.StopPlayout():
                    self.paused = False
                case turn.Transcribe(revision=revision, start=start, stop=stop):
                    assert start <= stop
                    self.wanted.add(revision)
                case turn.DropTranscript(revision=revision):
                    self.wanted.discard(revision)
                case turn.HangUpNow():
                    self.end()
                case _:
                    pass
        return len(outputs)

    @initialize()
    def call_up(self) -> None:
        self.tell(turn.CallUp())

    @rule(ms=st.integers(1, 9_000))
    def let_time_pass(self, ms: int) -> None:
        end = self.now + ms * MS
        wakes = 0
        while (due := self.machine.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            before = self.machine.deadline()
            self.machine.handle_timeout(self.now)
            produced = self.take()
            wakes += 1
            assert produced or self.machine.deadline() != before, "woken for nothing, again and again"
            assert wakes < 50
        self.now = end

    @precondition(lambda self: not self.speaking)
    @rule()
    def start_speaking(self) -> None:
        self.speaking = True
        self.tell(turn.SpeechStart(self.now // MS * 8))

    @precondition(lambda self: self.speaking)
    @rule()
    def stop_speaking(self) -> None:
        self.speaking = False
        self.tell(turn.SpeechStop(self.now // MS * 8, self.now))

    @precondition(lambda self: self.wanted)
    @rule(text=TEXTS, data=st.data())
    def transcript(self, text: str, data: st.DataObject) -> None:
        revision = data.draw(st.sampled_from(sorted(self.wanted)))
        self.wanted.discard(revision)
        self.tell(turn.TranscriptReady(revision, text, 0.8))

    @precondition(lambda self: self.wanted)
    @rule()
    def transcript_fails(self) -> None:
        revision = min(self.wanted)
        self.wanted.discard(revision)
        self.tell(turn.TranscriptFailed(revision))

    @precondition(lambda self: self.running is not None and not self.paused)
    @rule()
    def audible(self) -> None:
        assert self.running is not None
        self.tell(turn.ReplyAudible(self.running))

    @precondition(lambda self: self.running is not None)
    @rule()
    def effect(self) -> None:
        assert self.running is not None
        self.tell(turn.EffectStarted(self.running))

    @precondition(lambda self: self.running is not None)
    @rule()
    def done(self) -> None:
        assert self.running is not None
        number = self.running
        if self.machine.state is not State.CLOSING:
            self.running = None
        self.tell(turn.ReplyDone(number))

    @precondition(lambda self: self.running is not None and self.machine.state is not State.CLOSING)
    @rule()
    def closes(self) -> None:
        assert self.running is not None
        self.tell(turn.ReplyCloses(self.running))
        assert not self.paused, "a goodbye that nobody hears"

    @precondition(lambda self: self.machine.state is State.CLOSING)
    @rule()
    def hand_off_fails(self) -> None:
        self.running = None
        self.tell(turn.HandOffFailed())

    @rule(digit=st.sampled_from("0159#"))
    def key(self, digit: str) -> None:
        self.tell(turn.KeyPress(digit))

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.held = held
        self.tell(turn.HoldChange(held))

    @precondition(lambda self: len(self.turns_seen) > 4 or self.gone)
    @rule()
    def leg_gone(self) -> None:
        self.end()

    def end(self) -> None:
        if self.gone:
            return
        self.gone = True
        self.machine.handle_input(turn.LegGone(), self.now)
        self.take()
        assert self.running is None or self.machine.state is State.ENDED

    @rule(revision=st.integers(1, 5), number=st.integers(1, 5))
    def stale_news(self, revision: int, number: int) -> None:
        """What belongs to an earlier revision or reply changes nothing it should not."""
        if revision not in self.wanted:
            self.tell(turn.TranscriptReady(revision, "stale words", 0.9))
        if number != self.running:
            self.tell(turn.ReplyDone(number))

    @invariant()
    def there_is_always_a_next_moment(self) -> None:
        if self.machine.state not in (State.IDLE, State.ENDED):
            assert self.machine.deadline() is not None, "dead air without end"

    @invariant()
    def a_pause_has_a_cause(self) -> None:
        if self.paused and not self.gone:
            assert self.machine.state is State.PAUSED or self.held

    @invariant()
    def paused_playout_is_known_to_be_paused(self) -> None:
        if self.machine.state is State.SPEAKING and not self.held:
            assert not self.paused


TestTurnTaking = TurnTaking.TestCase
TestTurnTaking.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
