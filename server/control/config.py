"""Configuration of the control process: plain values, read from the JSON file it is started with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Everything the control process needs to know. Paths are absolute."""

    control_socket: str
    http_host: str
    http_port: int
    records_url: str
    records_required: bool
    records_busy_timeout_ms: int
    records_queue_limit: int
    records_batch_limit: int
    disk_free_min_bytes: int
    data_directory: str
    knowledge_directory: str
    embedding_name: str
    """What the index remembers as the embedding model."""
    knowledge_lock_timeout_s: float
    sip_status_socket: str
    websocket_status_socket: str
    """Empty where that door is shut."""
    speech_socket: str
    tts_socket: str
    llm_base_url: str
    llm_api_key: str
    llm_ready_file: str
    """Made by the embedded server once it is warm; empty with a server of one's own."""
    fresh_start: bool
    """The supervisor has just started everything: a call still open was cut off."""
    log_level: str


def read_config(path: Path) -> ControlConfig:
    """Read the JSON file. Raises :class:`server.errors.ConfigurationError`."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise TypeError("no object")
        return ControlConfig(**raw)
    except (OSError, ValueError, TypeError) as error:
        expected = ", ".join(field.name for field in dataclasses.fields(ControlConfig))
        raise ConfigurationError(
            f"{path}: {error}; expected a JSON object with the keys {expected}"
        ) from None
