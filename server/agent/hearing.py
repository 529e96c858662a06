"""What one call asks of the recogniser and the turn detector: tasks that can be dropped, and their answers.

The turn machine says what is wanted and what no longer is; at most one transcription of each kind and one verdict
are under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from models.errors import ModelError
from models.protocols import Priority, SpeechToText, TurnDetector
from server.agent.audio_history import AudioHistory
from server.turns import messages as turn

_PAD_MS: Final = 160
"""Audio kept before and after speech: the recogniser needs the soft edges of words."""
_WINDOW_MS: Final = 29_500
"""The recogniser takes 30 s."""
_DETECTOR_WINDOW_MS: Final = 8_000
"""What the turn detector listens to."""

_log = logging.getLogger(__name__)

Job = tuple[str, int]


class Hearing:
    """One leg's requests to the models that listen."""

    def __init__(
        self,
        history: AudioHistory,
        stt: SpeechToText,
        detector: TurnDetector | None,
        *,
        hot_words: str,
        call_id: str,
        tell: Callable[[turn.TurnInput], None],
    ) -> None:
        """Answers go to ``tell``, failures too. Without a detector every verdict is None."""
        self._history = history
        self._stt = stt
        self._detector = detector
        self._hot_words = hot_words
        self._call_id = call_id
        self._tell = tell
        self._jobs: dict[Job, asyncio.Task[None]] = {}

    def transcribe(self, wanted: turn.Transcribe) -> None:
        """Ask for the words of one revision."""
        self._run(("revision", wanted.revision), self._transcribe(wanted))

    def transcribe_partial(self, wanted: turn.TranscribePartial, *, allowed: bool) -> None:
        """Ask for the words so far of a turn that goes on; where there is no room for that, for none."""
        work = self._transcribe_partial(wanted) if allowed else self._no_partial(wanted)
        self._run(("partial", wanted.partial), work)

    def score(self, wanted: turn.ScoreTurn) -> None:
        """Ask whether the turn sounds over."""
        self._run(("probe", wanted.probe), self._score(wanted))

    def drop(self, kind: str, number: int) -> None:
        """Withdraw a request."""
        if task := self._jobs.pop((kind, number), None):
            task.cancel()

    def stop(self) -> None:
        """Withdraw all requests."""
        for task in self._jobs.values():
            task.cancel()

    def _run(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"{job[0]}-{job[1]}")
        self._jobs[job] = task
        task.add_done_callback(lambda _: self._jobs.pop(job, None))

    def _samples(self, ms: int) -> int:
        return ms * self._history.rate_hz // 1000

    async def _transcribe(self, wanted: turn.Transcribe) -> None:
        pad = self._samples(_PAD_MS)
        start = max(wanted.start - pad, wanted.stop + pad - self._samples(_WINDOW_MS))
        pcm = self._history.slice(start, wanted.stop + pad)
        try:
            transcript = await self._stt.transcribe(
                pcm,
                self._history.rate_hz,
                priority=Priority.FINAL if wanted.final else Priority.SPECULATIVE,
                hot_words=self._hot_words,
            )
        except ModelError as error:
            self._failed("transcript", error)
            self._tell(turn.TranscriptFailed(wanted.revision))
        else:
            self._tell(turn.TranscriptReady(wanted.revision, transcript.text, transcript.confidence))

    async def _transcribe_partial(self, wanted: turn.TranscribePartial) -> None:
        end = self._history.end
        start = max(wanted.start - self._samples(_PAD_MS), end - self._samples(_WINDOW_MS))
        text = ""
        try:
            transcript = await self._stt.transcribe(
                self._history.slice(start, end),
                self._history.rate_hz,
                priority=Priority.PARTIAL,
                hot_words=self._hot_words,
            )
            text = transcript.text
        except ModelError as error:  # shed, most likely: partials are the first to go
            self._failed("partial", error)
        self._tell(turn.PartialReady(wanted.partial, text))

    async def _no_partial(self, wanted: turn.TranscribePartial) -> None:
        self._tell(turn.PartialReady(wanted.partial, ""))

    async def _score(self, wanted: turn.ScoreTurn) -> None:
        score = None
        if self._detector is not None:
            end = self._history.end
            start = max(wanted.start - self._samples(_PAD_MS), end - self._samples(_DETECTOR_WINDOW_MS))
            try:
                score = await self._detector.score(self._history.slice(start, end), self._history.rate_hz)
            except ModelError as error:
                self._failed("turn_score", error)
        self._tell(turn.TurnScored(wanted.probe, score))

    def _failed(self, stage: str, error: ModelError) -> None:
        _log.warning(
            "hearing_failed", extra={"stage": stage, "error": type(error).__name__, "call": self._call_id}
        )
