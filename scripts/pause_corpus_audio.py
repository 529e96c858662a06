"""Cutting, drawing out and levelling of the pause corpus's speech."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from server.tuning.corpus import RATE_HZ

Samples = NDArray[np.float64]

_LEVEL_DBFS: Final = -22.0


def quiet_runs(samples: Samples, rate_hz: int, *, below_db: float, shortest_ms: int) -> list[tuple[int, int]]:
    """Return where the level stays ``below_db`` (relative to the speech) for so long, ends included. In samples."""
    step = rate_hz // 100
    whole = len(samples) // step * step
    power = np.mean(np.square(samples[:whole].reshape(-1, step)), axis=1)
    speech = np.mean(np.sort(power)[len(power) // 2 :])
    quiet = power < speech * 10 ** (below_db / 10)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    runs = edges.reshape(-1, 2) * step
    return [(int(a), int(b)) for a, b in runs if (b - a) * 1000 >= shortest_ms * rate_hz]


def trimmed(samples: Samples, rate_hz: int, *, below_db: float = -35, blip_ms: int = 0) -> Samples:
    """Return the speech without the silence, and without sounds shorter than ``blip_ms``, before and after it."""
    runs = quiet_runs(samples, rate_hz, below_db=below_db, shortest_ms=10)
    blip, edge = blip_ms * rate_hz // 1000, rate_hz // 100
    first, last = 0, len(samples)
    for begin, end in runs:
        if begin - first <= blip:
            first = end
    for begin, end in reversed(runs):
        if last - end <= max(blip, rate_hz // 50):
            last = begin
    return samples[max(0, first - edge) : min(len(samples), last + edge)]


def line_band(samples: Samples, rate_hz: int) -> Samples:
    """Return the speech at 8 kHz as a telephone takes it (300 to 3,400 Hz, ITU-T G.712), at the common level."""
    narrow = np.asarray(soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ"), np.float64)
    band = signal.butter(4, (250, 3_500), "bandpass", fs=RATE_HZ, output="sos")
    narrow = np.asarray(signal.sosfilt(band, narrow), np.float64)
    return at_level(narrow, RATE_HZ)


def at_level(samples: Samples, rate_hz: int) -> Samples:
    """Return the samples at -22 dBFS while speech goes on."""
    step = rate_hz // 50
    whole = len(samples) // step * step
    power = np.sort(np.mean(np.square(samples[:whole].reshape(-1, step)), axis=1))
    loud = np.sqrt(np.mean(power[len(power) // 2 :]))
    return np.asarray(samples * (32768 * 10 ** (_LEVEL_DBFS / 20) / loud), np.float64)


def without_commas(samples: Samples, rate_hz: int, commas: int) -> tuple[Samples, list[tuple[int, int]]]:
    """Cut out the voice's silences at commas. Return the speech, and (sample, length in ms) of each cut."""
    runs = quiet_runs(samples, rate_hz, below_db=-35, shortest_ms=90)
    inner = [run for run in runs if run[0] > rate_hz // 20 and run[1] < len(samples) - rate_hz // 20]
    longest = sorted(sorted(inner, key=lambda run: run[0] - run[1])[:commas])
    edge = rate_hz // 50
    parts, cuts, position, done = [], [], 0, 0
    for begin, end in longest:
        parts.append(samples[position : begin + edge])
        done += begin + edge - position
        cuts.append((done, (end - begin - 2 * edge) * 1000 // rate_hz))
        position = end - edge
    parts.append(samples[position:])
    return np.concatenate(parts), cuts


def stretched(samples: Samples, rate_hz: int, factor: float) -> Samples:
    """Return the samples drawn out at the same pitch (overlap-add at the most similar place, Verhelst & Roelands 1993)."""
    frame, hop, reach = rate_hz // 40, rate_hz // 80, rate_hz // 125
    window = np.hanning(frame)
    length = round(len(samples) * factor)
    padded = np.concatenate((np.zeros(reach), samples, np.zeros(frame + reach)))
    out, weight = np.zeros(length + frame), np.zeros(length + frame)
    previous = reach
    for start in range(0, length, hop):
        ideal = reach + min(round(start / factor), len(samples) - 1)
        follow = padded[previous + hop : previous + hop + frame]
        offsets = range(max(0, ideal - reach), min(len(padded) - frame, ideal + reach))
        best = ideal
        if start and len(follow) == frame:
            best = max(offsets, key=lambda at: float(np.dot(padded[at : at + frame], follow)))
        out[start : start + frame] += padded[best : best + frame] * window
        weight[start : start + frame] += window
        previous = best
    return (out / np.maximum(weight, 0.1))[:length]


def drawn_out(piece: Samples, rate_hz: int) -> Samples:
    """Return speech whose last 250 ms are half as long again, as a speaker's are who is looking for words."""
    tail = min(len(piece), rate_hz // 4)
    head = len(piece) - tail
    return np.concatenate((piece[:head], stretched(piece[head:], rate_hz, 1.5)))


def same_places(one: Samples, other: Samples, rate_hz: int, places: list[int]) -> list[int]:
    """Return where ``other``, which holds the same words, says what ``one`` says at ``places``, where it is quietest.

    Dynamic time warping of coarse spectra, 10 ms a frame; snapped within 60 ms.
    """
    step = rate_hz // 100
    path = _warped(_spectra(one, step), _spectra(other, step))
    fine = step // 2
    power = np.mean(np.square(other[: len(other) // fine * fine].reshape(-1, fine)), axis=1)
    power = np.convolve(power, np.ones(3) / 3, "same")
    found = []
    for place in places:
        middle = 2 * path[min(place // step, len(path) - 1)]
        first, last = max(0, middle - 12), min(len(power), middle + 12)
        found.append((first + int(np.argmin(power[first:last]))) * fine)
    return found


def _spectra(samples: Samples, step: int) -> Samples:
    frames = samples[: len(samples) // step * step].reshape(-1, step) * np.hanning(step)
    bands = np.log(np.square(np.abs(np.fft.rfft(frames, 256)))[:, :80] + 1e3).reshape(-1, 20, 4).mean(axis=2)
    return np.asarray((bands - bands.mean(axis=0)) / bands.std(axis=0), np.float64)


def _warped(one: Samples, other: Samples) -> list[int]:
    """Return for each frame of ``one`` the last frame of ``other`` on the cheapest path."""
    cost = np.square(one[:, None] - other[None]).sum(axis=2)
    total = np.full((len(one) + 1, len(other) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(one)):
        for j in range(len(other)):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j, path = len(one), len(other), [0] * len(one)
    while i and j:
        path[i - 1] = max(path[i - 1], j - 1)
        cheapest = int(np.argmin((total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])))
        i, j = i - (cheapest < 2), j - (cheapest != 1)
    return path
