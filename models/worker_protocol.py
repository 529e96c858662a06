"""Worker protocol: what an agent and a model worker say to each other over a unix socket.

Sans-I/O: :func:`encode` turns a header and a payload into one frame, :class:`Decoder` turns bytes into frames. Client
and server stand in :mod:`models.worker_client` and :mod:`models.worker_server`. Standard library only, because the
Piper worker imports this from an environment of its own.

Wire format: ``u32 header_len | u32 payload_len | header JSON | payload``, big endian.

* request ``{"id": n, "op": "transcribe", ...}``; ``{"id": n, "op": "cancel"}`` cancels request n
* reply ``{"id": n, "final": bool, ...}`` or
  ``{"id": n, "final": true, "error": code, "message": text, "retryable": bool}``

A worker's queue is bounded; beyond it a request is answered ``busy`` (retryable). Work whose client is gone or who
cancelled it is dropped.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from models.errors import WorkerProtocolError

MAX_HEADER_BYTES: Final = 1 << 20
MAX_PAYLOAD_BYTES: Final = 16 << 20

_HEAD: Final = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Frame:
    """One header with its payload."""

    header: Mapping[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler is asked. ``fields`` is the header without ``id`` and ``op``."""

    op: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; the last one of a request is ``final``."""

    header: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""
    final: bool = True


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Return one frame. Raises :class:`models.errors.WorkerProtocolError` when it is too long to be sent."""
    text = json.dumps(header, separators=(",", ":")).encode()
    _check_lengths(len(text), len(payload))
    return _HEAD.pack(len(text), len(payload)) + text + payload


def _check_lengths(header_len: int, payload_len: int) -> None:
    if not 2 <= header_len <= MAX_HEADER_BYTES:
        raise WorkerProtocolError(f"header of {header_len} bytes; expected 2 to {MAX_HEADER_BYTES}")
    if payload_len > MAX_PAYLOAD_BYTES:
        raise WorkerProtocolError(f"payload of {payload_len} bytes; expected at most {MAX_PAYLOAD_BYTES}")


class Decoder:
    """Bytes in, frames out; keeps what is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames completed by ``data``.

        Raises :class:`models.errors.WorkerProtocolError` on a frame that is too long or whose header is not a JSON
        object; the connection is then to be closed.
        """
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= _HEAD.size:
            header_len, payload_len = _HEAD.unpack_from(self._buffer)
            _check_lengths(header_len, payload_len)
            end = _HEAD.size + header_len + payload_len
            if len(self._buffer) < end:
                break
            text = bytes(self._buffer[_HEAD.size : _HEAD.size + header_len])
            payload = bytes(self._buffer[_HEAD.size + header_len : end])
            del self._buffer[:end]
            frames.append(Frame(_header(text), payload))
        return frames


def _header(text: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise WorkerProtocolError(f"header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise WorkerProtocolError(f"header is a JSON {type(header).__name__}; expected an object")
    return header
