"""Turns out of the traces of calls: what the caller said, paused and went on with, as the turn machine was told. Pure.

A trace has no labels. A silence after which the caller spoke again within two seconds counts as a pause within the turn,
any other as its end; so a caller who was cut off and went on is found, and one who fell silent for good is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from server.tuning.replay import HeardSilence, HeardTurn
from server.turns.endpointing import Expected
from server.turns.messages import ReplyAsks, SpeechStart, SpeechStop, TranscriptReady, TurnScored
from server.turns.trace import replay

_MS: Final = 1_000_000
_GOES_ON_MS: Final = 2_000
_TAIL_MS: Final = 4_000
"""How long the silence after a turn is taken to last."""


@dataclass(slots=True)
class _Open:
    """A silence that lasts, in milliseconds of the trace."""

    stopped_ms: int
    noticed_ms: int
    transcript: str = ""
    scores: list[float] = field(default_factory=list)

    def closed(self, resumed_ms: int | None, noticed_ms: int | None) -> HeardSilence:
        return HeardSilence(
            self.stopped_ms, self.noticed_ms, resumed_ms, noticed_ms, self.transcript, tuple(self.scores)
        )


def turns_of(name: str, lines: Iterable[str]) -> list[HeardTurn]:
    """Return the caller's turns in one trace. Raises :class:`server.turns.trace.TraceError`."""
    turns: list[HeardTurn] = []
    silences: list[HeardSilence] = []
    now: _Open | None = None
    expected = Expected()
    for step in replay(lines):
        at_ms = step.at // _MS
        match step.event:
            case ReplyAsks(expected=asked):
                expected = asked
            case SpeechStop(at=stopped_at) if now is None:
                now = _Open(stopped_at // _MS, at_ms)
            case TranscriptReady(text=text) if now is not None:
                now.transcript = text
            case TurnScored(score=score) if now is not None and score is not None:
                now.scores.append(score)
            case SpeechStart(at=began_at) if now is not None:
                goes_on = began_at // _MS - now.stopped_ms < _GOES_ON_MS
                silences.append(now.closed(began_at // _MS, at_ms) if goes_on else now.closed(None, None))
                now = None
                if not goes_on:
                    turns.append(_turn(f"{name}-{len(turns) + 1}", silences, expected))
                    silences, expected = [], Expected()
            case _:
                pass
    if now is not None:
        turns.append(_turn(f"{name}-{len(turns) + 1}", [*silences, now.closed(None, None)], expected))
    return turns


def _turn(name: str, silences: list[HeardSilence], expected: Expected) -> HeardTurn:
    end_ms = silences[-1].stopped_ms
    return HeardTurn(
        name, "call", "recorded", end_ms, end_ms + _TAIL_MS, len(silences) - 1, expected, tuple(silences)
    )
