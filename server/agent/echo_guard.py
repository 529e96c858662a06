"""Keeps an agent that hears itself from interrupting and transcribing itself. Sans-I/O, one for each leg.

A leg without echo pays for the reference only. Where the detector of speech finds some while the agent is, or just was,
audible, that speech is compared with what was sent: if it is the same, it is no speech, and the canceller begins on this
leg, taught by the last second at once. From then on it works while the agent is audible, until enough of that has
passed without echo. What is left after it is believed to be speech only if it is not merely a rest of the echo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.protocols import EchoCanceller
from server.agent.audio_history import AudioHistory
from server.agent.echo_matcher import MAX_LAG_MS, WINDOW_MS, match
from server.agent.playout_reference import PlayoutReference
from server.agent.voice_activity import Judgement, LegKey, window_samples
from sip.leg_protocol import AgentMessage, LegAudio, Mark, Play

_ECHO_LIKENESS: Final = 0.5
"""Echo reaches 0.6 in 99 of 100 windows, another voice 0.35 in one (telephone band, same voice, reverberation)."""
_SUSPECT_PROBABILITY: Final = 0.3
"""Below the silence threshold of the segmenter: what is less likely speech than that is not looked at."""
_TAIL_MS: Final = MAX_LAG_MS + 120
"""Echo and its reverberation are over so long after the last sample sent."""
_LEARN_MS: Final = 1_000
_LEAD_MS: Final = 20
"""The canceller gets the reference so much ahead of its echo: it finds the rest of the delay by itself."""
_CLEAN_MS: Final = 10_000
"""Playout without echo after which the canceller rests."""
_ALIGNMENT_MS: Final = 10
_ALIGNMENT_TICKS: Final = 250
_RESIDUE: Final = 0.04
"""Share of the energy left (-14 dB) up to which a window is a rest of echo."""
_RESIDUE_OF_ECHO: Final = 0.15
"""The same (-8 dB) where what came in was echo by its likeness."""
_PURE_LIKENESS: Final = 0.6
_NEAR_LIKENESS: Final = 0.5
"""Below it the caller is so much louder than the echo that nothing need be taken out, which is kinder to the words."""
_NEAR_SHARE: Final = 0.3
_SHARE_WEIGHT: Final = 0.3
"""Of a tick in the running mean of the share of energy that is left."""
_LAG_SEARCH_MS: Final = 2
_SEARCH_TICKS: Final = 10
"""The delay is looked for anew so often: two clocks drift apart by some samples a minute."""


class EchoGuard:
    """One leg's guard."""

    def __init__(self, rate_hz: int, make_canceller: Callable[[int], EchoCanceller]) -> None:
        """``make_canceller(rate_hz)`` is called when the first echo is found."""
        self.reference = PlayoutReference(rate_hz)
        self._rate_hz = rate_hz
        self._make = make_canceller
        self._canceller: EchoCanceller | None = None
        self._raw = AudioHistory(rate_hz=rate_hz, limit_ms=_LEARN_MS + WINDOW_MS)
        self._clean = AudioHistory(rate_hz=rate_hz, limit_ms=WINDOW_MS)
        self._waiting = b""
        """Capture that does not fill a frame of the canceller."""
        self._base = 0
        """What is added to a sample offset to get the time of the reference."""
        self._aligned = False
        self._least_lead: int | None = None
        self._ticks = 0
        self._shift = 0
        """Samples by which the reference is held back, so that its echo follows it closely."""
        self._begun = 0
        """Sample offset at which the canceller began."""
        self._lag = 0
        """Samples by which the echo is late."""
        self._watched = 0
        self._likeness = 0.0
        self._share = 1.0
        self._near = False
        """The caller speaks so loudly over the echo that nothing is taken out."""
        self._clean_ms = 0.0

    @property
    def active(self) -> bool:
        """Return whether echo was found and the canceller works."""
        return self._canceller is not None

    # ── from and to the door ─────────────────────────────────────────────────────────────────────

    def play(self, message: Play) -> None:
        """Take in what is sent to the door."""
        self.reference.play(message)

    def mark(self, mark: Mark) -> None:
        """Take in a playout mark."""
        self.reference.mark(mark)

    def hear(self, tick: int, audio: LegAudio) -> LegAudio:
        """Take in a tick of a leg; return its audio without echo (up to 10 ms may wait for the next tick)."""
        self.reference.tick(tick, audio.utterance_id, audio.played)
        if not audio.pcm:
            return audio
        self._align(audio)
        echoing = self._may_echo(audio.offset)
        if echoing:
            self._raw.append(audio.offset, audio.pcm, 0)
        if self._canceller is None and not self._waiting:
            return audio
        cleaned = self._cancel(self._canceller if echoing else None, audio)
        self._clean.append(cleaned.offset, cleaned.pcm, 0)
        return cleaned

    # ── the detector of speech ───────────────────────────────────────────────────────────────────

    def believe(self, offset: int, probability: float) -> float:
        """Return the speech probability of the window at ``offset`` as far as it is not the agent's own voice."""
        samples = window_samples(self._rate_hz)
        end = offset + samples
        if probability < _SUSPECT_PROBABILITY or not self._may_echo(end):
            return probability
        if self._canceller is not None and not self._near:
            raw, left = _energy(self._raw, offset, samples), _energy(self._clean, offset, samples)
            rest = _RESIDUE_OF_ECHO if self._likeness >= _PURE_LIKENESS else _RESIDUE
            return 0.0 if left <= rest * raw else probability
        likeness, lag = self._compare(end, 0, self._rate_hz * MAX_LAG_MS // 1000)
        if likeness < _ECHO_LIKENESS:
            return probability
        # Also where an echo was known, which comes by another way now; but learning costs as much as half a second.
        if self._canceller is None or end - self._begun >= self._rate_hz * _LEARN_MS // 1000:
            self._begin(lag, likeness)
        return 0.0

    def _compare(self, end: int, least: int, most: int) -> tuple[float, int]:
        """Return how like what was sent the audio up to ``end`` is, and how many samples it is late."""
        window = self._rate_hz * WINDOW_MS // 1000
        heard = self._raw.slice(end - window, end).rjust(2 * window, b"\0")
        at = end + self._base
        sent = self.reference.slice(at - window - most, at - least)
        found = match(_array(heard), _array(sent), self._rate_hz)
        return found.likeness, least + round(found.lag_ms * self._rate_hz / 1000)

    # ── the canceller ────────────────────────────────────────────────────────────────────────────

    def _begin(self, lag: int, likeness: float) -> None:
        """Begin to cancel, having learned from what is already here."""
        canceller = self._make(self._rate_hz)
        self._lag, self._likeness, self._near = lag, likeness, False
        self._shift = max(0, lag - self._rate_hz * _LEAD_MS // 1000)
        self._clean_ms = 0.0
        newest = self._begun = self._raw.end - len(self._waiting) // 2
        known = len(self._raw.slice(newest - self._rate_hz * _LEARN_MS // 1000, newest)) // 2
        start = newest - known // canceller.frame_samples * canceller.frame_samples
        if start < newest:
            learned = canceller.cancel(_array(self._raw.slice(start, newest)), self._reference(start, newest))
            self._clean.append(start, learned.tobytes(), 0)
        self._canceller = canceller

    def _cancel(self, canceller: EchoCanceller | None, audio: LegAudio) -> LegAudio:
        offset = audio.offset - len(self._waiting) // 2
        pcm = self._waiting + audio.pcm
        if canceller is None:
            self._waiting = b""
            return LegAudio(audio.leg_id, offset, pcm)
        usable = len(pcm) // 2 // canceller.frame_samples * canceller.frame_samples
        self._waiting = pcm[2 * usable :]
        pcm = pcm[: 2 * usable]
        if not pcm:
            return LegAudio(audio.leg_id, offset, b"")
        capture = _array(pcm)
        cleaned = canceller.cancel(capture, self._reference(offset, offset + usable))
        self._watch(capture, cleaned, offset + usable)
        return LegAudio(audio.leg_id, offset, pcm if self._near else cleaned.tobytes())

    def _reference(self, start: int, stop: int) -> NDArray[np.int16]:
        delay = self._base - self._shift
        return _array(self.reference.slice(start + delay, stop + delay))

    def _watch(self, capture: NDArray[np.int16], cleaned: NDArray[np.int16], end: int) -> None:
        """Follow the echo's delay and weight; rest once the agent was audible for long and nothing came back."""
        self._watched += 1
        searching = self._watched % _SEARCH_TICKS == 0
        search = self._rate_hz * _LAG_SEARCH_MS // 1000 if searching else 0
        self._likeness, lag = self._compare(end, max(0, self._lag - search), self._lag + search)
        # At first the canceller takes out more than the echo; once it has learned, what it leaves is better evidence
        # than likeness, which a room with much reverberation lowers.
        share = float(np.square(cleaned, dtype=np.float64).sum()) / (
            float(np.square(capture, dtype=np.float64).sum()) + 1.0
        )
        self._share += _SHARE_WEIGHT * (share - self._share)
        learned = end - self._begun >= self._rate_hz * _LEARN_MS // 1000
        self._near = self._likeness < _NEAR_LIKENESS and (not learned or self._share > _NEAR_SHARE)
        if self._likeness >= _ECHO_LIKENESS:
            self._lag = lag
            self._clean_ms = 0.0
            return
        self._clean_ms += len(capture) * 1000 / self._rate_hz
        if self._clean_ms >= _CLEAN_MS:
            self._canceller = None

    # ── clocks ───────────────────────────────────────────────────────────────────────────────────

    def _may_echo(self, offset: int) -> bool:
        """Return whether what was sent may still be heard at ``offset``."""
        return offset + self._base < self.reference.audible_end + self._rate_hz * _TAIL_MS // 1000

    def _align(self, audio: LegAudio) -> None:
        """Follow the least delay between the tick's clock and the caller's: packets come late, never early."""
        lead = self.reference.end - audio.offset - len(audio.pcm) // 2
        if not self._aligned:
            self._base, self._aligned = lead, True
        if self._least_lead is None or lead < self._least_lead:
            self._least_lead = lead
        self._ticks += 1
        if self._ticks >= _ALIGNMENT_TICKS:
            moved = self._least_lead - self._base
            if abs(moved) > self._rate_hz * _ALIGNMENT_MS // 1000:
                self._base = self._least_lead
                self._shift = max(0, self._shift + moved)
                self._lag = max(0, self._lag + moved)
            self._ticks, self._least_lead = 0, None


def _array(pcm: bytes) -> NDArray[np.int16]:
    return np.frombuffer(pcm, dtype="<i2")


def _energy(history: AudioHistory, offset: int, samples: int) -> float:
    return float(np.square(_array(history.slice(offset, offset + samples)), dtype=np.float64).sum())


class EchoGuards:
    """The guards of all legs of a process; none where echo is not to be cancelled."""

    def __init__(self, make_canceller: Callable[[int], EchoCanceller] | None) -> None:
        self._make = make_canceller
        self._guards: dict[LegKey, EchoGuard] = {}

    def open(
        self, key: LegKey, rate_hz: int, send: Callable[[AgentMessage], None]
    ) -> Callable[[AgentMessage], None]:
        """Guard a leg; return what to send its messages with."""
        if self._make is None:
            return send
        guard = self._guards[key] = EchoGuard(rate_hz, self._make)

        def send_and_note(message: AgentMessage) -> None:
            if isinstance(message, Play):
                guard.play(message)
            send(message)

        return send_and_note

    def close(self, key: LegKey) -> None:
        """Forget a leg."""
        self._guards.pop(key, None)

    def mark(self, key: LegKey, mark: Mark) -> None:
        """Take in a playout mark."""
        if guard := self._guards.get(key):
            guard.mark(mark)

    def hear(self, key: LegKey, tick: int, audio: LegAudio) -> LegAudio:
        """Return a leg's audio without echo."""
        guard = self._guards.get(key)
        return audio if guard is None else guard.hear(tick, audio)

    def believe(self, judgement: Judgement) -> Judgement:
        """Return the judgement as far as it is not about the agent's own voice."""
        guard = self._guards.get(judgement.leg)
        if guard is None:
            return judgement
        return replace(judgement, probability=guard.believe(judgement.offset, judgement.probability))
