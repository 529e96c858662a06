"""The numbers of turn taking, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """All durations in milliseconds unless the name says otherwise."""

    speech_threshold: float = 0.5
    """VAD probability at which a window counts as speech."""
    silence_threshold: float = 0.35
    """VAD probability below which a window counts as silence (hysteresis)."""
    speech_start_ms: int = 96
    """Speech needed before the caller counts as speaking; also the delay of a barge-in."""
    speech_stop_ms: int = 64
    """Silence needed before the caller counts as having paused."""
    early_transcribe_ms: int = 160
    """Silence after which the turn so far is transcribed, before it is known to be over."""
    endpoint_silence_ms: int = 450
    """Silence that ends a turn whose transcript sounds finished."""
    unfinished_silence_ms: int = 1200
    """Silence that ends a turn whose transcript breaks off or is a number being dictated."""
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
