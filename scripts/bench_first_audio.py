"""How soon the voice is heard: windows against the whole clause, in pairs, on the machine as it is.

``.venv-piper/bin/python -m scripts.bench_first_audio [VOICE.onnx]``; standard library and what Piper brings along only.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from models.piper_voice import Voice

CLAUSES = {
    4: "Yes, I can certainly.",
    8: "We are open from eight to six today.",
    14: "We are open from eight in the morning to six in the evening on weekdays.",
}
DEFAULT = Path.home() / ".cache" / "landline" / "models" / "joe" / "en_US-joe-medium.onnx"


def times_ms(voice: Voice, clause: str) -> tuple[float, float, float]:
    """Return the time to the first piece, the time to the last, and the length of the clause."""
    begun = time.perf_counter()
    first, samples = 0.0, 0
    for piece in voice.speak(clause):
        first = first or time.perf_counter() - begun
        samples += len(piece.pcm) // 2
    return 1000 * first, 1000 * (time.perf_counter() - begun), 1000 * samples / voice.rate_hz


def main() -> None:
    """Print a line for each clause."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voice", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    begun = time.perf_counter()
    voice = Voice(options.voice, threads=options.threads, length_scale=0.0)
    voice.warm_up()
    print(f"loaded in {time.perf_counter() - begun:.1f} s, {options.threads} threads, {options.pairs} pairs")
    print("words  audio    whole: first = last    windows: first    last    first ÷ first  last ÷ last")
    for words, clause in CLAUSES.items():
        rows = []
        for _ in range(options.pairs):
            with voice.whole():
                _, whole, _ = times_ms(voice, clause)
            first, last, length = times_ms(voice, clause)
            rows.append((length, whole, first, last, first / whole, last / whole))
        length, whole, first, last, sooner, more = (median(column) for column in zip(*rows, strict=True))
        print(
            f"{words:5}  {length:4.0f} ms  {whole:16.0f} ms {first:16.0f} ms {last:5.0f} ms {sooner:14.2f} {more:12.2f}"
        )


if __name__ == "__main__":
    main()
