"""Logs as one JSON object a line, in which every key is classified safe or personal.

A personal or unclassified key never leaves the process; its name does, so that the mistake is seen. An event is a
fixed name in our own code, never a sentence with values in it. Of other people's libraries only the fact that they
warned is kept, because their texts may quote what callers said. A traceback keeps places and types, no messages.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import structlog


class Kind(enum.Enum):
    """Whether a value may be seen by whoever reads logs."""

    SAFE = "safe"
    PERSONAL = "personal"


_SAFE: Final = """
    at event level logger process pid
    call call_id leg leg_id utterance_id turn revision sequence slot
    error error_type traceback reason code status kind state cause end_reason outcome op
    child tool turn_class stage codec method transport version schema model device agent
    attempt attempts restarts exit_code signal count calls capacity limit queued dropped late rejected
    duration_ms delay_ms timeout_ms elapsed_ms wait_ms audio_ms inference_ms seconds tick tick_late_ms lateness_ms
    bytes bytes_free size rate_hz port rtp_port passages documents added unchanged removed failed closed
    path line socket collection key keys withheld connection expected ticks uptime_s restored retry_after_s slots
    prompt_tokens cached_tokens completion_tokens threads
    packets_received packets_sent packets_lost packets_late packets_rejected jitter_ms
""".split()

_PERSONAL: Final = """
    caller callee number phone address remote source host uri from to contact display_name user_agent
    text words heard said transcript partial prompt reply question answer passage query
    arguments result detail facts slots_filled provenance idempotency_key snapshot history
    patient birth_date email message body headers sdp packet data payload
""".split()

CLASSIFICATION: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(_SAFE, Kind.SAFE),
    **dict.fromkeys(_PERSONAL, Kind.PERSONAL),
}

_OURS: Final = ("server", "sip", "models", "kb", "scripts")
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_TEXT: Final = 300
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def withhold(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: keep safe keys with plain values, replace the rest by their names."""
    withheld = sorted(key for key in event if CLASSIFICATION.get(key) is not Kind.SAFE)
    kept = {key: _plain(value) for key, value in event.items() if key not in withheld}
    if withheld:
        kept["withheld"] = withheld
    return kept


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path | enum.Enum):
        return str(value.value if isinstance(value, enum.Enum) else value)[:_MAX_TEXT]
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in list(value)[:50]]
    return type(value).__name__


def places(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None],
) -> list[str]:
    """Return a traceback as ``file:line function`` lines, innermost last, without any message."""
    frames = traceback.extract_tb(exc_info[2])[-12:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class JsonFormatter(logging.Formatter):
    """Formats records of the standard library's logging, whose ``extra`` keys are classified."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="at")

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        ours = record.name.split(".")[0] in _OURS or record.name == "__main__"
        text = record.msg if isinstance(record.msg, str) else ""
        event: MutableMapping[str, Any] = {
            "event": (text if _EVENT.fullmatch(text) else "unnamed_event") if ours else "library_warning",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
        }
        if ours:
            extra = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
            event.update({key: value for key, value in extra.items() if key not in event})
        if record.exc_info and record.exc_info[0] is not None and record.exc_info[1] is not None:
            event["error"] = record.exc_info[0].__name__
            event["traceback"] = places((record.exc_info[0], record.exc_info[1], record.exc_info[2]))
        return json.dumps(withhold(None, "", self._stamp(None, "", event)), ensure_ascii=False)


def configure(
    process: str,
    *,
    level: str = "info",
    stream: TextIO | None = None,
    file: Path | None = None,
    file_limit_bytes: int = 50 * 1024 * 1024,
) -> logging.Handler:
    """Send this process's logs to ``file`` (rotated once at its limit) or ``stream`` (stderr). Return the handler."""
    handler: logging.Handler
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = RotatingFileHandler(file, maxBytes=file_limit_bytes, backupCount=1, encoding="utf-8")
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in (*_OURS, "__main__"):
        logging.getLogger(name).setLevel(level.upper())
    logging.raiseExceptions = False  # a full disk must not write tracebacks about logging
    return handler


class LogRelay:
    """Passes children's log lines on to the owner's log: JSON objects as they are, anything else only counted.

    What a library prints to stderr by itself is not known to be free of callers' words.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler

    def pass_on(self, process: str, line: bytes) -> None:
        """Write one line of a child's stderr."""
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or "event" not in fields:
            fields = {"event": "library_output", "level": "info", "bytes": len(line)}
        fields.setdefault("process", process)
        if isinstance(fields.get("traceback"), str):
            del fields["traceback"]  # as the standard library formats it, with messages
        text = json.dumps(withhold(None, "", fields), ensure_ascii=False)
        record = logging.makeLogRecord({"name": "server.relay", "levelno": logging.INFO, "msg": "relayed"})
        with contextlib.suppress(OSError, ValueError):
            self._write(record, text)

    def _write(self, record: logging.LogRecord, text: str) -> None:
        self._handler.acquire()
        try:
            if isinstance(self._handler, RotatingFileHandler) and self._handler.shouldRollover(record):
                self._handler.doRollover()
            if isinstance(self._handler, logging.StreamHandler):
                self._handler.stream.write(text + "\n")
                self._handler.flush()
        finally:
            self._handler.release()
