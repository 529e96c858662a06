"""Configuration of the sip process: one JSON file into one plain dataclass, or an error that says what was expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sip.config_reader import expect, is_numeric_address, read_file, read_mapping

LEG_SOCKET: Final = "leg.sock"
STATUS_SOCKET: Final = "sip-status.sock"


@dataclass(frozen=True, slots=True)
class SipConfig:
    """Everything the sip process is told; the JSON object has these keys and no others."""

    run_directory: str
    """Where ``leg.sock`` and ``sip-status.sock`` are made."""
    host: str = "0.0.0.0"
    """Address on which SIP and RTP listen."""
    port: int = 5060
    """UDP port of SIP."""
    rtp_port_first: int = 20_000
    rtp_port_last: int = 20_199
    """Range of UDP ports of media; even ones carry RTP, a call needs two."""
    advertised_host: str = ""
    """Address written into Contact and SDP; empty for the local one towards the peer."""
    user: str = "landline"
    """User part of our Contact; any user part is answered."""
    call_limit: int = 2
    """Calls at once, beyond which 503 is answered."""
    retry_after_s: int = 10
    """Retry-After of that 503."""
    handoff_target: str = ""
    """SIP URI to which callers are transferred when no agent comes back; empty to hang up instead."""
    media_timeout_s: float = 30.0
    """A call that is not on hold ends after so long without RTP and without signalling."""
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
        expect(
            self.advertised_host == "" or is_numeric_address(self.advertised_host),
            "advertised_host",
            self.advertised_host,
            "a numeric IPv4 or IPv6 address, or nothing",
        )
        for name in ("port", "rtp_port_first", "rtp_port_last"):
            value = getattr(self, name)
            expect(0 <= value <= 65_535, name, value, "a port from 0 to 65535")
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
        expect(
            self.handoff_target == "" or self.handoff_target.startswith(("sip:", "sips:")),
            "handoff_target",
            self.handoff_target,
            "a SIP URI (sip:user@host), or nothing",
        )
        pairs = (self.rtp_port_last + 1) // 2 - (self.rtp_port_first + 1) // 2
        expect(
            pairs >= self.call_limit,
            "rtp_port_first to rtp_port_last",
            f"{self.rtp_port_first} to {self.rtp_port_last}",
            f"room for {self.call_limit} calls, two ports each",
        )


def load(path: str) -> SipConfig:
    """Read the JSON file at ``path``; raises :class:`sip.errors.ConfigurationError`."""
    return read_file(path, SipConfig)


def from_mapping(data: dict[str, object]) -> SipConfig:
    """Return the configuration of a JSON object; raises :class:`sip.errors.ConfigurationError`."""
    return read_mapping(data, SipConfig)
