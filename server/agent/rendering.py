"""A text as audio for one leg: pronounced, synthesised, resampled, its first silence cut, the end of each word known."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from models.protocols import TextToSpeech, WordTiming
from server.agent.leading_silence import LeadingSilence
from server.agent.lexicon import Lexicon, Spoken
from server.agent.resampling import Resampler

_NOTHING: Final = Lexicon()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A piece of a text's audio, or all of it."""

    pcm: bytes
    """PCM16 mono at the leg's rate."""
    ends: tuple[int, ...] = ()
    """Where the text's words (``text.split()``) end, in samples from the first one that is played. As many as are known so
    far; none where the voice has no alignment."""
    final: bool = True


async def render(
    tts: TextToSpeech, text: str, *, voice: str, rate_hz: int, lexicon: Lexicon = _NOTHING
) -> AsyncGenerator[Rendered, None]:
    """Yield the text's audio as it is made. Closing it cancels. Raises :class:`models.errors.ModelError`."""
    spoken = lexicon.apply(text)
    silence = LeadingSilence(rate_hz)
    resampler: Resampler | None = None
    timings: list[WordTiming] = []
    chunks = tts.synthesise(spoken.text, voice=voice)
    try:
        async for chunk in chunks:
            resampler = resampler or Resampler(chunk.rate_hz, rate_hz)
            timings += chunk.words
            pcm = silence.feed(resampler.feed(chunk.pcm, final=chunk.final))
            ends = word_ends(spoken, timings, scale=rate_hz / chunk.rate_hz, cut=silence.cut)
            yield Rendered(pcm, ends, chunk.final)
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()  # at once and not when it is collected: that frees the voice


def word_ends(spoken: Spoken, timings: list[WordTiming], *, scale: float, cut: int) -> tuple[int, ...]:
    """Return where the original words end, for as many as ``timings`` tell.

    ``scale`` is samples played for one of the voice, ``cut`` the samples left out at the beginning. A word that is not
    pronounced (a dash) ends with the one before it.
    """
    ends: dict[int, int] = {}
    position = 0
    for timing in timings:
        try:
            found = spoken.tokens.index(timing.word, position)
        except ValueError:
            continue
        position = found + 1
        for word in spoken.covers[found]:
            ends[word] = max(ends.get(word, 0), round(timing.end_sample * scale) - cut)
    if not ends:
        return ()
    result = []
    last = 0
    for word in range(max(ends) + 1):
        last = max(last, ends.get(word, 0))
        result.append(last)
    return tuple(result)
