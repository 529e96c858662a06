from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import WorkerProtocolError
from models.worker_protocol import MAX_PAYLOAD_BYTES, Decoder, Frame, encode

headers = st.dictionaries(
    st.text(max_size=8), st.integers() | st.text(max_size=8) | st.booleans(), max_size=4
)


@given(st.lists(st.tuples(headers, st.binary(max_size=64)), max_size=5), st.integers(1, 17))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[dict[str, object], bytes]], step: int
) -> None:
    data = b"".join(encode(header, payload) for header, payload in frames)
    decoder = Decoder()
    received: list[Frame] = []
    for start in range(0, len(data), step):
        received += decoder.feed(data[start : start + step])
    assert [(dict(frame.header), frame.payload) for frame in received] == frames


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack(">II", 0, 0), id="no header"),
        pytest.param(struct.pack(">II", 1 << 30, 0), id="header too long"),
        pytest.param(struct.pack(">II", 2, MAX_PAYLOAD_BYTES + 1), id="payload too long"),
        pytest.param(struct.pack(">II", 2, 0) + b"[]", id="not an object"),
        pytest.param(struct.pack(">II", 2, 0) + b"\xff\xff", id="not JSON"),
    ],
)
def test_what_is_not_worker_protocol_is_refused(data: bytes) -> None:
    with pytest.raises(WorkerProtocolError):
        Decoder().feed(data)
