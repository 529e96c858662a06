"""A recorded turn through the product's own front end in virtual time: 20 ms batches, VAD windows, segmenter. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.protocols import VoiceActivityDetector
from server.agent.voice_activity import VoiceActivity
from server.tuning.recordings import Recording
from server.turns.segmenter import Segmenter, SegmentStart
from server.turns.settings import TurnSettings

_BATCH_MS: Final = 20
_LEG: Final = ("replay", 0)


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence as the agent meets it. Milliseconds from the recording's first sample."""

    turn_began_ms: int
    """Where the caller's first speech began."""
    stopped_ms: int
    """Where speech ended, by the VAD."""
    noticed_ms: int
    """When that was known."""
    resumed_ms: int | None
    """Where speech began again; None where it did not."""
    resumed_noticed_ms: int | None
    """When that was known; until then a turn may be taken."""


def silences(recording: Recording, vad: VoiceActivityDetector, settings: TurnSettings) -> list[Silence]:
    """Return every silence after the turn's first speech, in order. ``vad`` runs at the recording's rate."""
    rate_hz = recording.rate_hz
    activity = VoiceActivity({rate_hz: vad})
    activity.open(_LEG, rate_hz=rate_hz)
    segmenter = Segmenter(settings, rate_hz=rate_hz, window_samples=vad.window_samples)
    batch = rate_hz * _BATCH_MS // 1000
    found: list[Silence] = []
    began: int | None = None
    open_silence: tuple[int, int] | None = None
    pcm = recording.samples.astype("<i2")
    for start in range(0, len(pcm), batch):
        activity.feed(_LEG, start, pcm[start : start + batch].tobytes())
        now_ms = (start + batch) * 1000 // rate_hz
        for judged in activity.judge():
            event = segmenter.feed(judged.offset, judged.probability)
            if event is None:
                continue
            at_ms = event.offset * 1000 // rate_hz
            if not isinstance(event, SegmentStart):
                open_silence = (at_ms, now_ms)
                continue
            if open_silence is not None and began is not None:
                found.append(Silence(began, *open_silence, at_ms, now_ms))
            began, open_silence = at_ms if began is None else began, None
    if open_silence is not None and began is not None:
        found.append(Silence(began, *open_silence, None, None))
    return found
