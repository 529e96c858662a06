"""Speaks phrases for the pause corpus; run by the Python of Piper's own environment, which no other process imports.

Reads one JSON object ``{"voice": path, "seed": n, "phrases": [{"text", "length_scale"}]}`` from stdin and writes, for
each phrase, its length in samples (4 bytes, little endian) and PCM16 at the voice's rate to stdout.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path


def main() -> None:
    """Speak what stdin asks for."""
    import onnxruntime
    from piper import PiperVoice
    from piper.config import PiperConfig, SynthesisConfig

    order = json.load(sys.stdin)
    path = Path(order["voice"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The voice draws its rhythm and melody at random; a seed makes them the same every time.
    onnxruntime.set_seed(order["seed"])
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    config = PiperConfig.from_dict(json.loads(path.with_name(path.name + ".json").read_text()))
    voice = PiperVoice(config=config, session=session)
    for phrase in order["phrases"]:
        chosen = SynthesisConfig(length_scale=phrase["length_scale"], volume=0.8)
        pcm = b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize(phrase["text"], chosen))
        sys.stdout.buffer.write(struct.pack("<I", len(pcm) // 2) + pcm)


if __name__ == "__main__":
    main()
