"""A caller who speaks: real SIP and RTP through the softphone, a voice of Piper, ears of Whisper.

Used by the demonstration, the benchmarks and the end-to-end tests. Every figure is taken at the
caller's end of the wire: when the packet with the last speech sample was sent, and when the first
packet with audible speech arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.protocols import SpeechToText, TextToSpeech
from models.speech_client import PiperClient, SpeechWorkerClient
from scripts.call_audio import level_dbfs
from scripts.softphone import SPEECH_DBFS, Softphone, SoftphoneCall
from server.agent.phrases import synthesise_whole

RATE_HZ = 8000
_QUIET_MS = 900
"""Silence after which the agent has finished its turn."""
_ANSWER_LIMIT_S = 25.0
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn as the caller saw it."""

    said: str
    said_until_ns: int
    """When the packet with the last speech sample was sent; 0 where the caller said nothing."""
    heard_from_ns: int
    """When the first packet with the agent's speech arrived."""
    answer_pcm: bytes

    @property
    def gap_ms(self) -> float:
        """Response gap on the wire."""
        return (self.heard_from_ns - self.said_until_ns) / _NS_PER_MS


def trim(pcm: bytes, *, level_dbfs: float = SPEECH_DBFS) -> bytes:
    """Cut the silence off both ends: the gap is counted from the last *speech* sample."""
    samples = np.frombuffer(pcm, dtype="<i2")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 32768 * 10 ** (level_dbfs / 20))
    if not len(loud):
        return pcm
    return samples[loud[0] : loud[-1] + 1].tobytes()


class Caller:
    """One call by a speaking caller."""

    def __init__(
        self,
        call: SoftphoneCall,
        tts: TextToSpeech,
        stt: SpeechToText,
        recordings: Mapping[str, bytes] | None = None,
    ) -> None:
        self.call = call
        self._tts = tts
        self._stt = stt
        self._spoken: dict[str, bytes] = dict(recordings or {})

    async def prepare(self, lines: Sequence[str]) -> None:
        """Synthesise what will be said, so that the models are idle while the agent answers."""
        for line in lines:
            if line not in self._spoken:
                self._spoken[line] = trim(await synthesise_whole(self._tts, line, "", RATE_HZ))

    def spoken(self, line: str) -> bytes:
        """Return a line that was prepared, as PCM16."""
        return self._spoken[line]

    async def say(self, line: str) -> int:
        """Say a line; return when its last speech sample was sent (ns)."""
        await self.prepare([line])
        return await self.call.say(self._spoken[line])

    async def listen(self, since_ns: int, said: str = "", *, limit_s: float = _ANSWER_LIMIT_S) -> Exchange:
        """Wait for the agent's whole answer to what was said until ``since_ns``."""
        heard_ns = await self.call.wait_for_audio(SPEECH_DBFS, since_ns, limit_s)
        with contextlib.suppress(ConnectionError):  # the agent may hang up when it has said all
            await self.call.wait_for_quiet(_QUIET_MS, limit_s)
        return Exchange(said, since_ns, heard_ns, self.call.received_pcm(since_ns))

    async def ask(self, line: str, *, limit_s: float = _ANSWER_LIMIT_S) -> Exchange:
        """Say a line and hear the answer out."""
        return await self.listen(await self.say(line), line, limit_s=limit_s)

    def last_speech_before_pause_ns(self, since_ns: int) -> int:
        """Return when the last speech packet arrived before the first 200 ms of silence after ``since_ns``."""
        last = since_ns
        for packet in self.call.received:
            if packet.at_ns < since_ns:
                continue
            if level_dbfs(packet.pcm) > SPEECH_DBFS:
                last = packet.at_ns
            elif packet.at_ns - last > 200 * _NS_PER_MS:
                break
        return last

    async def transcribe(self, pcm: bytes) -> str:
        """Return the words of what was received."""
        window = RATE_HZ * 2 * 24
        texts = []
        for start in range(0, len(pcm), window):
            transcript = await self._stt.transcribe(pcm[start : start + window], RATE_HZ)
            texts.append(transcript.text)
        return " ".join(text for text in texts if text)


class Telephone:
    """A softphone with a voice and ears, on the workers of a running Landline."""

    def __init__(self, phone: Softphone, run_directory: Path) -> None:
        self.phone = phone
        self.tts = PiperClient(run_directory / "tts.sock")
        self.stt = SpeechWorkerClient(run_directory / "speech.sock")
        self.recordings: dict[str, bytes] = {}
        """Lines that are not synthesised but played: PCM16 at 8 kHz."""

    @classmethod
    async def start(cls, run_directory: Path, **options: object) -> Telephone:
        """Open a softphone beside the Landline that runs in ``run_directory``."""
        return cls(await Softphone.start(**options), run_directory)  # type: ignore[arg-type]

    async def ring(self, uri: str, *, limit_s: float = 10.0) -> Caller:
        """Ring; raises ``CallRefused``."""
        return Caller(await self.phone.dial(uri, timeout_s=limit_s), self.tts, self.stt, self.recordings)

    async def close(self) -> None:
        """Put the telephone away."""
        async with asyncio.timeout(5):
            await self.phone.close()
