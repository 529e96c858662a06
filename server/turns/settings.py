"""The numbers of turn taking, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """All durations in milliseconds unless the name says otherwise."""

    speech_threshold: float = 0.5
    """VAD probability at which a window counts as speech."""
    sure_threshold: float = 0.8
    """VAD probability at which one window is enough for the caller to count as speaking."""
    silence_threshold: float = 0.35
    """VAD probability below which a window counts as silence (hysteresis)."""
    speech_start_ms: int = 64
    """Speech needed before the caller counts as speaking; also the delay of a barge-in."""
    speech_stop_ms: int = 64
    """Silence needed before the caller counts as having paused."""
    endpointing: str = "fused"
    """``fused`` (words, sound, habit), ``transcript`` (words only) or ``fixed`` (one silence)."""
    patience: float = 0.9
    """``fused``: below 1 what sounds sure is answered sooner and more callers are cut off; above 1 all silences stretch."""
    endpoint_silence_ms: int = 450
    """``transcript`` and ``fixed``: silence that ends a turn whose transcript sounds finished."""
    unfinished_silence_ms: int = 1200
    """``transcript``: silence that ends a turn which breaks off or is a number being dictated."""
    early_transcribe_ms: int = 64
    """Silence after which the turn so far is transcribed, before it is known to be over."""
    score_interval_ms: int = 100
    """The turn detector judges a silence anew so often; 0: never."""
    speculation_lead_ms: int = 1_300
    """A reply is prepared, unheard, at most so long before its turn is expected to be over."""
    speculation_keep_ms: int = 400
    """Speech for so long makes a prepared reply worthless; shorter may have been a noise."""
    reopen_audible_ms: int = 400
    """A caller who goes on when no more of the reply was heard than this is still in the same turn."""
    partial_interval_ms: int = 1_500
    """Words of a turn that is going on are looked up and prefilled so often; 0: never."""
    dead_air_ms: int = 3_500
    """Longest silence while the agent works; then it says that it does."""
    utterance_limit_ms: int = 28_000
    """A turn longer than this is cut and answered (the recogniser takes 30 s)."""
    transcribe_limit_ms: int = 6_000
    reply_limit_ms: int = 20_000
    """Longest wait for the first words of a reply."""
    dtmf_gap_ms: int = 1_000
    """Pause that ends a row of key presses; ``#`` ends it at once."""
    silence_prompt_ms: int = 8_000
    silence_farewell_ms: int = 30_000
    closing_limit_ms: int = 25_000
    """Longest time between the decision to hang up and hanging up."""
    max_turns: int = 60
    max_call_s: int = 1_200
