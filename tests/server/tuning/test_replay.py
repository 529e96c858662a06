"""Replaying turns with scripted ears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.tuning.curve import choose, current, grid, points
from server.tuning.front_end import silences
from server.tuning.hearing import AnswerCache, Hearing
from server.tuning.recordings import Recording
from server.tuning.replay import (
    HeardSilence,
    HeardTurn,
    Timing,
    fused_decision,
    one_score_decision,
    replay,
    summarise,
)
from server.turns.endpointing import Cues, Expected, FixedSilence, FusedSilence
from server.turns.pauses import PauseHabit
from server.turns.settings import TurnSettings

TIMING = Timing(transcribe_after_ms=160, stt_ms=200, score_interval_ms=100, score_ms=50)
DONE = Expected()


def silence(
    stopped_ms: int,
    resumed_ms: int | None = None,
    *,
    words: str = "On Tuesday.",
    scores: tuple[float, ...] = (0.9,),
) -> HeardSilence:
    told = None if resumed_ms is None else resumed_ms + 100
    return HeardSilence(stopped_ms, stopped_ms + 70, resumed_ms, told, words, scores)


def turn(*found: HeardSilence, end_ms: int = 3_000) -> HeardTurn:
    inner = sum(one.resumed_ms is not None for one in found)
    return HeardTurn("one", "unfinished", "tuning", end_ms, end_ms + 4_000, inner, DONE, found)


class Loudness:
    """A detector that takes everything above a level for speech."""

    window_samples = 256

    def initial_state(self) -> NDArray[np.float32]:
        return np.zeros(1, np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return (np.abs(windows).max(axis=1) > 0.1).astype(np.float32), states


def recording(*pieces_ms: int) -> Recording:
    """Silence and sound by turns, silence first."""
    samples = [np.full(length * 8, 8_000 * (index % 2), np.int16) for index, length in enumerate(pieces_ms)]
    return Recording("one", np.concatenate(samples), 8_000, sum(pieces_ms[:-1]))


def test_a_commit_waits_for_the_words() -> None:
    decide = fused_decision(FixedSilence(100), TIMING)
    assert decide(silence(1_000), DONE, PauseHabit()) == 1_000 + 160 + 200


def test_a_later_surer_score_shortens_the_wait() -> None:
    strategy = FusedSilence()
    unsure = fused_decision(strategy, TIMING)(silence(0, scores=(0.7,) * 16), DONE, PauseHabit())
    sure_later = fused_decision(strategy, TIMING)(
        silence(0, scores=(0.7,) * 2 + (1.0,) * 14), DONE, PauseHabit()
    )
    assert unsure == strategy.required_silence_ms(Cues("On Tuesday.", 0.7))
    assert sure_later < unsure


def test_the_peers_rule_takes_one_score_for_good() -> None:
    decide = one_score_decision(TIMING)
    assert decide(silence(0, scores=(0.1, 0.6)), DONE, PauseHabit()) == 200 + 200
    assert decide(silence(0, scores=(0.9, 0.1, 0.9, 0.9)), DONE, PauseHabit()) == 3_000


def test_a_pause_is_cut_when_it_outlasts_the_wait_and_the_end_is_counted_from_the_label() -> None:
    heard = turn(silence(1_000, 1_500), silence(2_000, 2_900), silence(3_050))
    outcome = replay(heard, fused_decision(FixedSilence(700), TIMING))
    assert outcome.cuts_ms == (2_700,)
    assert outcome.latency_ms == 3_050 + 700 - 3_000


def test_speech_that_is_not_noticed_yet_saves_no_turn() -> None:
    cut = replay(turn(silence(1_000, 1_650), silence(3_000)), fused_decision(FixedSilence(700), TIMING))
    assert cut.cuts_ms == (1_700,)


def test_a_turn_that_never_falls_silent_is_not_ended() -> None:
    outcome = replay(turn(), fused_decision(FixedSilence(700), TIMING))
    assert outcome.latency_ms is None
    assert summarise([outcome]).unanswered == 1
    assert summarise([outcome]).p50_ms >= 4_000


def test_habit_is_learned_within_the_turn() -> None:
    seen: list[int] = []

    class Listening:
        def required_silence_ms(self, cues: Cues, /) -> int:
            seen.append(cues.habit.count)
            return 2_000

    heard = turn(silence(1_000, 1_500), silence(2_000, 2_900), silence(3_050))
    replay(heard, fused_decision(Listening(), TIMING))
    assert sorted(set(seen)) == [0, 1, 2]


@given(
    st.lists(st.tuples(st.integers(100, 900), st.integers(120, 1_500)), max_size=4),
    st.integers(200, 1_500),
    st.integers(0, 800),
)
def test_longer_silences_cut_no_more_and_answer_no_sooner(
    pieces: list[tuple[int, int]], silence_ms: int, more_ms: int
) -> None:
    at, found = 500, []
    for speech, pause in pieces:
        found.append(silence(at + speech, at + speech + pause))
        at += speech + pause
    heard = turn(*found, silence(at + 300), end_ms=at + 300)
    short = replay(heard, fused_decision(FixedSilence(silence_ms), TIMING))
    long = replay(heard, fused_decision(FixedSilence(silence_ms + more_ms), TIMING))
    assert len(long.cuts_ms) <= len(short.cuts_ms)
    assert short.latency_ms is not None
    assert long.latency_ms is not None
    assert long.latency_ms >= short.latency_ms


def test_the_front_end_finds_the_silences_and_when_they_are_known() -> None:
    found = silences(recording(320, 640, 480, 320, 960), Loudness(), TurnSettings())
    assert [(one.stopped_ms, one.resumed_ms) for one in found] == [(960, 1_440), (1_760, None)]
    first = found[0]
    assert first.turn_began_ms == 320
    # Two windows of silence, then the 20 ms batch that completes them; one loud window is enough for speech.
    assert 960 + 64 <= first.noticed_ms < 960 + 64 + 20
    assert first.resumed_noticed_ms is not None
    assert 1_440 + 32 <= first.resumed_noticed_ms < 1_440 + 32 + 20


def test_the_models_hear_the_turn_so_far_and_are_asked_once() -> None:
    asked: list[tuple[str, int]] = []

    def transcribe(pcm: NDArray[np.int16]) -> str:
        asked.append(("words", len(pcm)))
        return "Yes."

    def score(pcm: NDArray[np.int16]) -> float:
        asked.append(("score", len(pcm)))
        return 0.2

    turned = recording(320, 640, 480, 320, 960)
    hearing = Hearing(transcribe, score, AnswerCache(None), names=("stt", "turn"))
    first, last = silences(turned, Loudness(), TurnSettings())
    heard = hearing.hear(turned, first, interval_ms=100)
    assert heard.transcript == "Yes."
    assert asked[0] == ("words", (640 + 160 + 160) * 16)
    lengths = [length // 16 for what, length in asked if what == "score"]
    assert lengths == [first.noticed_ms - 320 + 100 * index for index in range(len(lengths))]
    assert 320 + lengths[-1] < 1_440 + 120
    before = len(asked)
    assert hearing.hear(turned, first, interval_ms=100) == heard
    assert len(asked) == before
    assert hearing.hear(turned, last, interval_ms=100).resumed_ms is None


def test_the_setting_to_choose_is_the_quickest_that_cuts_few_enough() -> None:
    heard = [
        turn(silence(1_000, 1_500, scores=(0.5,) * 9), silence(3_050)),
        turn(silence(3_050, scores=(0.5,) * 20)),
    ]
    settings = TurnSettings()
    found = points(heard, grid(settings, TIMING), current(settings, TIMING))
    strict, loose = choose(found, 0.0), choose(found, 1.0)
    assert strict is not None
    assert loose is not None
    assert strict.summary.cut_share == 0
    assert loose.summary.cut_share > 0
    assert loose.summary.p50_ms < strict.summary.p50_ms
    assert [point.current for point in found].count(True) == 1


def test_no_setting_is_named_where_none_is_good_enough() -> None:
    heard = [turn(silence(100, 2_900, scores=(0.9,)), silence(3_050))]
    found = points(heard, grid(TurnSettings(), TIMING), current(TurnSettings(), TIMING))
    assert choose(found, 0.0) is None


@pytest.mark.parametrize("text", ["[1", '["key"]\n', ""])
def test_a_half_written_answer_is_asked_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    cache = AnswerCache(path)
    assert cache.get("stt", np.zeros(1, np.int16), lambda: "Yes.") == "Yes."
