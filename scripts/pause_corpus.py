"""``python -m scripts.pause_corpus``: make the pause corpus anew from a seed, from recorded people and our own voice.

Speakers who break off in mid-phrase are made from sentences spoken without a pause, cut between words, so that the melody
before the pause stays open; the last syllable is drawn out, as hesitating speakers do. Recorded people are treated alike.
Hesitations, numbers and spelling are spoken with commas, and the voice's own silences there are exchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import struct
import subprocess
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr
from rich.progress import Progress

from scripts import pause_corpus_phrases as phrases
from scripts.pause_corpus_audio import (
    Samples,
    at_level,
    drawn_out,
    line_band,
    quiet_runs,
    same_places,
    trimmed,
    without_commas,
)
from server.tuning.corpus import RATE_HZ, Entry, Join, Speech, load_corpus, put_together
from server.tuning.heard_json import write_heard
from server.tuning.local_models import LocalModels
from server.turns.settings import TurnSettings
from sip import codecs
from sip.offer_answer import Codec

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "tests" / "data" / "pauses"
VOICE: Final = Path.home() / ".cache/landline/models/joe/en_US-joe-medium.onnx"
PEOPLE: Final = Path("/usr/share/pocketsphinx/test/data")
SEED: Final = 20_261_124
_VOICE_RATE_HZ: Final = 22_050
_PEOPLE_RATE_HZ: Final = 16_000
_SHORTEST_PAUSE_MS: Final = 120

_PITCHES: Final = {"joe": 1.0, "joe-low": 0.9, "joe-high": 1.14, "joe-higher": 1.26}
"""One voice, moved in pitch and formants: speakers of our own."""

_MEDIAN_MS: Final = {"unfinished": 500, "hesitating": 600, "dictating": 450, "spelling": 350, "person": 500}
_SPREAD: Final = 0.55
_PAUSES_MS: Final = (150, 1_500)
"""Pauses are log-normal; most last 200 to 1,000 ms, and over 1,000 ms only in spontaneous speech (Campione & Véronis
2002, 6,000 pauses in five languages)."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to be spoken."""

    name: str
    kind: str
    half: str
    text: str
    """With ``|`` where the speaker pauses."""
    speaker: str
    length_scale: float


def plan() -> list[Phrase]:
    """Return every phrase to synthesise, dealt out to the halves, the speakers and the speeds."""
    rng = np.random.default_rng(SEED)
    found = []
    lists = {
        "finished": phrases.FINISHED, "brief": phrases.BRIEF, "unfinished": phrases.UNFINISHED,
        "hesitating": phrases.HESITATING, "dictating": phrases.DICTATING, "spelling": phrases.SPELLING,
    }  # fmt: skip
    speakers = list(_PITCHES)
    for kind, block in lists.items():
        for index, text in enumerate(phrases.sentences(block)):
            half = ("tuning", "held-back")[index % 2]
            # A pair of the two halves shares a speaker, so that neither half is the easier one.
            speaker = speakers[(index // 2) % len(speakers)]
            speed = float(np.round(rng.uniform(0.85, 1.25), 2))
            found.append(Phrase(f"{kind}-{index:02d}", kind, half, text, speaker, speed))
    return found


def speak(wanted: list[Phrase]) -> list[Samples]:
    """Return the phrases as the voice says them (22,050 Hz, pitch not yet moved)."""
    order = {
        "voice": str(VOICE),
        "seed": SEED,
        "phrases": [
            {"text": spoken_text(one), "length_scale": one.length_scale * _PITCHES[one.speaker]}
            for one in wanted
        ],
    }
    python = ROOT / ".venv-piper" / "bin" / "python"
    answer = subprocess.run(
        [python, "-m", "scripts.pause_corpus_voice"],
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
        timeout=900,
    ).stdout
    return list(_unpacked(answer))


def _unpacked(answer: bytes) -> Iterator[Samples]:
    position = 0
    while position < len(answer):
        (count,) = struct.unpack_from("<I", answer, position)
        position += 4
        yield np.frombuffer(answer, "<i2", count, position).astype(np.float64)
        position += 2 * count


def spoken_text(phrase: Phrase) -> str:
    """Return what the voice is given: a comma at each pause."""
    text = re.sub(r",?\s*\|", ",", phrase.text)
    return text if text[-1] in ".?!" else text + "."


def draw_ms(kind: str, rng: np.random.Generator) -> int:
    """Draw the length of a pause."""
    shortest, longest = _PAUSES_MS
    while True:
        length = float(rng.lognormal(np.log(_MEDIAN_MS[kind]), _SPREAD))
        if shortest <= length <= longest:
            return round(length)


def synthesised(folder: Path, rate_hz: int) -> list[Entry]:
    """Speak the plan; write the speech files and return their entries."""
    wanted = plan()
    rng = np.random.default_rng(SEED + 1)
    flowing = [replace(one, text=one.text.replace(" |", "")) for one in wanted if one.kind == "unfinished"]
    spoken = speak([*wanted, *flowing])
    fluent = {one.name: raw for one, raw in zip(flowing, spoken[len(wanted) :], strict=True)}
    entries = []
    for phrase, raw in zip(wanted, spoken, strict=False):
        # Played faster the voice is higher; it spoke slower by as much.
        rate = round(_VOICE_RATE_HZ * _PITCHES[phrase.speaker])
        wide, cuts = without_commas(trimmed(raw, rate), rate, spoken_text(phrase).count(","))
        if phrase.name in fluent:
            wide, cuts = broken_off(wide, cuts, trimmed(fluent[phrase.name], rate), rate)
        source = write_speech(folder, phrase.name, wide, rate, rate_hz)
        entries.append(
            Entry(
                phrase.name,
                phrase.kind,
                phrase.half,
                phrase.speaker,
                source,
                re.sub(r"\s*\|", "", phrase.text),
                tuple(_joins(phrase, cuts, rate, rng)),
                expected_digits=digits_of(phrase.text) if phrase.kind == "dictating" else 0,
                brief=phrase.kind == "brief",
                floor_dbfs=float(np.round(rng.uniform(-66, -50), 1)),
                seed=int(rng.integers(1 << 31)),
            )
        )
    return entries


def broken_off(
    paused: Samples, cuts: list[tuple[int, int]], fluent: Samples, rate_hz: int
) -> tuple[Samples, list[tuple[int, int]]]:
    """Cut the sentence that was spoken without pauses where the other one has them, drawn out before each."""
    places = same_places(paused, fluent, rate_hz, [at for at, _ in cuts])
    pieces = [fluent[first:last] for first, last in pairwise([0, *places, len(fluent)])]
    pieces[:-1] = [drawn_out(piece, rate_hz) for piece in pieces[:-1]]
    ends = np.cumsum([len(piece) for piece in pieces])
    return np.concatenate(pieces), [(int(end), 0) for end in ends[:-1]]


def _joins(
    phrase: Phrase, cuts: list[tuple[int, int]], rate_hz: int, rng: np.random.Generator
) -> Iterator[Join]:
    commas = [match.group() for match in re.finditer(r",?\s*\||,", phrase.text)]
    if len(cuts) != len(commas):
        raise SystemExit(f"{phrase.name}: {len(cuts)} silences for {len(commas)} pauses in {phrase.text!r}")
    for (at, natural_ms), comma in zip(cuts, commas, strict=True):
        gap_ms = draw_ms(phrase.kind, rng) if "|" in comma else natural_ms
        yield Join(at * RATE_HZ // rate_hz, gap_ms)


def digits_of(text: str) -> int:
    """Return how many digits are dictated; 0 where the agent cannot know how many there will be."""
    names = "oh one two three four five six seven eight nine".split()
    spoken = re.findall(r"[a-z]+", text.lower())
    if "birthday" in spoken:
        return 0
    if "order" in spoken:
        return 6
    return sum(word in names for word in spoken)


def recorded(folder: Path, rate_hz: int) -> list[Entry]:
    """Take what people said: each clip whole, and twice with a pause put in where it is quietest."""
    rng = np.random.default_rng(SEED + 2)
    entries = []
    for index, (path, (words, speaker)) in enumerate(phrases.HUMAN.items()):
        # They sat in rooms with clicks and hum of their own.
        wide = trimmed(_read(PEOPLE / path), _PEOPLE_RATE_HZ, below_db=-26, blip_ms=60)
        name = "person-" + re.sub(r".*64kb-", "", path).rsplit(".", 1)[0].replace("/", "-")
        source = write_speech(folder, name, wide, _PEOPLE_RATE_HZ, rate_hz)
        scale = RATE_HZ / _PEOPLE_RATE_HZ
        natural = tuple(
            (round(a * scale), round(b * scale))
            for a, b in quiet_runs(wide, _PEOPLE_RATE_HZ, below_db=-28, shortest_ms=_SHORTEST_PAUSE_MS)
        )
        half = ("tuning", "held-back")[index % 2]
        base = Entry(name, "telephone", half, speaker, source, words, natural=natural, floor_dbfs=-62.0)
        entries.append(replace(base, seed=int(rng.integers(1 << 31))))
        for variant, (long, at) in enumerate(_hesitations(wide)):
            named = f"{name}-pause-{variant}"
            source = write_speech(folder, named, long, _PEOPLE_RATE_HZ, rate_hz)
            entries.append(
                replace(
                    base,
                    name=named,
                    kind="unfinished",
                    source=source,
                    joins=(Join(round(at * scale), draw_ms("person", rng)),),
                    natural=tuple(
                        (round(a * scale), round(b * scale))
                        for a, b in quiet_runs(
                            long, _PEOPLE_RATE_HZ, below_db=-28, shortest_ms=_SHORTEST_PAUSE_MS
                        )
                    ),
                    seed=int(rng.integers(1 << 31)),
                )
            )
    return entries


def _hesitations(wide: Samples) -> Iterator[tuple[Samples, int]]:
    """Yield the clip with the syllable before its quietest inner place drawn out, and that place."""
    rate_hz = _PEOPLE_RATE_HZ
    step = rate_hz // 100
    whole = len(wide) // step * step
    power = np.convolve(np.mean(np.square(wide[:whole].reshape(-1, step)), axis=1), np.ones(4) / 4, "same")
    for low, high in ((0.25, 0.5), (0.5, 0.78)):
        # Half a second at least on either side: a word is no turn.
        first, last = max(50, int(low * len(power))), min(len(power) - 50, int(high * len(power)))
        if first >= last:
            continue
        at = (first + int(np.argmin(power[first:last]))) * step
        before = drawn_out(wide[:at], rate_hz)
        yield np.concatenate((before, wide[at:])), len(before)


def _read(path: Path) -> Samples:
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2").astype(np.float64)
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)


def harder(entries: list[Entry]) -> Iterator[Entry]:
    """Yield turns again behind noise, and over lines that lose packets, are faint, loud, or of the other law."""
    rng = np.random.default_rng(SEED + 3)
    usable = [entry for entry in entries if entry.kind != "spelling"]
    chosen = sorted(rng.choice(len(usable), 52, replace=False))
    for index, at in enumerate(chosen):
        base = replace(usable[at], seed=int(rng.integers(1 << 31)))
        if index % 13 < 8:
            noise = ("babble", "hum", "street")[index % 3]
            snr_db = (20.0, 15.0, 10.0)[index // 3 % 3]
            yield replace(
                base, name=f"{base.name}-{noise}-{snr_db:.0f}", kind="noise", noise=noise, snr_db=snr_db
            )
        else:
            level_db, loss, law = ((-14.0, 0.0, "mu"), (0.0, 0.02, "mu"), (8.0, 0.0, "a"), (-8.0, 0.03, "a"))[
                index % 4
            ]
            yield replace(
                base,
                name=f"{base.name}-line",
                kind="telephone",
                level_db=level_db,
                loss=loss,
                law=law,
                floor_dbfs=-48.0,
            )


def write_speech(folder: Path, name: str, wide: Samples, source_hz: int, rate_hz: int) -> str:
    """Write one speech file: µ-law at 8 kHz, or PCM16 at 16 kHz. Return its path within the folder."""
    if rate_hz == RATE_HZ:
        pcm = np.clip(np.rint(line_band(wide, source_hz)), -32768, 32767).astype("<i2")
        relative, octets = f"speech/{name}.ul", codecs.encode(Codec.PCMU, pcm.tobytes())
    else:
        full = at_level(
            np.asarray(soxr.resample(wide, source_hz, rate_hz, quality="HQ"), np.float64), rate_hz
        )
        octets = np.clip(np.rint(full), -32768, 32767).astype("<i2").tobytes()
        relative = f"speech/{name}.s16"
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    return relative


def make(folder: Path, rate_hz: int) -> list[Entry]:
    """Write speech and manifest into ``folder``."""
    entries = synthesised(folder, rate_hz) + recorded(folder, rate_hz)
    entries += list(harder(entries))
    sums = {
        entry.source: hashlib.sha256((folder / entry.source).read_bytes()).hexdigest() for entry in entries
    }
    entries = [replace(entry, source_sha256=sums[entry.source]) for entry in entries]
    if rate_hz != RATE_HZ:
        return entries
    speech = Speech(folder, entries)
    rows: list[dict[str, Any]] = []
    for entry in entries:
        turn = put_together(entry, speech)
        digest = hashlib.sha256(turn.samples.astype("<i2").tobytes()).hexdigest()
        fields = asdict(replace(entry, pcm_sha256=digest))
        fields["joins"] = [[join.at, join.gap_ms] for join in entry.joins]
        rows.append({**fields, "pauses": turn.pauses, "end_ms": turn.end_ms})
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{{"version": 1, "seed": {SEED}, "turns": [\n  {lines}\n]}}\n'
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return entries


def hear(folder: Path) -> None:
    """Write what the real models hear in the corpus into ``heard.jsonl``: the unit tests try strategies on it."""
    models = LocalModels(
        VOICE.parents[1],
        stt="whisper-base",
        language="en",
        threads=2,
        cache=VOICE.parents[2] / "tuning.jsonl",
    )
    recordings = load_corpus(folder)
    with Progress(transient=True) as progress:
        task = progress.add_task("listening", total=len(recordings))
        heard = list(models.hear(recordings, TurnSettings(), lambda: progress.advance(task)))
    write_heard(folder / "heard.jsonl", heard)


def main() -> None:
    """Make the corpus and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=FOLDER)
    parser.add_argument(
        "--rate-hz", type=int, choices=(8_000, 16_000), default=8_000, help="16000: speech alone"
    )
    parser.add_argument(
        "--hear", action="store_true", help="have the models listen to what is there, and note it"
    )
    options = parser.parse_args()
    if options.hear:
        hear(options.into)
        return
    for old in (options.into / "speech").glob("*"):
        old.unlink()
    entries = make(options.into, options.rate_hz)
    size = sum(path.stat().st_size for path in options.into.rglob("*") if path.is_file())
    pauses = sum(len(entry.joins) + len(entry.natural) for entry in entries)
    print(f"{len(entries)} turns, {pauses} pauses within them, {size / 1e6:.1f} MB in {options.into}")


if __name__ == "__main__":
    main()
