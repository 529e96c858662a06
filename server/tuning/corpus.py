"""The pause corpus: speech on disk and, by its manifest, the pauses, noise and line that make turns of it.

A turn is put together the same way every time, from the numbers of its entry alone. Speech lies there once as G.711
µ-law at 8 kHz without the pauses; several turns may speak from one file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.tuning.recordings import Recording, RecordingError
from server.turns.endpointing import Expected
from sip import codecs
from sip.offer_answer import Codec

Samples = NDArray[np.float64]

RATE_HZ: Final = codecs.RATE_HZ
LEAD_MS: Final = 300
"""Line noise before the turn."""
TAIL_MS: Final = 4_000
"""And after it: longer than any strategy waits."""
_FADE: Final = 32
"""Samples (4 ms) over which speech is faded at a cut, so that none clicks."""
_SHORTEST_PAUSE_MS: Final = 120
"""Shorter silences belong to articulation: stops close for 50 to 150 ms."""
_BABBLE_VOICES: Final = 12
_HUM_HZ: Final = (50, 100, 150, 250, 350)


@dataclass(frozen=True, slots=True)
class Join:
    """A pause put between two pieces of speech."""

    at: int
    """Sample of the speech file."""
    gap_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One turn of the manifest."""

    name: str
    kind: str
    half: str
    speaker: str
    source: str
    words: str
    joins: tuple[Join, ...] = ()
    natural: tuple[tuple[int, int], ...] = ()
    """Pauses that the speech file holds itself: first and last sample."""
    expected_digits: int = 0
    brief: bool = False
    noise: str = ""
    """``babble``, ``hum``, ``street`` or none."""
    snr_db: float = 0.0
    floor_dbfs: float = -60.0
    level_db: float = 0.0
    loss: float = 0.0
    """Share of 20 ms packets that do not arrive."""
    law: str = "mu"
    seed: int = 0
    source_sha256: str = ""
    pcm_sha256: str = ""
    """Of the turn's PCM16 as put together."""

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Entry:
        """Return the entry that the manifest describes. Raises TypeError for other fields."""
        joins = tuple(Join(*join) for join in fields.get("joins", ()))
        natural = tuple((int(first), int(last)) for first, last in fields.get("natural", ()))
        plain = {key: value for key, value in fields.items() if key not in {"pauses", "end_ms"}}
        return cls(**{**plain, "joins": joins, "natural": natural})


def load_corpus(folder: Path, *, half: str = "") -> list[Recording]:
    """Return the corpus's turns, of one half or of both. Raises RecordingError, also for speech that was altered."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        entries = [Entry.from_json(fields) for fields in manifest["turns"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{folder / 'manifest.json'}: {error}") from None
    speech = Speech(folder, entries)
    return [put_together(entry, speech) for entry in entries if half in ("", entry.half)]


class Speech:
    """The speech files, each read once and checked."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        self._folder = folder
        self._sums = {entry.source: entry.source_sha256 for entry in entries}
        self._babblers = sorted(
            {entry.source for entry in entries if entry.kind == "finished" and entry.half == "tuning"}
        )[:_BABBLE_VOICES]
        self._read: dict[str, Samples] = {}

    def __getitem__(self, source: str) -> Samples:
        """Return the samples of one file. Raises RecordingError when it is missing or altered."""
        if source not in self._read:
            path = self._folder / source
            try:
                octets = path.read_bytes()
            except OSError as error:
                raise RecordingError(f"{path}: {error.strerror}") from None
            expected = self._sums.get(source)
            if expected and hashlib.sha256(octets).hexdigest() != expected:
                raise RecordingError(f"{path} is altered; run: python -m scripts.pause_corpus")
            pcm = np.frombuffer(codecs.decode(Codec.PCMU, octets), "<i2")
            self._read[source] = pcm.astype(np.float64)
        return self._read[source]

    def babble(self, length: int, rng: np.random.Generator) -> Samples:
        """Return several voices at once."""
        mixed = np.zeros(length)
        for source in self._babblers:
            voice = self[source]
            start = int(rng.integers(0, len(voice)))
            mixed += np.resize(np.roll(voice, -start), length)
        return mixed


def put_together(entry: Entry, speech: Speech) -> Recording:
    """Return the turn as the far end of the line hears it, with its labels."""
    rng = np.random.default_rng(entry.seed)
    voice = speech[entry.source]
    turn, pauses, end = _with_pauses(entry, voice)
    # Filled with noise throughout, the inserted pauses too: a pause is silent of speech, not of the room.
    turn += rng.normal(0, 32768 * 10 ** (entry.floor_dbfs / 20), len(turn))
    if entry.noise:
        noise = _noise(entry.noise, len(turn), rng, speech)
        turn += noise * _level(voice) / (_rms(noise) * 10 ** (entry.snr_db / 20))
    turn *= 10 ** (entry.level_db / 20)
    pcm = np.clip(np.rint(turn), -32768, 32767).astype("<i2")
    law = Codec.PCMA if entry.law == "a" else Codec.PCMU
    heard = np.frombuffer(codecs.decode(law, codecs.encode(law, pcm.tobytes())), "<i2").astype(np.int16)
    if entry.loss:
        for start in range(0, len(heard), codecs.FRAME_SAMPLES):
            if rng.random() < entry.loss:
                heard[start : start + codecs.FRAME_SAMPLES] = 0
    return Recording(
        entry.name,
        heard,
        RATE_HZ,
        _ms(end),
        tuple((_ms(a), _ms(b)) for a, b in pauses if b - a >= _SHORTEST_PAUSE_MS * RATE_HZ // 1000),
        entry.kind,
        entry.half,
        entry.words,
        Expected(entry.expected_digits, entry.brief),
    )


def _with_pauses(entry: Entry, voice: Samples) -> tuple[Samples, list[tuple[int, int]], int]:
    """Return the speech with its pauses, lead and tail; the pauses; and where speech ends. All in samples."""
    cuts = [0, *(join.at for join in entry.joins), len(voice)]
    gaps = [join.gap_ms * RATE_HZ // 1000 for join in entry.joins]
    position = LEAD_MS * RATE_HZ // 1000
    parts = [np.zeros(position)]
    pauses: list[tuple[int, int]] = []
    for index, (first, last) in enumerate(pairwise(cuts)):
        shift = position - first
        pauses += [(a + shift, b + shift) for a, b in entry.natural if first <= a and b <= last]
        parts.append(_faded(voice[first:last], begin=index > 0, end=last < len(voice)))
        position += last - first
        if index < len(gaps):
            parts.append(np.zeros(gaps[index]))
            pauses.append((position, position + gaps[index]))
            position += gaps[index]
    parts.append(np.zeros(TAIL_MS * RATE_HZ // 1000))
    return np.concatenate(parts), sorted(pauses), position


def _faded(piece: Samples, *, begin: bool, end: bool) -> Samples:
    piece = piece.copy()
    ramp = np.linspace(0, 1, min(_FADE, len(piece)))
    if begin:
        piece[: len(ramp)] *= ramp
    if end:
        piece[len(piece) - len(ramp) :] *= ramp[::-1]
    return piece


def _noise(kind: str, length: int, rng: np.random.Generator, speech: Speech) -> Samples:
    match kind:
        case "babble":
            return speech.babble(length, rng)
        case "hum":
            time = np.arange(length) / RATE_HZ
            tones = [
                np.sin(2 * np.pi * hz * time + rng.random()) / (1 + index) for index, hz in enumerate(_HUM_HZ)
            ]
            return np.asarray(np.sum(tones, axis=0) + rng.normal(0, 0.1, length), np.float64)
        case "street":
            # Low rumble: white noise through a leaky integrator, in blocks of swelling loudness.
            rumble = rng.normal(0, 1, length)
            for index in range(1, length):
                rumble[index] += 0.95 * rumble[index - 1]
            return rumble * (1 + 0.5 * np.sin(2 * np.pi * 0.4 * np.arange(length) / RATE_HZ + rng.random()))
        case _:
            raise RecordingError(f"noise {kind!r}; expected babble, hum or street")


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) or 1.0


def _level(voice: Samples) -> float:
    """Return the RMS of the louder half of the speech: pauses do not count (as ITU-T P.56 means it)."""
    whole = len(voice) // 160 * 160
    power = np.sort(np.mean(np.square(voice[:whole].reshape(-1, 160)), axis=1))
    return float(np.sqrt(np.mean(power[len(power) // 2 :])))


def _ms(sample: int) -> int:
    return sample * 1000 // RATE_HZ
