"""G.711 both ways by lookup tables (ITU-T G.711, payload formats of RFC 3551 §4.5.14). Sans-I/O."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sip.offer_answer import Codec

RATE_HZ: Final = 8_000
FRAME_MS: Final = 20
FRAME_SAMPLES: Final = RATE_HZ * FRAME_MS // 1_000

_BIAS = 132
_CLIP = 32_635


def _decode_mu_law() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent = (code >> 4) & 7
    magnitude = ((((code & 0x0F) << 3) + _BIAS) << exponent) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


def _decode_a_law() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 7
    mantissa = ((code & 0x0F) << 4) + 8
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")


def _encode_mu_law() -> NDArray[np.uint8]:
    # Indexed by the sample's 16 bits, so negative samples fill the upper half.
    sample = np.arange(65_536, dtype=np.int32).astype(np.uint16).view(np.int16).astype(np.int32)
    # G.711 works on the 14 most significant bits, two's complement, so the shift comes before the sign.
    magnitude = np.where(sample < 0, -(sample >> 2), sample >> 2) << 2
    magnitude = np.minimum(magnitude, _CLIP) + _BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.uint8] = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return code


def _encode_a_law() -> NDArray[np.uint8]:
    sample = np.arange(65_536, dtype=np.int32).astype(np.uint16).view(np.int16).astype(np.int32) >> 3
    magnitude = np.where(sample < 0, -sample - 1, sample)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = (magnitude >> np.maximum(exponent, 1)) & 0x0F
    sign = np.where(sample < 0, 0, 0x80)
    code: NDArray[np.uint8] = ((sign | (exponent << 4) | mantissa) ^ 0x55).astype(np.uint8)
    return code


_DECODE: Final = {Codec.PCMU: _decode_mu_law(), Codec.PCMA: _decode_a_law()}
_ENCODE: Final = {Codec.PCMU: _encode_mu_law(), Codec.PCMA: _encode_a_law()}


def decode(codec: Codec, payload: bytes) -> bytes:
    """Return PCM16 little endian, one sample an octet."""
    return _DECODE[codec].take(np.frombuffer(payload, np.uint8)).tobytes()


def encode(codec: Codec, pcm: bytes) -> bytes:
    """Return one octet a sample of PCM16 little endian; ``pcm`` holds whole samples."""
    return _ENCODE[codec].take(np.frombuffer(pcm, "<u2")).tobytes()


SILENCE: Final = {codec: encode(codec, bytes(2 * FRAME_SAMPLES)) for codec in Codec}
"""One encoded frame of silence."""
