"""A network cut in two computes what the whole one does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.fetch import verify
from models.onnx_split import _tagged, split, with_durations

CACHE = Path(os.environ.get("LANDLINE_CACHE_DIRECTORY", Path.home() / ".cache" / "landline")) / "models"
ROOT = Path(__file__).parents[2]
CONTEXT = 11


def node(op_type: str, name: str, inputs: list[str], outputs: list[str], attribute: bytes = b"") -> bytes:
    return _tagged(
        1,
        b"".join(_tagged(1, item.encode()) for item in inputs)
        + b"".join(_tagged(2, item.encode()) for item in outputs)
        + _tagged(3, name.encode())
        + _tagged(4, op_type.encode())
        + (_tagged(5, attribute) if attribute else b""),
    )


def network(*nodes: bytes, inputs: tuple[str, ...] = ("input",)) -> bytes:
    ends = [_tagged(11, _tagged(1, name.encode())) for name in inputs]
    weights = [_tagged(5, _tagged(8, b"first") + bytes(0)), _tagged(5, _tagged(8, b"second"))]
    graph = b"".join([*nodes, *weights, *ends, _tagged(12, _tagged(1, b"output"))])
    return b"\x08\x08" + _tagged(7, graph)  # ir_version 8


ENCODE = node("Mul", "/enc", ["input", "first"], ["mixed"])
CEIL = node("Ceil", "/Ceil", ["mixed"], ["lengths"])
FRAMES = node("Mul", "/Mul", ["mixed", "lengths"], ["frames"])
DECODE = node("Conv", "/dec/conv", ["frames", "second"], ["output"])


def test_each_half_has_its_own_nodes_and_weights() -> None:
    halves = split(network(ENCODE, CEIL, FRAMES, DECODE))
    assert halves is not None
    assert (halves.frames, halves.durations) == ("frames", "lengths")
    assert [name in halves.encoder for name in (b"/enc", b"/Ceil", b"/dec/conv", b"first", b"second")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert [name in halves.decoder for name in (b"/enc", b"/Ceil", b"/dec/conv", b"first", b"second")] == [
        False, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        network(ENCODE, CEIL, FRAMES),
        network(ENCODE, FRAMES, DECODE),
        network(ENCODE, CEIL, FRAMES, node("Conv", "/dec/conv", ["frames", "sid"], ["output"]), inputs=("input", "sid")),
        network(ENCODE, CEIL, FRAMES, node("If", "/if", ["mixed"], ["other"], _tagged(6, b"")), DECODE),
        b"",
    ],
    ids=["no decoder", "no durations", "several speakers", "a branch", "nothing"],
)  # fmt: skip
def test_what_cannot_be_cut_is_left_whole(model: bytes) -> None:
    assert split(model) is None


def test_damaged_bytes_are_an_error_and_no_endless_loop() -> None:
    whole = network(ENCODE, CEIL, FRAMES, DECODE)
    for length in range(3, len(whole)):
        with pytest.raises(ValueError, match="cut off"):
            split(whole[:length])


def session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.model
def test_windows_of_the_real_voice_sound_as_the_whole_and_durations_fill_it() -> None:
    model = verify("joe", CACHE).read_bytes()
    halves = split(model)
    assert halves is not None
    encoder, decoder = session(halves.encoder), session(halves.decoder)
    ids = np.array([[1, 0, *[symbol for phoneme in range(14, 60) for symbol in (phoneme, 0)], 2]])
    feed = {
        "input": ids,
        "input_lengths": np.array([ids.shape[1]]),
        "scales": np.array([0.667, 1, 0.8], "f4"),
    }
    frames, durations = encoder.run([halves.frames, halves.durations], feed)
    assert durations.sum() == frames.shape[2]

    def decode(window: NDArray[np.float32]) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = decoder.run(None, {halves.frames: np.ascontiguousarray(window)})[0]
        return samples.reshape(-1)

    whole = decode(frames)
    pieces = []
    for start in range(0, frames.shape[2], 24):
        left = max(0, start - CONTEXT)
        window = decode(frames[:, :, left : start + 24 + CONTEXT])
        pieces.append(window[256 * (start - left) : 256 * (start - left + 24)])
    assert len(whole) == 256 * frames.shape[2]
    assert np.abs(np.concatenate(pieces)[: len(whole)] - whole).max() < 1e-4
    assert [output.name for output in session(with_durations(model)).get_outputs()][1:] == [halves.durations]


@pytest.mark.model
def test_the_first_window_is_heard_in_a_fraction_of_the_time_of_a_whole_clause() -> None:
    command = [
        str(ROOT / ".venv-piper/bin/python"),
        "-m",
        "scripts.bench_first_audio",
        str(verify("joe", CACHE)),
    ]
    done = subprocess.run([*command, "--pairs", "7"], cwd=ROOT, capture_output=True, text=True, check=True)
    print(done.stdout)
    longest = done.stdout.strip().splitlines()[-1].split()
    sooner, more = float(longest[-2]), float(longest[-1])
    assert sooner < 0.7
    assert more < 1.6
