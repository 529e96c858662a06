"""Makes each process's configuration, a plain dataclass of its room, from the settings."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.model_store import model_path
from models.worker_config import LlmServerConfig, PiperWorkerConfig, SpeechWorkerConfig
from server.agent.config import AgentProcessConfig
from server.agent.head_room import HeadRoomSettings
from server.config import Settings
from server.control.config import ControlConfig
from server.errors import ConfigurationError
from server.turns.settings import TurnSettings
from sip.config import LEG_SOCKET, STATUS_SOCKET, SipConfig
from sip.websocket import config as websocket
from sip.websocket.config import WebSocketConfig

_TREE: Final = Path(__file__).resolve().parents[1]
LLM_READY_FILE: Final = "llm-ready.json"
_MAX_SOCKET_PATH: Final = 107
"""Longest path of a unix socket on Linux (``sun_path``)."""


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """What of the agent file other processes must know."""

    name: str
    collection: str
    handoff_target: str
    voice: str
    documents: Path
    """Folder of the documents that belong to the agent."""
    system_messages: tuple[str, ...] = ()
    """Prompts of which the language model's server keeps the prefix warm."""


@dataclass(frozen=True, slots=True)
class ProcessConfigs:
    """The configurations of all processes of one ``landline serve``. ``llm`` is None with a server of one's own."""

    sip: SipConfig
    websocket: WebSocketConfig | None
    """None where that door is shut."""
    agent: AgentProcessConfig
    control: ControlConfig
    speech: SpeechWorkerConfig
    tts: PiperWorkerConfig
    llm: LlmServerConfig | None
    tts_python: Path


def build(
    settings: Settings, identity: AgentIdentity, *, llm_port: int, fresh_start: bool = True
) -> ProcessConfigs:
    """Return the configurations. ``llm_port`` is the embedded server's, chosen by the supervisor.

    Raises :class:`server.errors.ConfigurationError` when the run directory's path is too long for a socket.
    """
    run = settings.run_path.resolve()
    longest = len(os.fsencode(run / websocket.STATUS_SOCKET))
    if longest > _MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"run_directory: {run} is too long for sockets ({longest} bytes with the socket's name);"
            f" expected at most {_MAX_SOCKET_PATH}"
        )
    llm_base_url = f"http://127.0.0.1:{llm_port}/v1"
    if settings.llm.mode == "openai":
        llm_base_url = settings.llm.base_url.rstrip("/")
    return ProcessConfigs(
        sip=_sip(settings, identity, run),
        websocket=_websocket(settings, run) if settings.websocket.enabled else None,
        agent=_agent(settings, identity, run, llm_base_url),
        control=_control(settings, run, llm_base_url, fresh_start=fresh_start),
        speech=_speech(settings, run),
        tts=_tts(settings, run),
        llm=_llm(settings, identity, run, llm_port) if settings.llm.mode == "embedded" else None,
        tts_python=settings.tts.python or _TREE / ".venv-piper" / "bin" / "python",
    )


def default_models(settings: Settings) -> tuple[str, ...]:
    """Return the catalogue's names that these settings need."""
    names = ["silero-vad"]
    if settings.speech.model_path is None:
        names.append(settings.speech.model)
    if settings.speech.turn_model_path is None and settings.speech.turn_model:
        names.append(settings.speech.turn_model)
    if settings.knowledge.embedding_model_path is None:
        names.append(settings.knowledge.embedding_model)
    if settings.tts.voice_path is None:
        names.append(settings.tts.voice)
    if settings.llm.mode == "embedded" and settings.llm.model_path is None:
        names.append(settings.llm.model)
    return tuple(names)


def write_config(path: Path, config: Any) -> None:
    """Write one configuration as JSON, readable by the owner only: it may hold a key."""
    text = json.dumps(dataclasses.asdict(config), default=str, indent=1)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    draft.replace(path)


def _sip(settings: Settings, identity: AgentIdentity, run: Path) -> SipConfig:
    return SipConfig(
        run_directory=str(run),
        **settings.sip.model_dump(exclude={"handoff_target"}),
        handoff_target=identity.handoff_target or settings.sip.handoff_target,
        shutdown_s=max(1.0, settings.supervisor.goodbye_timeout_s - 2.0),
    )


def _websocket(settings: Settings, run: Path) -> WebSocketConfig:
    door = settings.websocket
    return WebSocketConfig(
        run_directory=str(run),
        host=door.host,
        port=door.port,
        token=door.token.get_secret_value(),
        call_limit=door.call_limit,
        retry_after_s=door.retry_after_s,
        agent_wait_s=settings.sip.agent_wait_s,
        shutdown_s=max(1.0, settings.supervisor.goodbye_timeout_s - 2.0),
    )


def _leg_sockets(settings: Settings, run: Path) -> dict[str, str]:
    sockets = {"sip": str(run / LEG_SOCKET)}
    if settings.websocket.enabled:
        sockets["websocket"] = str(run / websocket.LEG_SOCKET)
    return sockets


def _capacity(settings: Settings) -> int:
    """Return how many calls an agent carries at once, whichever doors they come through."""
    limits = [settings.sip.call_limit]
    if settings.websocket.enabled:
        limits.append(settings.websocket.call_limit)
    return max(limits)


def _agent(settings: Settings, identity: AgentIdentity, run: Path, llm_base_url: str) -> AgentProcessConfig:
    embedded = settings.llm.mode == "embedded"
    return AgentProcessConfig(
        name="agent",
        leg_sockets=_leg_sockets(settings, run),
        control_socket=str(run / "control.sock"),
        speech_socket=str(run / "speech.sock"),
        tts_socket=str(run / "tts.sock"),
        vad_model=str(model_path("silero-vad", settings.models_directory)),
        agent_folder=str(settings.agent.folder.resolve()),
        agent_database=str(settings.data_directory / "agents" / f"{identity.name}.sqlite3"),
        phrase_directory=str(settings.cache_directory / "phrases"),
        llm_base_url=llm_base_url,
        llm_model=settings.llm.model if embedded else settings.llm.served_model,
        llm_adapter=settings.llm_adapter,
        llm_slots=settings.llm.slots,
        llm_api_key=settings.llm.api_key.get_secret_value(),
        handoff_target=identity.handoff_target or settings.sip.handoff_target,
        capacity=_capacity(settings),
        knowledge_collection=settings.knowledge.collection or identity.collection,
        voice=identity.voice,
        records_required=settings.records.required,
        trace_directory=str(settings.turns.trace_directory or ""),
        turn_detector=bool(settings.speech.turn_model or settings.speech.turn_model_path),
        turns=TurnSettings(**settings.turns.model_dump(exclude={"echo_cancellation", "trace_directory"})),
        echo_cancellation=settings.turns.echo_cancellation == "auto",
        head_room=_head_room(settings, cores=len(os.sched_getaffinity(0))),
    )


def _head_room(settings: Settings, *, cores: int) -> HeadRoomSettings:
    """Return where the models may get crowded: each by itself, and all that run on this machine's cores."""
    speech, llm = settings.speech, settings.llm
    host = {"tts": settings.tts.threads}
    if speech.device == "cpu":
        host |= {"stt": speech.threads, "turn": speech.threads}
    if llm.mode == "embedded":
        host["llm"] = llm.threads
    # A server of one's own batches as it likes: how crowded it is shows in the waiting alone.
    places = {"stt": 1, "turn": 1, "tts": 1} | ({"llm": llm.slots} if llm.mode == "embedded" else {})
    return HeadRoomSettings(
        places=places,
        host_threads=host,
        host_cores=cores,
        **settings.load.model_dump(),
    )


def _control(settings: Settings, run: Path, llm_base_url: str, *, fresh_start: bool) -> ControlConfig:
    return ControlConfig(
        control_socket=str(run / "control.sock"),
        http_host=settings.http.host,
        http_port=settings.http.port,
        records_url=settings.records_url,
        records_required=settings.records.required,
        records_busy_timeout_ms=settings.records.busy_timeout_ms,
        records_queue_limit=settings.records.queue_limit,
        records_batch_limit=settings.records.batch_limit,
        disk_free_min_bytes=settings.records.disk_free_min_mb << 20,
        data_directory=str(settings.data_directory),
        knowledge_directory=str(settings.knowledge_directory),
        embedding_name=settings.embedding_name,
        knowledge_lock_timeout_s=settings.knowledge.lock_timeout_s,
        sip_status_socket=str(run / STATUS_SOCKET),
        websocket_status_socket=str(run / websocket.STATUS_SOCKET) if settings.websocket.enabled else "",
        speech_socket=str(run / "speech.sock"),
        tts_socket=str(run / "tts.sock"),
        llm_base_url=llm_base_url,
        llm_api_key=settings.llm.api_key.get_secret_value(),
        llm_ready_file=str(run / LLM_READY_FILE) if settings.llm.mode == "embedded" else "",
        fresh_start=fresh_start,
        log_level=settings.logging.level,
    )


def _speech(settings: Settings, run: Path) -> SpeechWorkerConfig:
    speech, knowledge = settings.speech, settings.knowledge
    turn_path = speech.turn_model_path
    if turn_path is None and speech.turn_model:
        turn_path = model_path(speech.turn_model, settings.models_directory)
    return SpeechWorkerConfig(
        socket=run / "speech.sock",
        stt_path=speech.model_path or model_path(speech.model, settings.models_directory),
        stt_name="" if speech.model_path else speech.model,
        embedding_path=knowledge.embedding_model_path
        or model_path(knowledge.embedding_model, settings.models_directory),
        embedding_name="" if knowledge.embedding_model_path else knowledge.embedding_model,
        turn_path=turn_path,
        turn_name="" if speech.turn_model_path else speech.turn_model,
        device=speech.device,
        compute_type=speech.compute_type,
        language=speech.language,
        threads=speech.threads,
        queue_limit=speech.queue_limit,
        log_level=settings.logging.level,
    )


def _tts(settings: Settings, run: Path) -> PiperWorkerConfig:
    tts = settings.tts
    return PiperWorkerConfig(
        socket=run / "tts.sock",
        voice_path=tts.voice_path or model_path(tts.voice, settings.models_directory),
        voice_name="" if tts.voice_path else tts.voice,
        threads=tts.threads,
        queue_limit=tts.queue_limit,
        log_level=settings.logging.level,
    )


def _llm(settings: Settings, identity: AgentIdentity, run: Path, port: int) -> LlmServerConfig:
    llm = settings.llm
    return LlmServerConfig(
        model_path=llm.model_path or model_path(llm.model, settings.models_directory),
        model_name="" if llm.model_path else llm.model,
        port=port,
        threads=llm.threads,
        slots=llm.slots,
        context_tokens=llm.context_tokens,
        micro_batch_tokens=llm.micro_batch_tokens,
        warm_prefixes=identity.system_messages,
        ready_file=run / LLM_READY_FILE,
        state_directory=settings.cache_directory / "llm-state",
        log_level=settings.logging.level,
    )
