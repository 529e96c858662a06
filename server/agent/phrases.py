"""Fixed phrases, rendered once and kept on disk, so that they are spoken at once and without a model."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from models.errors import ModelError
from models.protocols import TextToSpeech
from server.agent.leading_silence import LeadingSilence
from server.agent.resampling import Resampler

_log = logging.getLogger(__name__)


class PhraseBook:
    """Text to PCM16 mono at one rate; only ever holds the phrases it was asked to render."""

    def __init__(self, directory: Path, *, voice: str, rate_hz: int) -> None:
        self._directory = directory
        self._voice = voice
        self.rate_hz = rate_hz
        self._pcm: dict[str, bytes] = {}

    def get(self, text: str) -> bytes | None:
        """Return the rendered phrase, or ``None``."""
        return self._pcm.get(text)

    def _path(self, text: str) -> Path:
        key = hashlib.sha256(f"{self._voice}\0{self.rate_hz}\0{text}".encode()).hexdigest()
        return self._directory / f"{key[:32]}.pcm"

    async def render(self, texts: Iterable[str], tts: TextToSpeech) -> None:
        """Load each phrase from disk or synthesise it. Raises :class:`ModelError` if the voice fails."""
        self._directory.mkdir(parents=True, exist_ok=True)
        wanted = list(dict.fromkeys(text for text in texts if text))
        for text in wanted:
            path = self._path(text)
            try:
                pcm = path.read_bytes()
            except FileNotFoundError:
                pcm = b""
            if not pcm or len(pcm) % 2:
                pcm = await synthesise_whole(tts, text, self._voice, self.rate_hz)
                await asyncio.to_thread(_write, path, pcm)
            self._pcm[text] = pcm
        self._forget_others({self._path(text) for text in wanted})

    def _forget_others(self, kept: set[Path]) -> None:
        """Keep the directory bounded: what the agent file no longer says goes."""
        for path in self._directory.glob("*.pcm"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _write(path: Path, pcm: bytes) -> None:
    partial = path.with_suffix(".part")
    partial.write_bytes(pcm)
    partial.replace(path)


async def synthesise_whole(tts: TextToSpeech, text: str, voice: str, rate_hz: int) -> bytes:
    """Return the whole of ``text`` as PCM16 mono at ``rate_hz``."""
    pcm = bytearray()
    silence = LeadingSilence(rate_hz)
    resampler: Resampler | None = None
    async for chunk in tts.synthesise(text, voice=voice):
        resampler = resampler or Resampler(chunk.rate_hz, rate_hz)
        pcm += silence.feed(resampler.feed(chunk.pcm, final=chunk.final))
    if not pcm:
        raise ModelError(f"the voice returned no audio for a phrase of {len(text)} characters")
    return bytes(pcm)
