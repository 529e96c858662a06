"""What an endpointing strategy would have done with recorded turns: which pauses it had cut, how long it had waited. Pure.

A silence is judged as the turn machine judges it: the strategy is asked again when the words come and whenever the
turn detector has scored anew, and the turn commits once the silence is as long as it then says, words at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from server.turns.endpointing import Cues, Endpointing, Expected, smoothed
from server.turns.pauses import PauseHabit
from server.turns.settings import TurnSettings

SCORE_DECIDED: Final = 0.9
"""As the turn machine: from this score on the detector is not asked again about the same silence."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When the product knows what. Milliseconds."""

    transcribe_after_ms: int = 64
    """Silence after which the turn so far is transcribed."""
    stt_ms: int = 200
    """From then to the words."""
    score_interval_ms: int = 100
    score_ms: int = 50
    """From asking the turn detector to its answer."""


@dataclass(frozen=True, slots=True)
class HeardSilence:
    """A silence with what the models said about it. Milliseconds from the recording's first sample."""

    stopped_ms: int
    noticed_ms: int
    resumed_ms: int | None
    resumed_noticed_ms: int | None
    transcript: str
    """Of the turn so far."""
    scores: tuple[float, ...]
    """The turn detector's, from when the silence was noticed, one every ``score_interval_ms``."""


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """A recorded turn as the agent's front end and models heard it."""

    name: str
    kind: str
    half: str
    end_ms: int
    length_ms: int
    pauses: int
    """Pauses within it that are labelled."""
    expected: Expected
    silences: tuple[HeardSilence, ...]


Decide = Callable[[HeardSilence, Expected, PauseHabit], int]
"""When the silence would end the turn, did it last for ever."""


def fused_decision(strategy: Endpointing, timing: Timing) -> Decide:
    """Return how the turn machine decides with ``strategy``."""

    def decide(silence: HeardSilence, expected: Expected, habit: PauseHabit) -> int:
        words_ms = max(silence.noticed_ms, silence.stopped_ms + timing.transcribe_after_ms) + timing.stt_ms
        changes = [(words_ms, None), *_score_times(silence, timing)]
        score: float | None = None
        transcript: str | None = None
        changes.sort(key=lambda change: change[0])
        for index, (at_ms, scored) in enumerate(changes):
            if scored is None:
                transcript = silence.transcript
            else:
                score = scored
            if transcript is None:
                continue  # there is nothing to answer yet
            due_ms = silence.stopped_ms + strategy.required_silence_ms(
                Cues(transcript, score, expected, habit)
            )
            if index + 1 == len(changes) or due_ms <= changes[index + 1][0]:
                return max(at_ms, due_ms)
        raise AssertionError("the last change always decides")

    return decide


def _score_times(silence: HeardSilence, timing: Timing) -> list[tuple[int, float]]:
    times: list[tuple[int, float]] = []
    together: float | None = None
    for index, score in enumerate(silence.scores):
        together = smoothed(together, score)
        times.append((silence.noticed_ms + index * timing.score_interval_ms + timing.score_ms, together))
        if together >= SCORE_DECIDED:
            break
    return times


def one_score_decision(timing: Timing, *, stop_ms: int = 200, give_up_ms: int = 3_000) -> Decide:
    """Return Pipecat's rule: one score after ``stop_ms`` of silence; above 0.5 the turn is over, else ``give_up_ms``."""

    def decide(silence: HeardSilence, _expected: Expected, _habit: PauseHabit) -> int:
        asked_ms = max(silence.noticed_ms, silence.stopped_ms + stop_ms)
        index = round((asked_ms - silence.noticed_ms) / timing.score_interval_ms)
        over = bool(silence.scores) and silence.scores[min(index, len(silence.scores) - 1)] > 0.5
        answer_ms = asked_ms + timing.score_ms
        words_ms = asked_ms + timing.stt_ms
        return max(answer_ms, words_ms) if over else silence.stopped_ms + give_up_ms

    return decide


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one turn."""

    name: str
    kind: str
    cuts_ms: tuple[int, ...]
    """When it was taken before its end, for each silence for which it was."""
    pauses: int
    latency_ms: int | None
    """From its true end to the commit; None where it never came within the recording."""
    spoken_over: bool = False
    """A reply that was ready at once would have been heard for longer than a turn can be reopened after."""


_AUDIBLE_MS: Final = 60
"""From the commit to the first sound of a reply that was prepared."""
_REOPEN_AUDIBLE_MS: Final = TurnSettings().reopen_audible_ms


def replay(turn: HeardTurn, decide: Decide) -> Outcome:
    """Judge every silence of the turn, each as if none before it had been cut."""
    habit = PauseHabit()
    cuts: list[int] = []
    latency_ms: int | None = None
    spoken_over = False
    for silence in turn.silences:
        commit_ms = decide(silence, turn.expected, habit)
        lasts_until = turn.length_ms if silence.resumed_noticed_ms is None else silence.resumed_noticed_ms
        if commit_ms < lasts_until:
            if silence.resumed_ms is not None and silence.resumed_ms < turn.end_ms:
                cuts.append(commit_ms)
                spoken_over |= commit_ms + _AUDIBLE_MS + _REOPEN_AUDIBLE_MS < lasts_until
            else:
                latency_ms = max(0, commit_ms - turn.end_ms)
                break
        if silence.resumed_ms is not None:
            habit = habit.learn(silence.resumed_ms - silence.stopped_ms)
    return Outcome(turn.name, turn.kind, tuple(cuts), turn.pauses, latency_ms, spoken_over)


@dataclass(frozen=True, slots=True)
class Summary:
    """One point of the curve."""

    turns: int
    cut_turns: int
    pauses: int
    cut_pauses: int
    p50_ms: int
    p90_ms: int
    unanswered: int
    """Turns whose end was not found within the recording."""
    spoken_over: int = 0
    """Turns of those cut that reopening would not have mended."""

    @property
    def cut_share(self) -> float:
        """Return turns that were cut early out of all turns."""
        return self.cut_turns / self.turns if self.turns else 0.0

    @property
    def cut_pause_share(self) -> float:
        """Return pauses that were cut out of all labelled pauses."""
        return self.cut_pauses / self.pauses if self.pauses else 0.0


NEVER_MS: Final = 10_000
"""Latency that counts for a turn whose end was not found."""


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Return shares and percentiles. Turns that are cut count with the latency that their real end would have had."""
    latencies = sorted(NEVER_MS if one.latency_ms is None else one.latency_ms for one in outcomes)
    return Summary(
        len(outcomes),
        sum(bool(one.cuts_ms) for one in outcomes),
        sum(one.pauses for one in outcomes),
        sum(len(one.cuts_ms) for one in outcomes),
        percentile(latencies, 0.5),
        percentile(latencies, 0.9),
        sum(one.latency_ms is None for one in outcomes),
        sum(one.spoken_over for one in outcomes),
    )


def percentile(ranked: Sequence[int], share: float) -> int:
    """Return the value below which ``share`` of the sorted values lie; 0 for none."""
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0
