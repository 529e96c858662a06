"""What the agent says on one leg: clauses in, audio to the door, playout marks back.

A reply may be held: it is synthesised, so that its first audio is ready, and sent once it is released.

Keeps, for each utterance, its text and how much of it was really sent, so that history holds what the
caller heard and not what was generated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from models.errors import ModelError
from models.protocols import TextToSpeech
from server.agent.held_playout import HeldPlayout
from server.agent.phrases import PhraseBook
from server.agent.rendering import Rendered, render
from server.agent.utterance import Utterance
from server.dialogue.replies import Role
from sip import leg_protocol as leg

__all__ = ["SpeechOutput", "Utterance"]

_MAX_CLAUSES = 64
_TTS_RETRIES = 20
_TTS_RETRY_S = 0.4
"""A killed voice worker is back within about 3 s."""

_CACHED_SECONDS = 30
"""Longest clause whose audio is kept for the next time."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reply:
    turn: int
    utterances: list[Utterance] = field(default_factory=list)
    closed: bool = False
    """No further clause follows."""
    quiet: bool = False
    """All of it so far was played."""
    reported: bool = False
    failed: bool = False
    """The voice failed while the reply was held; nobody needs to know unless it is released."""


class SpeechOutput:
    """One leg's speech output. One reply at a time."""

    def __init__(
        self,
        leg_id: int,
        *,
        rate_hz: int,
        tts: TextToSpeech,
        phrases: PhraseBook,
        voice: str,
        send: Callable[[leg.AgentMessage], None],
        clock: Callable[[], int],
        on_audible: Callable[[int, bool], None],
        on_quiet: Callable[[int], None],
        on_done: Callable[[int], None],
        on_failure: Callable[[int], None],
        first_utterance_id: int = 1,
    ) -> None:
        self._leg_id = leg_id
        self._rate_hz = rate_hz
        self._tts = tts
        self._phrases = phrases
        self._voice = voice
        self._playout = HeldPlayout(send, rate_hz=rate_hz)
        self._clock = clock
        self._on_audible, self._on_quiet = on_audible, on_quiet
        self._on_done, self._on_failure = on_done, on_failure
        self._next_id = first_utterance_id
        self._reply = _Reply(0, closed=True, reported=True)
        self._queue: asyncio.Queue[Utterance] = asyncio.Queue(_MAX_CLAUSES)
        self._by_id: dict[int, Utterance] = {}
        self._task: asyncio.Task[None] | None = None

    # ── what the session does ────────────────────────────────────────────────────────────────────

    def begin(self, turn: int, *, held: bool = False) -> None:
        """Begin reply ``turn``; what was still wanted of an earlier one is dropped.

        With ``held`` it is synthesised, two clauses and 20 s ahead at most, and nothing is sent before :meth:`release`.
        """
        self.drop()
        self._playout.reset(held=held)
        self._reply = _Reply(turn)
        self._by_id.clear()
        self._task = asyncio.create_task(self._speak(self._queue), name=f"speak-{self._leg_id}")

    def release(self) -> None:
        """Let a held reply be heard: what waits is sent at once and in order. Nothing is changed where none is held."""
        reply = self._reply
        if not self._playout.held:
            return
        now = self._clock()
        for utterance in reply.utterances:
            utterance.released_at = now
        idle = self._needless_fillers(reply)
        for filler in idle:
            filler.over = True
        self._playout.release(without={filler.utterance_id for filler in idle})
        # Not from within this call: its caller is in the midst of a decision.
        asyncio.get_running_loop().call_soon(self._released, reply)

    @staticmethod
    def _needless_fillers(reply: _Reply) -> list[Utterance]:
        """Return the fillers of a held reply that would only keep its content waiting, which is ready."""
        ready = next(
            (i for i, u in enumerate(reply.utterances) if u.role is Role.CONTENT and u.first_audio_at), 0
        )
        return [u for u in reply.utterances[:ready] if u.role is Role.FILLER and u.complete]

    def _released(self, reply: _Reply) -> None:
        """Tell what could not be told while the reply was held."""
        if reply is not self._reply or self._playout.held:
            return
        if reply.failed:
            self._on_failure(reply.turn)
        else:
            self._report()

    async def say(self, text: str, role: Role, cacheable: bool = False) -> None:
        """Queue one clause; waits while too many are queued.

        Only what is ``cacheable`` may be kept on disk: nothing that a caller said or a tool found.
        """
        now = self._clock()
        utterance = Utterance(
            self._next_id,
            self._reply.turn,
            text,
            role,
            rate_hz=self._rate_hz,
            cacheable=cacheable,
            said_at=now,
        )
        if not self._playout.held:
            utterance.released_at = now
        self._next_id += 1
        self._reply.utterances.append(utterance)
        self._by_id[utterance.utterance_id] = utterance
        await self._queue.put(utterance)

    def close(self) -> None:
        """The reply is complete; ``on_done`` follows when all of it was played."""
        self._reply.closed = True
        self._report()

    def drop(self) -> None:
        """Give up what is not yet at the door, and the clause that is being synthesised."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._queue = asyncio.Queue(_MAX_CLAUSES)
        self._playout.reset(held=False)
        self._reply.reported = True

    def utterances(self) -> list[Utterance]:
        """Return the running or last reply's utterances."""
        return self._reply.utterances

    def is_last(self, utterance_id: int) -> bool:
        """Say whether no further clause follows this one."""
        reply = self._reply
        return reply.closed and bool(reply.utterances) and reply.utterances[-1].utterance_id == utterance_id

    def heard(self) -> str:
        """Return what the caller heard of the running or last reply."""
        parts = (utterance.heard() for utterance in self._reply.utterances)
        return " ".join(part for part in parts if part)

    def settle(self, now: int) -> None:
        """Estimate what was played up to ``now`` where no mark has said so yet (a stop takes a tick)."""
        for utterance in self._reply.utterances:
            if utterance.started_at and not utterance.over and not utterance.paused:
                elapsed = max(0, now - utterance.started_at) * self._rate_hz // 1_000_000_000
                utterance.played = max(utterance.played, min(elapsed, utterance.samples))

    def on_mark(self, mark: leg.Mark) -> None:
        """Take in a playout mark."""
        utterance = self._by_id.get(mark.utterance_id)
        if utterance is None:
            return
        utterance.played = max(utterance.played, mark.played)
        match mark.kind:
            case leg.MarkKind.STARTED:
                utterance.started_at = mark.at_ns
                self._reply.quiet = False
                self._on_audible(utterance.turn, utterance.role is not Role.FILLER)
            case leg.MarkKind.FINISHED | leg.MarkKind.STOPPED:
                utterance.over = True
                self._report()
                self._report_quiet()
            case leg.MarkKind.OVERFLOW:
                _log.error("playout_overflow")
            case leg.MarkKind.PAUSED:
                utterance.paused = True
            case leg.MarkKind.RESUMED:
                pass

    def _report(self) -> None:
        reply = self._reply
        if (
            self._playout.held
            or reply.reported
            or not reply.closed
            or not all(u.over for u in reply.utterances)
        ):
            return
        reply.reported = True
        self._on_done(reply.turn)

    def _report_quiet(self) -> None:
        reply = self._reply
        if not reply.closed and not reply.quiet and all(u.over for u in reply.utterances):
            reply.quiet = True
            self._on_quiet(reply.turn)

    # ── synthesis ────────────────────────────────────────────────────────────────────────────────

    async def _speak(self, queue: asyncio.Queue[Utterance]) -> None:
        while True:
            utterance = await queue.get()
            await self._playout.room_for_clause()
            if (phrase := self._phrases.find(utterance.text)) is not None:
                self._play(utterance, phrase)
            elif not await self._synthesise(utterance):
                self._fail()
                return

    def _fail(self) -> None:
        if self._playout.held:
            self._reply.failed = True
        else:
            self._on_failure(self._reply.turn)

    async def _synthesise(self, utterance: Utterance) -> bool:
        """Stream one clause to the door, over a restart of the voice worker if need be."""
        for _ in range(_TTS_RETRIES):
            try:
                await self._stream(utterance, skip=utterance.samples)
            except ModelError as error:
                _log.warning("voice_failed", extra={"error": type(error).__name__})
                if not error.retryable:
                    return False
                await asyncio.sleep(_TTS_RETRY_S)
            else:
                return True
        return False

    async def _stream(self, utterance: Utterance, *, skip: int) -> None:
        """Synthesise and send, leaving out the first ``skip`` samples (sent before a restart)."""
        kept = bytearray()
        keep = utterance.cacheable and not skip
        pieces = render(
            self._tts,
            utterance.text,
            voice=self._voice,
            rate_hz=self._rate_hz,
            lexicon=self._phrases.lexicon,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                await self._playout.room_for_audio()
                keep = keep and len(kept) <= 2 * self._rate_hz * _CACHED_SECONDS
                if keep:
                    kept += piece.pcm
                left_out = min(skip, len(piece.pcm) // 2)
                skip -= left_out
                self._play(utterance, Rendered(piece.pcm[2 * left_out :], piece.ends, piece.final))
        if keep:
            self._phrases.keep(utterance.text, Rendered(bytes(kept), utterance.ends))

    def _play(self, utterance: Utterance, piece: Rendered) -> None:
        if piece.pcm and not utterance.first_audio_at:
            utterance.first_audio_at = self._clock()
        utterance.samples += len(piece.pcm) // 2
        utterance.complete = piece.final
        utterance.ends = piece.ends
        if piece.pcm or piece.final:
            self._playout.play(leg.Play(self._leg_id, utterance.utterance_id, piece.pcm, piece.final))
