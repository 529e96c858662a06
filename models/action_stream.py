"""Reads a structured action while it is still being written: the words to say, or one tool call. Sans-I/O.

Two forms: ``{"say": "words"}`` and ``{"action": "name", "arguments": {...}}``. The words come out as they come in, from
within the unfinished JSON string (RFC 8259 section 7); a tool call comes out whole.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SAY_HEAD: Final = re.compile(r'\s*\{\s*"say"\s*:\s*"')
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ACTION_LIMIT: Final = 8192


class JsonStringDecoder:
    """Characters of a JSON string (after its opening quote) in, text out."""

    def __init__(self) -> None:
        self.closed = False
        self._pending = ""

    def feed(self, raw: str) -> str:
        """Return the text that ``raw`` completes; what follows the closing quote is ignored.

        Raises :class:`ValueError` on an escape that JSON does not know.
        """
        text: list[str] = []
        data = self._pending + raw
        self._pending = ""
        position = 0
        while position < len(data) and not self.closed:
            letter = data[position]
            if letter == '"':
                self.closed = True
            elif letter == "\\":
                decoded, length = _escape(data, position)
                if not length:
                    self._pending = data[position:]
                    break
                text.append(decoded)
                position += length - 1
            else:
                text.append(letter)
            position += 1
        return "".join(text)


def _escape(data: str, start: int) -> tuple[str, int]:
    """Return the character of the escape at ``start`` and its length, or a length of 0 if it is incomplete."""
    kind = data[start + 1 : start + 2]
    if not kind:
        return "", 0
    if kind != "u":
        if kind not in _ESCAPES:
            raise ValueError(f"\\{kind} is not a JSON escape")
        return _ESCAPES[kind], 2
    high = data[start + 2 : start + 6]
    if len(high) < 4:
        return "", 0
    code = int(high, 16)
    if not 0xD800 <= code < 0xDC00:
        # A lone low surrogate stands for nothing that could be spoken.
        return ("" if 0xDC00 <= code < 0xE000 else chr(code)), 6
    tail = data[start + 6 : start + 12]
    if len(tail) < 6 and "\\u".startswith(tail[:2]):
        return "", 0
    if not tail.startswith("\\u"):
        return "", 6
    low = int(tail[2:], 16)
    if not 0xDC00 <= low < 0xE000:
        return "", 6
    return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12


@dataclass(frozen=True, slots=True)
class Said:
    """Words to speak."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A whole tool call."""

    name: str
    arguments: Mapping[str, Any]


class _State(enum.Enum):
    HEAD = enum.auto()
    SAYING = enum.auto()
    CALLING = enum.auto()


class ActionParser:
    """The text of one action in, what it means out."""

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._buffer = ""
        self._decoder = JsonStringDecoder()

    def feed(self, text: str) -> list[Said]:
        """Return the words that ``text`` completes. Raises :class:`ValueError` when it is not an action."""
        if self._state is _State.SAYING:
            return self._say(text)
        self._buffer += text
        if len(self._buffer) > _ACTION_LIMIT:
            raise ValueError(f"an action of more than {_ACTION_LIMIT} characters")
        if self._state is _State.HEAD:
            head = _SAY_HEAD.match(self._buffer)
            if head:
                self._state = _State.SAYING
                return self._say(self._buffer[head.end() :])
            if re.match(r'\s*\{\s*"action', self._buffer):
                self._state = _State.CALLING
        return []

    def finish(self) -> Called | None:
        """Return the tool call, or None when words were said.

        Raises :class:`ValueError` when the action is not whole. Words that broke off are whole enough to be spoken.
        """
        if self._state is _State.SAYING:
            return None
        action = json.loads(self._buffer)
        if not isinstance(action, dict) or not isinstance(action.get("action"), str):
            raise ValueError('expected {"say": ...} or {"action": ..., "arguments": {...}}')
        arguments = action.get("arguments", {})
        if not isinstance(arguments, dict):
            raise ValueError("arguments: expected an object")
        return Called(action["action"], arguments)

    def _say(self, raw: str) -> list[Said]:
        text = self._decoder.feed(raw)
        return [Said(text)] if text else []
