"""G.711 against the reference implementation of the standard library."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sip import codecs
from sip.offer_answer import Codec

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype("<i2").tobytes()
EVERY_OCTET = bytes(range(256))


@pytest.mark.parametrize(
    ("codec", "expected"),
    [(Codec.PCMU, audioop.ulaw2lin(EVERY_OCTET, 2)), (Codec.PCMA, audioop.alaw2lin(EVERY_OCTET, 2))],
    ids=["PCMU", "PCMA"],
)
def test_every_octet_decodes_as_the_reference_does(codec: Codec, expected: bytes) -> None:
    assert codecs.decode(codec, EVERY_OCTET) == expected


@pytest.mark.parametrize(
    ("codec", "expected"),
    [(Codec.PCMU, audioop.lin2ulaw(EVERY_SAMPLE, 2)), (Codec.PCMA, audioop.lin2alaw(EVERY_SAMPLE, 2))],
    ids=["PCMU", "PCMA"],
)
def test_every_sample_encodes_as_the_reference_does(codec: Codec, expected: bytes) -> None:
    assert codecs.encode(codec, EVERY_SAMPLE) == expected


@pytest.mark.parametrize("codec", list(Codec))
def test_a_quiet_tone_keeps_the_quality_of_g711(codec: Codec) -> None:
    samples = 0.01 * 32_768 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    pcm = samples.astype("<i2")
    decoded = np.frombuffer(codecs.decode(codec, codecs.encode(codec, pcm.tobytes())), "<i2")
    noise = decoded.astype(float) - pcm
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) > 25


@pytest.mark.parametrize("codec", list(Codec))
def test_silence_is_silent(codec: Codec) -> None:
    decoded = np.frombuffer(codecs.decode(codec, codecs.SILENCE[codec]), "<i2")
    assert len(decoded) == codecs.FRAME_SAMPLES
    assert np.abs(decoded).max() <= 8
