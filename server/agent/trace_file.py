"""One call's trace on disk, where the owner wants traces: what the turn machine was told, to be replayed and tuned by.

A trace holds what the caller said. It is written only into the directory that the owner names, readable by its owner
alone, and a disk that is full ends the trace and nothing else.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final, TextIO

from server.turns.messages import TurnInput
from server.turns.settings import TurnSettings
from server.turns.trace import TraceWriter

_LINES_MAX: Final = 200_000
"""A call of an hour has about a tenth of that."""

_log = logging.getLogger(__name__)


class TraceFile:
    """Writes nothing where no directory is named."""

    def __init__(self, directory: str, call_id: str) -> None:
        self._directory = directory
        self._call_id = call_id
        self._writer: TraceWriter | None = None
        self._file: TextIO | None = None
        self._lines = 0
        self._part = 0

    def begin(self, settings: TurnSettings, *, rate_hz: int, last_turn: int) -> None:
        """Begin a trace; a process that takes a call over begins one of its own."""
        if self._directory:
            self.close()
            self._writer = TraceWriter(settings, rate_hz=rate_hz, last_turn=last_turn)

    def input(self, event: TurnInput | None, now: int) -> None:
        """Write what the machine is told (None: a timeout) at ``now`` (ns)."""
        if self._writer is None or self._lines >= _LINES_MAX:
            return
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(self._writer.line(event, now))
            self._lines += 1
        except OSError as error:
            _log.warning("trace_ended", extra={"error": type(error).__name__, "call": self._call_id})
            self._writer = None

    def _open(self) -> TextIO:
        folder = Path(self._directory)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = "".join(letter for letter in self._call_id if letter.isalnum() or letter in "-_")
        while True:
            suffix = f".{self._part}" if self._part else ""
            try:
                descriptor = os.open(
                    folder / f"{name}{suffix}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
                )
            except FileExistsError:
                self._part += 1
                if self._part > 99:
                    raise
                continue
            return os.fdopen(descriptor, "w", encoding="utf-8")

    def close(self) -> None:
        """End the trace."""
        file, self._file, self._writer = self._file, None, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                _log.warning("trace_ended", extra={"error": type(error).__name__, "call": self._call_id})
