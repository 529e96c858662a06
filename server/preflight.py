"""What is checked before anything is started, so that a mistake is named in words and not found in a log."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from models.errors import ModelError
from models.model_store import verify
from server.config import Settings
from server.dialogue.agent_file import load_agent
from server.dialogue.errors import AgentFileError
from server.errors import ConfigurationError, LandlineError, PortTaken
from server.process_configs import AgentIdentity, default_models
from server.warm_prefix import system_message


def check_all(settings: Settings, tts_python: Path) -> list[LandlineError]:
    """Return everything that would keep Landline from answering."""
    problems: list[LandlineError] = []
    checks: tuple[Callable[[], None], ...] = (
        *(partial(check_model, settings, name) for name in default_models(settings)),
        lambda: check_own_models(settings),
        lambda: check_tts_python(tts_python),
        lambda: check_directories(settings),
        lambda: check_ports(settings),
    )
    for check in checks:
        try:
            check()
        except LandlineError as error:
            problems.append(error)
    return problems


def read_agent(settings: Settings) -> AgentIdentity:
    """Return who the agent is. Raises ConfigurationError naming file, line and expectation."""
    try:
        agent = load_agent(settings.agent.folder)
        warm = (system_message(agent),) if settings.llm_adapter == "structured" else ()
    except AgentFileError as error:
        raise ConfigurationError(f"agent: {error}") from None
    return AgentIdentity(
        name=agent.name,
        collection=agent.collection,
        handoff_target=agent.handoff.target,
        voice=agent.voice,
        documents=agent.folder / agent.knowledge.documents,
        system_messages=warm,
    )


def check_model(settings: Settings, name: str) -> None:
    """One model of the catalogue is there, whole and unaltered. Raises ConfigurationError."""
    try:
        verify(name, settings.models_directory)
    except ModelError as error:
        raise ConfigurationError(f"models: {error}") from None


def check_own_models(settings: Settings) -> None:
    """The owner's own models are where the settings say. Raises ConfigurationError."""
    paths = {
        "speech.model_path": settings.speech.model_path,
        "speech.turn_model_path": settings.speech.turn_model_path,
        "tts.voice_path": settings.tts.voice_path,
        "llm.model_path": settings.llm.model_path,
        "knowledge.embedding_model_path": settings.knowledge.embedding_model_path,
    }
    for key, path in paths.items():
        if path is not None and not path.exists():
            raise ConfigurationError(f"{key}: {path} is not there; expected a model of your own")


def check_tts_python(path: Path) -> None:
    """The environment of piper-tts exists. Raises ConfigurationError."""
    if not os.access(path, os.X_OK):
        raise ConfigurationError(
            f"tts.python: {path} is not there; expected the Python of an environment with piper-tts"
            " (`make setup` makes .venv-piper)"
        )


def check_directories(settings: Settings) -> None:
    """The data directory can be written. Raises ConfigurationError."""
    try:
        settings.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (settings.data_directory / "agents").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"data_directory: {settings.data_directory}: {error.strerror}; expected a writable directory"
        ) from None


def check_ports(settings: Settings) -> None:
    """SIP, HTTP and WebSocket ports are free. Raises PortTaken naming what is needed and who holds it."""
    _check_port(socket.SOCK_DGRAM, settings.sip.host, settings.sip.port, "sip.port", "SIP (UDP)")
    _check_port(socket.SOCK_STREAM, settings.http.host, settings.http.port, "http.port", "HTTP (TCP)")
    if settings.websocket.enabled:
        door = settings.websocket
        _check_port(socket.SOCK_STREAM, door.host, door.port, "websocket.port", "WebSocket (TCP)")


def _check_port(kind: socket.SocketKind, host: str, port: int, key: str, purpose: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (
                f"is taken{_holder(kind, port)}" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
            )
            raise PortTaken(
                f"{key}: {purpose} {host}:{port} {reason}; stop that program or set another {key}"
            ) from None


def _holder(kind: socket.SocketKind, port: int) -> str:
    wanted = "udp" if kind is socket.SOCK_DGRAM else "tcp"
    try:
        for connection in psutil.net_connections(wanted):
            listening = kind is socket.SOCK_DGRAM or connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""


def free_loopback_port() -> int:
    """Return a TCP port that is free on the loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def address_to_ring(settings: Settings) -> str:
    """Return the address a telephone in this network would ring; nothing is sent to find it."""
    if settings.sip.advertised_host:
        return settings.sip.advertised_host
    if settings.sip.host not in ("0.0.0.0", "::"):
        return settings.sip.host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: routed nowhere; only the route is looked up
            host: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return host
