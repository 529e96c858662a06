"""Configuration of the agent process: plain values, read from the JSON file it is started with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.agent.head_room import HeadRoomSettings
from server.turns.settings import TurnSettings


class AgentConfigError(ValueError):
    """The configuration file cannot be used; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class AgentProcessConfig:
    """Everything an agent process needs to know. Paths are absolute."""

    name: str
    leg_sockets: dict[str, str]
    """Door → socket on which it listens: ``sip``, and ``websocket`` where there is one."""
    control_socket: str
    speech_socket: str
    tts_socket: str
    vad_model: str
    agent_folder: str
    agent_database: str
    """SQLite file of the agent's own tools; never the records."""
    phrase_directory: str
    """Cache of rendered fixed phrases."""
    llm_base_url: str
    """OpenAI-compatible, ending in ``/v1``."""
    llm_model: str
    llm_adapter: str = "structured"
    """``structured`` (embedded small model) or ``native`` (tool calls by the server)."""
    llm_slots: int = 2
    llm_api_key: str = ""
    handoff_target: str = ""
    """SIP URI of the person to transfer to; empty: nobody."""
    capacity: int = 2
    knowledge_collection: str = "clinic"
    voice: str = ""
    records_required: bool = True
    """Refuse new calls while they cannot be recorded."""
    turn_detector: bool = True
    """The speech worker has a turn detector."""
    trace_directory: str = ""
    """Where each call's trace is written, with what the caller said; empty: nowhere."""
    heartbeat_ms: int = 250
    echo_cancellation: bool = True
    turns: TurnSettings = field(default_factory=TurnSettings)
    head_room: HeadRoomSettings = field(default_factory=HeadRoomSettings)


def read_config(path: Path) -> AgentProcessConfig:
    """Read the JSON file. Raises :class:`AgentConfigError`."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AgentConfigError(f"{path}: expected a JSON object: {error}") from error
    known = {item.name for item in dataclasses.fields(AgentProcessConfig)}
    if unknown := sorted(set(raw) - known):
        raise AgentConfigError(f"{path}: unknown keys {', '.join(unknown)}")
    try:
        turns = TurnSettings(**raw.pop("turns", {}))
        head_room = HeadRoomSettings(**raw.pop("head_room", {}))
        config = AgentProcessConfig(**raw, turns=turns, head_room=head_room)
    except TypeError as error:
        raise AgentConfigError(f"{path}: {error}") from error
    if config.llm_adapter not in ("structured", "native"):
        raise AgentConfigError(
            f"{path}: llm_adapter is {config.llm_adapter!r}; expected structured or native"
        )
    return config
