"""Configuration of the websocket process."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sip.config_reader import expect, is_numeric_address, read_file

LEG_SOCKET: Final = "websocket-leg.sock"
STATUS_SOCKET: Final = "websocket-status.sock"


@dataclass(frozen=True, slots=True)
class WebSocketConfig:
    """Everything the websocket process is told; the JSON object has these keys and no others."""

    run_directory: str
    """Where ``websocket-leg.sock`` and ``websocket-status.sock`` are made."""
    host: str = "127.0.0.1"
    """Address on which WebSocket connections are taken."""
    port: int = 8090
    """TCP port."""
    token: str = ""
    """Bearer token that clients must show; empty to ask for none, which only a loopback address may."""
    call_limit: int = 2
    """Calls at once, beyond which 503 is answered."""
    retry_after_s: int = 10
    """Retry-After of that 503."""
    media_timeout_s: float = 20.0
    """A call ends after so long without audio, without an event and without a pong."""
    agent_wait_s: float = 10.0
    """How long callers are kept without an agent."""
    one_moment_after_ms: int = 600
    """Time without an agent after which callers are told."""
    offer_timeout_ms: int = 2_000
    """Time an agent has to accept or refuse a call."""
    heartbeat_ms: int = 250
    """How often the door sends a heartbeat."""
    shutdown_s: float = 5.0
    """All calls are told and ended within so long of being asked to end."""

    @property
    def handoff_target(self) -> str:
        """Nobody: a WebSocket cannot be transferred."""
        return ""

    @property
    def leg_socket(self) -> str:
        """Path of the socket on which agents connect."""
        return str(Path(self.run_directory) / LEG_SOCKET)

    @property
    def status_socket(self) -> str:
        """Path of the socket that tells the statistics."""
        return str(Path(self.run_directory) / STATUS_SOCKET)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        expect(self.run_directory != "", "run_directory", self.run_directory, "a directory")
        expect(is_numeric_address(self.host), "host", self.host, "a numeric IPv4 or IPv6 address")
        expect(0 <= self.port <= 65_535, "port", self.port, "a port from 0 to 65535")
        loopback = ipaddress.ip_address(self.host).is_loopback
        expect(
            loopback or self.token != "", "token", "", f"a token, because {self.host} is no loopback address"
        )
        for name in (
            "call_limit",
            "retry_after_s",
            "one_moment_after_ms",
            "offer_timeout_ms",
            "heartbeat_ms",
        ):
            value = getattr(self, name)
            expect(value > 0, name, value, "a whole number above 0")
        for name in ("media_timeout_s", "agent_wait_s", "shutdown_s"):
            value = getattr(self, name)
            expect(math.isfinite(value) and value > 0, name, value, "a number of seconds above 0")


def load(path: str) -> WebSocketConfig:
    """Read the JSON file at ``path``; raises :class:`sip.errors.ConfigurationError`."""
    return read_file(path, WebSocketConfig)
