"""Rules that hold for the turn machine whatever happens, in any order, at any time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.turns import messages as turn
from server.turns.endpointing import Expected
from server.turns.machine import MS, State, TurnMachine
from server.turns.settings import TurnSettings

SETTINGS = TurnSettings(max_turns=6, max_call_s=240)
REPLIES = (turn.Greet, turn.StartReply, turn.PromptSilence, turn.SpeakHandOffFailure, turn.Farewell)
TEXTS = st.sampled_from(
    [
        "",
        "Where can I park?",
        "where can I park",
        "I would like to",
        "four eight",
        "Yes.",
        "Mm-hmm.",
        "Hello?",
    ]
)


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
        self.probes: set[int] = set()
        self.partials: set[int] = set()
        self.prepared: int | None = None
        """The reply that is prepared and may be neither heard nor take effect."""
        self.heard_since: int | None = None
        """Since when the caller hears nothing although the agent has the floor; None while something is heard."""
        self.effects: set[int] = set()
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
                self.heard_since = self.now
            self.follow(output)
        return len(outputs)

    def follow(self, output: turn.TurnOutput) -> None:
        match output:
            case turn.StartReply(turn=number, speculative=True):
                self.prepared = number
            case turn.CommitReply(turn=number):
                assert self.prepared == number, "committed what was not prepared"
                self.prepared, self.heard_since = None, self.now
            case turn.FillSilence(turn=number):
                assert self.running == number
                assert self.prepared is None
                self.heard_since = self.now
            case turn.CancelReply(turn=number, reopen=reopen):
                assert self.running == number, "cancelled what does not run"
                assert not (reopen and number in self.effects), "an effect cannot be taken back"
                self.running = self.prepared = None
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
                self.follow_models(output)

    def follow_models(self, output: turn.TurnOutput) -> None:
        match output:
            case turn.ScoreTurn(probe=probe):
                self.probes.add(probe)
            case turn.DropScore(probe=probe):
                assert probe in self.probes, "dropped what was not asked for"
                self.probes.discard(probe)
            case turn.TranscribePartial(partial=partial):
                assert not self.partials, "two partial transcripts at once"
                self.partials.add(partial)
            case turn.DropPartial(partial=partial):
                self.partials.discard(partial)
            case _:
                pass

    @initialize(greeted=st.integers(0, 3))
    def call_up(self, greeted: int) -> None:
        self.tell(turn.CallUp())
        if greeted:
            self.heard_out(1_500)

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
            assert wakes < 250
        self.now = end

    @precondition(lambda self: not self.speaking)
    @rule()
    def start_speaking(self) -> None:
        self.speaking = True
        self.tell(turn.SpeechStart(self.now // MS * 8, self.now))

    @precondition(lambda self: self.speaking)
    @rule()
    def stop_speaking(self) -> None:
        self.speaking = False
        self.tell(turn.SpeechStop(self.now // MS * 8, self.now))

    @precondition(lambda self: not self.speaking and not self.gone)
    @rule(text=TEXTS, score=st.none() | st.floats(0, 1), silence_ms=st.integers(0, 2_000))
    def says(self, text: str, score: float | None, silence_ms: int) -> None:
        """What mostly happens: words, a silence, and the models' answers to it."""
        self.start_speaking()
        self.let_time_pass(500)
        self.stop_speaking()
        self.let_time_pass(70)
        if self.probes:
            self.scored(score)
        if self.wanted:
            self.wanted.discard(newest := max(self.wanted))
            self.tell(turn.TranscriptReady(newest, text, 0.9))
        self.let_time_pass(max(1, silence_ms))

    @precondition(lambda self: not self.speaking and not self.gone)
    @rule(text=TEXTS, after_ms=st.integers(0, 900), heard_ms=st.integers(0, 600))
    def goes_on(self, text: str, after_ms: int, heard_ms: int) -> None:
        """A caller who pauses and goes on, before or just as the answer begins."""
        self.says(text, 0.3, after_ms)
        if heard_ms and self.has_floor() and not self.paused:
            self.audible(content=True)
            self.let_time_pass(heard_ms)
        self.start_speaking()

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

    @precondition(lambda self: self.probes)
    @rule(score=st.none() | st.floats(0, 1))
    def scored(self, score: float | None) -> None:
        probe = min(self.probes)
        self.probes.discard(probe)
        self.tell(turn.TurnScored(probe, score))

    @precondition(lambda self: self.partials)
    @rule(text=TEXTS)
    def partial_words(self, text: str) -> None:
        self.tell(turn.PartialReady(self.partials.pop(), text))

    @rule(busy=st.integers(0, 3), partials=st.booleans())
    def load(self, busy: int, partials: bool) -> None:
        self.tell(turn.ModelLoad(bool(busy), partials))

    def has_floor(self) -> bool:
        return self.running is not None and self.prepared is None

    @precondition(lambda self: self.has_floor() and not self.paused)
    @rule(content=st.booleans())
    def audible(self, content: bool) -> None:
        assert self.running is not None
        self.heard_since = None
        self.tell(turn.ReplyAudible(self.running, content))

    @precondition(lambda self: self.has_floor() and not self.paused and self.heard_since is None)
    @rule()
    def quiet(self) -> None:
        assert self.running is not None
        self.heard_since = self.now
        self.tell(turn.ReplyQuiet(self.running))

    @precondition(lambda self: self.has_floor())
    @rule(digits=st.integers(0, 9), brief=st.booleans())
    def asks(self, digits: int, brief: bool) -> None:
        assert self.running is not None
        self.tell(turn.ReplyAsks(self.running, Expected(digits, brief)))

    @precondition(lambda self: self.has_floor())
    @rule()
    def effect(self) -> None:
        assert self.running is not None
        self.effects.add(self.running)
        self.tell(turn.EffectStarted(self.running))

    @precondition(lambda self: self.prepared is not None)
    @rule()
    def prepared_reply_says_what_it_may_not(self) -> None:
        """Whatever a shell says of a reply that is only prepared: it is neither heard nor done."""
        assert self.prepared is not None
        before = self.machine.state
        for event in (turn.ReplyAudible(self.prepared), turn.ReplyDone(self.prepared)):
            self.tell(event)
        assert self.machine.state is before

    @precondition(lambda self: self.has_floor() and not self.paused)
    @rule(ms=st.integers(1, 3_000))
    def heard_out(self, ms: int) -> None:
        """A reply that is heard to its end."""
        self.audible(content=True)
        self.let_time_pass(ms)
        if self.has_floor():
            self.done()

    @precondition(lambda self: self.has_floor())
    @rule()
    def done(self) -> None:
        assert self.running is not None
        number = self.running
        if self.machine.state is not State.CLOSING:
            self.running = None
        self.tell(turn.ReplyDone(number))

    @precondition(lambda self: self.has_floor() and self.machine.state is not State.CLOSING)
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

    @rule(digit=st.sampled_from("0159#"), rarely=st.integers(0, 3))
    def key(self, digit: str, rarely: int) -> None:
        if not rarely:
            self.tell(turn.KeyPress(digit))

    @rule(rarely=st.integers(0, 5))
    def hold(self, rarely: int) -> None:
        """Put on hold now and then, and taken back soon."""
        if self.held or not rarely:
            self.held = not self.held
            self.tell(turn.HoldChange(self.held))

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
    def a_prepared_reply_has_no_floor(self) -> None:
        if self.prepared is not None and not self.gone:
            assert self.machine.state in (State.ENDPOINTING, State.CALLER_SPEAKING)

    @invariant()
    def no_dead_air_beyond_the_limit(self) -> None:
        waits = self.machine.state in (State.THINKING, State.SPEAKING) and not self.held and not self.gone
        if waits and self.heard_since is not None:
            due = self.machine.deadline()
            assert due is not None
            assert due <= max(self.now, self.heard_since) + SETTINGS.dead_air_ms * MS

    @invariant()
    def a_pause_has_a_cause(self) -> None:
        if self.paused and not self.gone:
            assert self.machine.state is State.PAUSED or self.held

    @invariant()
    def paused_playout_is_known_to_be_paused(self) -> None:
        if self.machine.state is State.SPEAKING and not self.held:
            assert not self.paused


TestTurnTaking = TurnTaking.TestCase
TestTurnTaking.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
