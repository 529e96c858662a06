"""What a softphone sent and heard, packet by packet with the time of each: levels, gaps, a stereo WAV."""

from __future__ import annotations

import math
import wave
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sip.rtp import timestamp_distance

RATE_HZ: Final = 8_000
SILENT_DBFS: Final = -96.0


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One packet's audio. ``at_ns`` is CLOCK_MONOTONIC, when it was sent or when it arrived."""

    at_ns: int
    timestamp: int
    pcm: bytes


def level_dbfs(pcm: bytes) -> float:
    """Return the RMS level relative to full scale, -96 for digital silence."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    rms = float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
    return max(SILENT_DBFS, 20 * math.log10(rms / 32_768)) if rms > 0 else SILENT_DBFS


def join(packets: list[AudioPacket]) -> bytes:
    """Return the audio in the order of its timestamps; gaps are silence, repeated packets count once."""
    if not packets:
        return b""
    first = packets[0].timestamp
    placed = sorted({timestamp_distance(packet.timestamp, first): packet.pcm for packet in packets}.items())
    start = placed[0][0]
    last_position, last_pcm = placed[-1]
    track = np.zeros(last_position - start + len(last_pcm) // 2, np.int16)
    for position, pcm in placed:
        samples = np.frombuffer(pcm, "<i2")
        end = min(len(track), position - start + len(samples))
        track[position - start : end] = samples[: end - (position - start)]
    return track.astype("<i2").tobytes()


def _track(packets: list[AudioPacket], start_ns: int) -> NDArray[np.int16]:
    """Place packets on a time line that begins at ``start_ns``, by timestamp from the packet that was least delayed."""
    if not packets:
        return np.zeros(0, np.int16)
    reference = packets[0].timestamp
    positions = [timestamp_distance(packet.timestamp, reference) for packet in packets]
    origin_ns = min(
        packet.at_ns - position * 1_000_000_000 // RATE_HZ
        for packet, position in zip(packets, positions, strict=True)
    )
    shift = (origin_ns - start_ns) * RATE_HZ // 1_000_000_000
    length = max(
        0,
        max(
            position + shift + len(packet.pcm) // 2
            for packet, position in zip(packets, positions, strict=True)
        ),
    )
    track = np.zeros(length, np.int16)
    for packet, position in zip(packets, positions, strict=True):
        at = position + shift
        if at >= 0:
            samples = np.frombuffer(packet.pcm, "<i2")
            track[at : at + len(samples)] = samples
    return track


def write_stereo_wav(path: str, sent: list[AudioPacket], received: list[AudioPacket], start_ns: int) -> None:
    """Write what was sent on the left and what was received on the right, aligned by time from ``start_ns`` on."""
    left, right = _track(sent, start_ns), _track(received, start_ns)
    stereo = np.zeros((max(len(left), len(right)), 2), "<i2")
    stereo[: len(left), 0] = left
    stereo[: len(right), 1] = right
    with wave.open(path, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(stereo.tobytes())
