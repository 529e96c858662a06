"""One Piper voice: a clause to speech as a stream, with the end of each word. GPL: imported by the Piper worker alone.

VITS decides on the frames of a clause at once and then turns each run of frames into samples, looking at a few frames on
either side only. So the network is cut in two: the second half works on windows, the first of them small, and what comes out
is the same audio. A network that cannot be cut runs as a whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import ModelFileError
from models.onnx_split import split, with_durations
from models.word_alignment import word_ends

_PEAK: Final = 0.8
"""Full scale of an average clause's loudest sample; G.711 needs some room above. One gain for all clauses: the loudest
sample of the one that is being made is not known when its beginning is sent."""
_FIRST_FRAMES: Final = 24
"""First window: 0.28 s at 22,050 Hz, of which about 0.1 s is the silence that Piper begins with. What remains covers the
making of the second."""
_GROWTH: Final = 3
_WINDOW_FRAMES: Final = 256
_CONTEXTS: Final = (11, 16, 24, 32)
"""Frames on either side of a window. The decoder of Piper's low and medium voices sees 10: kernel 7 at the start, then three
stages of upsampling by 8, 8 and 4, each with kernels of 7 at dilations 3 and 12. Others are tried until one is exact."""
_EXACT: Final = 1e-4
"""Largest difference from the audio that is made at once, of full scale 1: less than half a 12-bit step."""
_WARM_UP: Final = (
    "One moment, please.",
    "You're welcome. Is there anything else I can do?",
    "I am warming up, so that nobody has to wait for the first sentence that is spoken here.",
)
_WORD: Final = re.compile(r"(?:[^\s\[]|\[(?!\[))*\[\[.*?\]\]\S*|\S+")
"""A word; one that is given in phonemes may hold spaces."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a clause: PCM16 mono at the voice's rate."""

    pcm: bytes
    words: tuple[tuple[str, int], ...] = ()
    """With the first piece of a clause: each of its words and the sample of the clause where it ends."""


class Voice:
    """Not thread-safe: one thread uses it."""

    def __init__(self, path: Path, *, threads: int, length_scale: float) -> None:
        """Load ``path`` and the JSON beside it. Raises :class:`models.errors.ModelFileError` when they are not a voice."""
        import numpy
        from piper import PiperVoice
        from piper.config import PiperConfig

        self._np: Any = numpy
        description = path.with_name(path.name + ".json")
        for file in (path, description):
            if not file.is_file():
                raise ModelFileError(f"{file} is missing; run: landline models fetch")
        try:
            config = PiperConfig.from_dict(json.loads(description.read_text(encoding="utf-8")))
            model = path.read_bytes()
            self._load(model, threads)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError(f"{path} cannot be loaded ({type(error).__name__})") from error
        self._piper: Any = PiperVoice(config=config, session=self._first)
        self._config: Any = config
        self._length_scale = length_scale or config.length_scale
        settings = f"{description.read_text(encoding='utf-8')}\0{self._length_scale}"
        self.identity = hashlib.sha256(hashlib.sha256(model).digest() + settings.encode()).hexdigest()[:16]
        """Changes with the voice's files and with how they are used."""
        self._gain = 1.0
        self._context = 0
        self.rate_hz = int(config.sample_rate)

    def _load(self, model: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3

        def session(network: bytes) -> Any:
            return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

        halves = split(model)
        self._decoder: Any = None
        if halves is not None:
            self._first: Any = session(halves.encoder)
            self._decoder = session(halves.decoder)
        else:
            self._first = session(with_durations(model))

    def warm_up(self) -> None:
        """Run once, because the first runs allocate; find the decoder's context and the gain."""
        np = self._np
        peaks = []
        for text in _WARM_UP:
            frames, _ = self._encode(self._piper.phonemes_to_ids(self._piper.phonemize(text)[0]))
            if self._decoder is not None and not self._context:
                self._find_context(frames)
            peaks.append(float(np.abs(np.concatenate(list(self._samples(frames)))).max()))
        self._gain = _PEAK * len(peaks) / max(1e-3, sum(peaks))

    def _find_context(self, frames: Any) -> None:
        """Take the smallest context with which windows are the same as the whole; without one nothing is cut."""
        np = self._np
        whole = self._decoder.run(None, {self._decoder.get_inputs()[0].name: frames})[0].reshape(-1)
        for context in _CONTEXTS:
            self._context = context
            if float(np.abs(np.concatenate(list(self._samples(frames))) - whole).max()) < _EXACT:
                return
        self._context = 0

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Make every clause at once while this lasts, for a comparison."""
        context, self._context = self._context, 0
        try:
            yield
        finally:
            self._context = context

    def speak(self, clause: str) -> Iterator[Piece]:
        """Yield the clause piece by piece; whoever stops asking saves the rest of the work."""
        sentences = [phonemes for phonemes in self._piper.phonemize(clause) if phonemes]
        made = [self._encode(self._piper.phonemes_to_ids(phonemes)) for phonemes in sentences]
        words = self._words(clause, sentences, [durations for _, durations in made])
        for frames, _ in made:
            for samples in self._samples(frames):
                yield Piece(self._pcm16(samples), words)
                words = ()

    def _encode(self, ids: list[int]) -> tuple[Any, Any]:
        """Return frames ``[1, channels, n]`` (whole networks: samples) and the samples of each id, or ``None``."""
        np = self._np
        row = np.array([ids], np.int64)
        scales = [self._config.noise_scale, self._length_scale, self._config.noise_w_scale]
        feed = {
            "input": row,
            "input_lengths": np.array([row.shape[1]], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if self._config.num_speakers > 1:
            feed["sid"] = np.array([self._config.default_speaker_id], np.int64)
        result = self._first.run(None, feed)
        durations = result[1].reshape(-1) * self._config.hop_length if len(result) > 1 else None
        return result[0], durations

    def _samples(self, frames: Any) -> Iterator[Any]:
        """Yield the samples of the frames, window by window."""
        if self._decoder is None:
            yield frames.reshape(-1)
            return
        name, hop = self._decoder.get_inputs()[0].name, self._config.hop_length
        count = frames.shape[2]
        start, size = 0, _FIRST_FRAMES if self._context else count
        while start < count:
            end = min(count, start + size)
            left, right = max(0, start - self._context), min(count, end + self._context)
            window = self._np.ascontiguousarray(frames[:, :, left:right])
            samples = self._decoder.run(None, {name: window})[0].reshape(-1)
            yield samples[(start - left) * hop : (end - left) * hop]
            start, size = end, min(size * _GROWTH, _WINDOW_FRAMES)

    def _words(self, clause: str, sentences: list[list[str]], durations: list[Any]) -> tuple[Any, ...]:
        """Return (word, end sample) of each word of the clause; empty where the voice does not tell."""
        spoken: list[str] = []
        ends: list[int] = []
        position = 0
        for phonemes, samples in zip(sentences, durations, strict=True):
            if samples is None:
                return ()
            counts = self._ids_of(phonemes)
            if sum(counts) != len(samples):
                return ()  # not one row of ids a phoneme
            marks = [0, *itertools.accumulate(counts)]
            total = [0, *itertools.accumulate(int(value) for value in samples)]
            spoken += phonemes
            ends += [position + total[mark] for mark in marks[2:-1]]
            position += total[-1]
        words = _WORD.findall(clause)
        alone = [[phoneme for part in self._piper.phonemize(word) for phoneme in part] for word in words]
        found = word_ends(alone, spoken, ends)
        return tuple(zip(words, found, strict=True)) if found is not None else ()

    def _ids_of(self, phonemes: list[str]) -> list[int]:
        """Return how many ids each phoneme became, begin and end of the sentence included (piper's ``phonemes_to_ids``)."""
        known = self._config.phoneme_id_map
        pad = len(known["_"])
        middle = [len(known[phoneme]) + pad if phoneme in known else 0 for phoneme in phonemes]
        return [len(known["^"]) + pad, *middle, len(known["$"])]

    def _pcm16(self, samples: Any) -> bytes:
        np = self._np
        scaled = np.clip(samples * (self._gain * 32767), -32767, 32767)
        return bytes(scaled.astype("<i2").tobytes())
