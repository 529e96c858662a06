"""Cuts a VITS network (ONNX bytes) in two at the input of its decoder, in memory. Standard library only, no clock.

The first half makes frames and the number of frames of each phoneme, the second makes samples of any run of frames. The
ONNX file format is protobuf; only the fields needed here are read (onnx.proto: ``ModelProto.graph`` 7;
``GraphProto.node`` 1, ``.initializer`` 5, ``.input`` 11, ``.output`` 12, ``.value_info`` 13; ``NodeProto.input`` 1,
``.output`` 2, ``.name`` 3, ``.op_type`` 4, ``.attribute`` 5; ``AttributeProto.g`` 6, ``.graphs`` 11;
``TensorProto.name`` 8; ``ValueInfoProto.name`` 1, ``.type`` 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_DECODER: Final = "/dec/"
"""Scope of the decoder's nodes in every network that Piper's training exports."""
_GRAPH: Final = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT_TENSOR: Final = bytes([0x12, 0x04, 0x0A, 0x02, 0x08, 0x01])
"""``ValueInfoProto.type`` = tensor of float32 without a shape."""


@dataclass(frozen=True, slots=True)
class SplitNetwork:
    """The two halves, each a model of its own."""

    encoder: bytes
    """The network's own inputs → ``frames`` and ``durations``."""
    decoder: bytes
    """``frames`` → the network's own output."""
    frames: str
    """Tensor ``[1, channels, n]``: what the decoder makes samples of."""
    durations: str
    """Tensor that holds the number of frames of each phoneme id, as float32."""


@dataclass(frozen=True, slots=True)
class _Node:
    raw: memoryview
    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    has_subgraph: bool


def split(model: bytes) -> SplitNetwork | None:
    """Return the halves, or ``None`` where the network cannot be cut (several speakers, not VITS)."""
    head, graph = _take(model, _GRAPH)
    nodes: list[_Node] = []
    initializers: dict[str, memoryview] = {}
    inputs: dict[str, memoryview] = {}
    outputs: list[memoryview] = []
    for number, value, raw in _fields(graph):
        if number == _NODE:
            nodes.append(_node(value, raw))
        elif number == _INITIALIZER:
            initializers[_text(value, 8)] = raw
        elif number == _INPUT:
            inputs[_text(value, 1)] = raw
        elif number == _OUTPUT:
            outputs.append(raw)
    frames = next((n.inputs[0] for n in nodes if n.name.startswith(_DECODER) and n.op_type == "Conv"), None)
    durations = [name for n in nodes if n.op_type == "Ceil" for name in n.outputs]
    if frames is None or len(durations) != 1 or len(outputs) != 1 or any(n.has_subgraph for n in nodes):
        return None
    output = _text(_payload(outputs[0]), 1)
    first, _ = _ancestors(nodes, {frames, durations[0]}, stop=set())
    second, wanted = _ancestors(nodes, {output}, stop={frames})
    if wanted & inputs.keys():
        return None  # the decoder also depends on something else, such as the speaker

    def assemble(kept: list[_Node], entries: Iterable[bytes | memoryview]) -> bytes:
        used = {name for node in kept for name in node.inputs}
        parts = [node.raw for node in kept]
        parts += [raw for name, raw in initializers.items() if name in used]
        return head + _tagged(_GRAPH, _tagged(2, b"half") + b"".join([*parts, *entries]))

    ends = [_tagged(_OUTPUT, _value_info(name)) for name in (frames, durations[0])]
    return SplitNetwork(
        encoder=assemble(first, [*inputs.values(), *ends]),
        decoder=assemble(second, [_tagged(_INPUT, _value_info(frames)), *outputs]),
        frames=frames,
        durations=durations[0],
    )


def with_durations(model: bytes) -> bytes:
    """Return the whole network with the durations as a second output, where they can be told, else as it is.

    Protobuf merges what is written twice, so that a second graph with one output adds that output.
    """
    _, graph = _take(model, _GRAPH)
    nodes = [_node(value, raw) for number, value, raw in _fields(graph) if number == _NODE]
    durations = [name for node in nodes if node.op_type == "Ceil" for name in node.outputs]
    known = [_text(value, 1) for number, value, _ in _fields(graph) if number == _OUTPUT]
    if len(durations) != 1 or len(known) != 1:
        return model
    return model + _tagged(_GRAPH, _tagged(_OUTPUT, _value_info(durations[0])))


def _ancestors(nodes: list[_Node], wanted: set[str], *, stop: set[str]) -> tuple[list[_Node], set[str]]:
    """Return the nodes that ``wanted`` needs, in order, and the names that no node makes (nodes are sorted)."""
    wanted = set(wanted)
    kept: list[_Node] = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs) - stop:
            kept.append(node)
            wanted.update(node.inputs)
            wanted.difference_update(node.outputs)
    return kept[::-1], wanted - stop


# ── protobuf's wire format ───────────────────────────────────────────────────────────────────────


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (field number, value of a length-delimited field or nothing, whole field), without copying."""
    data = memoryview(message)
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, position)
        value = data[:0]
        kind = key & 7
        if kind == _BYTES:
            length, position = _varint(data, position)
            value = data[position : position + length]
            position += length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is not one of ONNX's")
        if position > len(data):
            raise ValueError("a field of the network is cut off")
        yield key >> 3, value, data[start:position]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data):
            raise ValueError("the network is cut off")
        byte = data[position]
        result |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return result, position
        shift += 7


def _take(model: bytes, number: int) -> tuple[bytes, memoryview]:
    """Return everything but field ``number``, and that field's value."""
    others, wanted = [], memoryview(b"")
    for found, value, raw in _fields(model):
        if found == number:
            wanted = value
        else:
            others.append(raw)
    return b"".join(others), wanted


def _node(value: memoryview, raw: memoryview) -> _Node:
    inputs, outputs, name, op_type, has_subgraph = [], [], "", "", False
    for number, item, _ in _fields(value):
        if number == 1:
            inputs.append(str(item, "utf-8"))
        elif number == 2:
            outputs.append(str(item, "utf-8"))
        elif number == 3:
            name = str(item, "utf-8")
        elif number == 4:
            op_type = str(item, "utf-8")
        elif number == 5:
            has_subgraph |= any(part in (6, 11) for part, _, _ in _fields(item))
    return _Node(raw, name, op_type, tuple(inputs), tuple(outputs), has_subgraph)


def _text(value: memoryview, wanted: int) -> str:
    return next((str(item, "utf-8") for number, item, _ in _fields(value) if number == wanted), "")


def _payload(raw: memoryview) -> memoryview:
    return next(value for _, value, _ in _fields(raw))


def _tagged(number: int, value: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + value


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _value_info(name: str) -> bytes:
    return _tagged(1, name.encode()) + _FLOAT_TENSOR
