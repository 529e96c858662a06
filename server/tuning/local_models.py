"""The models of this machine, loaded into the tuning command's own process: it is no call's, and runs on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from models import short_decoding, transcript_guards, whisper
from models.errors import ModelError
from models.model_store import verify
from models.turn_detector import SmartTurn
from models.vad import SileroVad
from models.whisper import ShortWhisper
from server.errors import LandlineError
from server.tuning.front_end import silences
from server.tuning.hearing import AnswerCache, Hearing, Pcm
from server.tuning.recordings import Recording
from server.tuning.replay import HeardTurn
from server.turns.settings import TurnSettings

_CODE: Final = hashlib.sha256(
    b"".join(
        Path(str(module.__file__)).read_bytes() for module in (whisper, short_decoding, transcript_guards)
    )
).hexdigest()[:12]
"""How the recogniser decodes decides what it hears as much as its weights do."""


class LocalModels:
    """VAD, recogniser and turn detector; each is loaded when it is first needed."""

    def __init__(self, directory: Path, *, stt: str, language: str, threads: int, cache: Path | None) -> None:
        """Take the models of ``directory``. ``cache`` keeps answers between runs; None forgets them."""
        self._directory, self._stt, self._language, self._threads = directory, stt, language, threads
        self._vads: dict[int, SileroVad] = {}
        self._whisper: ShortWhisper | None = None
        self._turn: SmartTurn | None = None
        self._hearing = Hearing(
            self._transcribe, self._score, AnswerCache(cache), names=(f"{stt} {_CODE}", "smart-turn")
        )

    def hear(
        self, recordings: Iterable[Recording], settings: TurnSettings, advance: Callable[[], None]
    ) -> Iterator[HeardTurn]:
        """Yield each recording as the front end and the models hear it. Raises LandlineError for a missing model."""
        for recording in recordings:
            try:
                found = silences(recording, self._vad(recording.rate_hz), settings)
                heard = tuple(
                    self._hearing.hear(recording, one, interval_ms=settings.score_interval_ms)
                    for one in found
                )
            except ModelError as error:
                raise LandlineError(str(error)) from None
            length_ms = len(recording.samples) * 1000 // recording.rate_hz
            end_ms = recording.end_ms
            if end_ms is None:
                end_ms = heard[-1].stopped_ms if heard else length_ms
            yield HeardTurn(
                recording.name,
                recording.kind,
                recording.half,
                end_ms,
                length_ms,
                len(recording.pauses) or sum(one.resumed_ms is not None for one in heard),
                recording.expected,
                heard,
            )
            advance()

    def _vad(self, rate_hz: int) -> SileroVad:
        if rate_hz not in self._vads:
            self._vads[rate_hz] = SileroVad(verify("silero-vad", self._directory), rate_hz=rate_hz)
        return self._vads[rate_hz]

    def _transcribe(self, pcm: Pcm) -> str:
        if self._whisper is None:
            self._whisper = ShortWhisper(
                verify(self._stt, self._directory),
                device="cpu",
                compute_type="int8",
                threads=self._threads,
                language=self._language,
            )
        return self._whisper.transcribe([pcm.astype(np.float32) / np.float32(32768)])[0].text

    def _score(self, pcm: Pcm) -> float:
        if self._turn is None:
            self._turn = SmartTurn(verify("smart-turn", self._directory))
        return self._turn.score(pcm)
