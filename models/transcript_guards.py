"""What keeps words that nobody said out of a transcript: silence, loops, subtitles, impossible speed, echoed hot words.

Whisper writes something for any sound. Each guard is a pure function of the clip, the text and the decoder's own figures
(thresholds of probability and compression as in Whisper's ``transcribe.py``, which decodes in windows of 30 s).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.log_mel import RATE_HZ

_SILENCE_RMS: Final = 0.0008
"""Loudest 100 ms of the clip below -62 dBFS: nobody spoke into this line."""
NO_SPEECH_LIMIT: Final = 0.6
_LOG_PROBABILITY_LIMIT: Final = -1.0
GUESSED_LOG_PROBABILITY: Final = -1.6
"""Below it every token is a guess, whatever the sound was."""
_DOUBTFUL_NO_SPEECH: Final = 0.4
_DOUBTFUL_LOG_PROBABILITY: Final = -0.8
_COMPRESSION_LIMIT: Final = 2.4
_COMPRESSION_FROM_BYTES: Final = 40
_WORD_REPEATS: Final = 8
_PHRASE_REPEATS: Final = 4
_PHRASE_WORDS: Final = 8
_WORDS_PER_S: Final = 8.0
"""Nobody speaks faster, not even for a second; 3 is usual."""
_WORDS_FREE: Final = 2
_VOICED_STEP_MS: Final = 20
_VOICED_BELOW_PEAK: Final = 10 ** (-35 / 20)

_DOUBTFUL: Final = frozenset(
    {
        "you", "thank you", "thank you very much", "thank you so much", "thanks", "bye", "bye bye", "goodbye", "so",
        "the", "okay", "ok", "oh", "hmm", "mm", "yeah", "i'm sorry", "i", "and", "a", "please", "good", "uh", "um",
    }
)  # fmt: skip
"""What Whisper writes where nobody speaks, but a caller may say as well: believed when it sounds like speech."""
_SUBTITLES: Final = re.compile(
    r"thank(s| you)( so much| very much)? for (watching|listening|viewing)|(like and |please )?subscribe"
    r"|see you (in the )?next (time|video)|amara\.org|castingwords|subtitles? by|transcri(bed|ption) by|captions? by"
    r"|©|www\.|♪|♫"
)
"""From the subtitles it was trained on; nobody says that to a receptionist."""
_DESCRIPTION: Final = re.compile(r"[\[(*][^\])*]*[\])*]")
"""A sound in brackets: ``[MUSIC]``, ``(upbeat music)``."""
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder wrote, and how sure it was."""

    text: str
    mean_log_probability: float
    """Of the tokens, natural logarithm."""
    no_speech: float
    """Probability of the token for silence, 0 to 1."""


def is_silent(clip: NDArray[np.float32]) -> bool:
    """Say whether even the loudest 100 ms of the clip hold nothing."""
    return bool(_loudness(clip, 100).max(initial=0.0) < _SILENCE_RMS)


def voiced_ms(clip: NDArray[np.float32]) -> int:
    """Return how much of the clip is not more than 35 dB below its loudest: an upper bound of what is spoken."""
    loudness = _loudness(clip, _VOICED_STEP_MS)
    threshold = max(_SILENCE_RMS, float(loudness.max(initial=0.0)) * _VOICED_BELOW_PEAK)
    return int(np.count_nonzero(loudness >= threshold)) * _VOICED_STEP_MS


def believed(decoded: Decoded, voiced: int) -> str:
    """Return the text, without sounds in brackets, or nothing where a guard does not believe it."""
    text = _DESCRIPTION.sub(" ", decoded.text)
    text = " ".join(text.split())
    if is_looping(text) or is_too_fast(text, voiced) or is_invented(decoded, text):
        return ""
    return text


def is_looping(text: str) -> bool:
    """Say whether the decoder repeats itself: such text compresses far better than speech does, or says a phrase over
    and over."""
    data = text.encode()
    if len(data) > _COMPRESSION_FROM_BYTES and len(data) / len(zlib.compress(data)) > _COMPRESSION_LIMIT:
        return True
    words = words_of(text)
    return any(
        _repeats(words, length) >= (_WORD_REPEATS if length == 1 else _PHRASE_REPEATS)
        for length in range(1, _PHRASE_WORDS + 1)
    )


def is_too_fast(text: str, voiced: int) -> bool:
    """Say whether nobody can say these words in ``voiced`` milliseconds."""
    return len(words_of(text)) > _WORDS_FREE + voiced / 1000 * _WORDS_PER_S


def is_invented(decoded: Decoded, text: str) -> bool:
    """Say whether the words are rather the model's than the caller's."""
    words = words_of(text)
    if not words or decoded.mean_log_probability < GUESSED_LOG_PROBABILITY:
        return True
    if decoded.no_speech > NO_SPEECH_LIMIT and decoded.mean_log_probability < _LOG_PROBABILITY_LIMIT:
        return True
    if _SUBTITLES.search(text.lower()):
        return True
    return " ".join(words) in _DOUBTFUL and (
        decoded.no_speech > _DOUBTFUL_NO_SPEECH or decoded.mean_log_probability < _DOUBTFUL_LOG_PROBABILITY
    )


def leans_on_hot_words(text: str, hot_words: str) -> bool:
    """Say whether a third of the words or more are among those the decoder was told to expect."""
    words, expected = words_of(text), set(words_of(hot_words))
    return bool(words) and 3 * sum(word in expected for word in words) >= len(words)


def words_of(text: str) -> list[str]:
    """Return the words in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def _repeats(words: list[str], length: int) -> int:
    """Return how often a phrase of ``length`` words stands in immediate succession at most."""
    longest = run = 1
    index = length
    while index + length <= len(words):
        if words[index : index + length] == words[index - length : index]:
            run += 1
            index += length
            longest = max(longest, run)
        else:
            run = 1
            index += 1
    return longest if len(words) >= length else 0


def _loudness(clip: NDArray[np.float32], step_ms: int) -> NDArray[np.float32]:
    step = RATE_HZ * step_ms // 1000
    whole = len(clip) // step * step
    squares = np.mean(np.square(clip[:whole].reshape(-1, step)), axis=1)
    return np.asarray(np.sqrt(squares), np.float32)
