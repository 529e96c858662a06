"""Rendered sentences, kept on disk, so that they are spoken at once and without a model.

The agent's fixed phrases are pinned. Other sentences are kept while there is room, the ones used last; only such as their
speaker calls free of anybody's data (a sentence of the documents read word for word) ever come here. A file is named after
a digest of what it sounds like: the words as they are pronounced, voice, identity of the voice's file, rate. It holds the audio
and where its words end, not the words. Several processes may share the directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from models.errors import ModelError
from models.protocols import TextToSpeech
from server.agent import phrase_file
from server.agent.lexicon import Lexicon
from server.agent.rendering import Rendered, render

_BYTES_LIMIT: Final = 16 << 20
"""Audio that is kept beside the fixed phrases: 17 minutes at 8 kHz."""
_WRITES_LIMIT: Final = 16

_log = logging.getLogger(__name__)


@runtime_checkable
class IdentifiedVoice(Protocol):
    """A voice that can say which it is, so that another one's audio is not taken for its own."""

    async def identity(self, voice: str = "") -> str:
        """Return something that changes with the sound of ``voice``."""
        ...


class PhraseBook:
    """Text to audio at one rate: fixed phrases and what was worth keeping."""

    def __init__(
        self,
        directory: Path,
        *,
        voice: str,
        rate_hz: int,
        lexicon: Lexicon | None = None,
        bytes_limit: int = _BYTES_LIMIT,
    ) -> None:
        self._directory = directory
        self._voice = voice
        self._identity = ""
        self._bytes_limit = bytes_limit
        self._pinned: dict[str, Rendered] = {}
        self._kept: OrderedDict[str, Rendered] = OrderedDict()
        """Digest → audio, the one used longest ago first."""
        self._kept_bytes = 0
        self._used: set[str] = set()
        """What was used in this run: the files' times say so already."""
        self._writes = 0
        self.rate_hz = rate_hz
        self.lexicon = lexicon or Lexicon()

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    def find(self, text: str) -> Rendered | None:
        """Return the audio of ``text`` and where its words end, or ``None``."""
        digest = self._digest(text)
        if (pinned := self._pinned.get(digest)) is not None:
            return pinned
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
            if digest not in self._used:
                self._used.add(digest)
                self._in_background(phrase_file.touch, self._path(digest))
        return kept

    def get(self, text: str) -> bytes | None:
        """Return the audio of ``text`` as PCM16, or ``None``."""
        found = self.find(text)
        return None if found is None else found.pcm

    # ── filling ──────────────────────────────────────────────────────────────────────────────────

    async def render(self, texts: Iterable[str], tts: TextToSpeech) -> None:
        """Pin each of ``texts``, from disk or synthesised. Raises :class:`ModelError` if the voice fails."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._identity = await self._identify(tts)
        pinned: dict[str, Rendered] = {}
        for text in dict.fromkeys(text for text in texts if text):
            digest = self._digest(text)
            found = await asyncio.to_thread(phrase_file.read, self._path(digest), self.rate_hz)
            if found is None:
                found = await self._synthesise(tts, text)
                await asyncio.to_thread(phrase_file.write, self._path(digest), self.rate_hz, found)
            pinned[digest] = found
        self._pinned = pinned
        files = await asyncio.to_thread(
            phrase_file.newest, self._directory, self.rate_hz, self._paths(pinned), self._bytes_limit
        )
        self._kept = OrderedDict((phrase_file.digest_of(path), audio) for path, audio in files)
        self._kept_bytes = sum(len(audio.pcm) for audio in self._kept.values())

    async def _identify(self, tts: TextToSpeech) -> str:
        """Ask the voice who it is. One that is down is taken for the one of last time: its phrases are needed the more."""
        if not isinstance(tts, IdentifiedVoice):
            return ""
        name = hashlib.sha256(self._voice.encode()).hexdigest()[:16]
        note = self._directory / f"{name}.voice"
        try:
            identity = await tts.identity(self._voice)
        except ModelError:
            try:
                return await asyncio.to_thread(note.read_text)
            except OSError:
                return ""
        await asyncio.to_thread(phrase_file.replace, note, identity.encode())
        return identity

    async def _synthesise(self, tts: TextToSpeech, text: str) -> Rendered:
        return await _whole(tts, text, voice=self._voice, rate_hz=self.rate_hz, lexicon=self.lexicon)

    def keep(self, text: str, audio: Rendered) -> None:
        """Keep a sentence that holds nobody's data; what was used longest ago goes."""
        digest = self._digest(text)
        if not audio.pcm or digest in self._pinned or digest in self._kept:
            return
        self._kept[digest] = audio
        self._kept_bytes += len(audio.pcm)
        self._used.add(digest)
        while self._kept_bytes > self._bytes_limit:
            gone, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.pcm)
            self._used.discard(gone)
        self._in_background(self._store, digest, audio)

    def _store(self, digest: str, audio: Rendered) -> None:
        phrase_file.write(self._path(digest), self.rate_hz, audio)
        phrase_file.forget_oldest(self._directory, self.rate_hz, self._paths(self._pinned), self._bytes_limit)

    def _in_background(self, work: Callable[..., None], *arguments: object) -> None:
        """Do file work beside the loop; when the disk is that slow it is left undone."""
        if self._writes >= _WRITES_LIMIT:
            return
        self._writes += 1
        future = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._writes -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            _log.warning("phrase_not_stored", extra={"error": type(error).__name__})

    def _digest(self, text: str) -> str:
        said = self.lexicon.apply(text).text
        key = "\0".join((said, self._voice, self._identity, str(self.rate_hz)))
        return hashlib.sha256(key.encode()).hexdigest()[:32]

    def _path(self, digest: str) -> Path:
        return phrase_file.path_of(self._directory, digest, self.rate_hz)

    def _paths(self, digests: Iterable[str]) -> frozenset[Path]:
        return frozenset(self._path(digest) for digest in digests)


async def synthesise_whole(tts: TextToSpeech, text: str, voice: str, rate_hz: int) -> bytes:
    """Return the whole of ``text`` as PCM16 mono at ``rate_hz``."""
    return (await _whole(tts, text, voice=voice, rate_hz=rate_hz, lexicon=Lexicon())).pcm


async def _whole(tts: TextToSpeech, text: str, *, voice: str, rate_hz: int, lexicon: Lexicon) -> Rendered:
    pcm = bytearray()
    ends: tuple[int, ...] = ()
    pieces = render(tts, text, voice=voice, rate_hz=rate_hz, lexicon=lexicon)
    async with aclosing(pieces):
        async for piece in pieces:
            pcm += piece.pcm
            ends = piece.ends
    if not pcm:
        raise ModelError(f"the voice returned no audio for a phrase of {len(text)} characters")
    return Rendered(bytes(pcm), ends)
