"""A door's connections to agents: Hello both ways, heartbeats, phrases, what is to be sent to whom. Sans-I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sip.agent_table import AgentTable
from sip.leg_protocol import VERSION, DoorMessage, Heartbeat, Hello, Phrase

logger = logging.getLogger(__name__)

MAX_PHRASES: Final = 16
MAX_PHRASE_S: Final = 20


@dataclass(frozen=True, slots=True)
class ToAgent:
    """A message for one connection."""

    connection_id: int
    message: DoorMessage


@dataclass(frozen=True, slots=True)
class CloseAgent:
    """Close a connection: it hangs, or does not speak the protocol."""

    connection_id: int


LinkOutput = ToAgent | CloseAgent


class PhraseShelf:
    """Pre-rendered phrases for when no agent can speak, by name and rate."""

    def __init__(self, rates_hz: tuple[int, ...]) -> None:
        """Only phrases at the rates of the door's legs are kept."""
        self._rates_hz = rates_hz
        self._phrases: dict[tuple[str, int], bytes] = {}

    def keep(self, phrase: Phrase) -> None:
        """Keep a phrase, or refuse one that no leg could play."""
        key = phrase.name, phrase.rate_hz
        known = key in self._phrases or len(self._phrases) < MAX_PHRASES * len(self._rates_hz)
        too_long = len(phrase.pcm) > MAX_PHRASE_S * 2 * phrase.rate_hz
        if phrase.rate_hz not in self._rates_hz or too_long or not known:
            logger.warning("phrase_refused", extra={"rate_hz": phrase.rate_hz, "bytes": len(phrase.pcm)})
            return
        self._phrases[key] = phrase.pcm

    def get(self, name: str, rate_hz: int) -> bytes:
        """Return PCM16, nothing where no agent has told it."""
        return self._phrases.get((name, rate_hz), b"")


class AgentLinks:
    """All connections on the leg socket."""

    def __init__(
        self,
        send: Callable[[LinkOutput], None],
        on_lost: Callable[[int, int], None],
        *,
        hello: Hello,
    ) -> None:
        """``on_lost(connection_id, now)`` is told of every connection that is gone; ``hello`` is the door's own."""
        self._send = send
        self._on_lost = on_lost
        self._hello = hello
        self._table = AgentTable()
        self._beat_ns = 0
        self._beats = 0

    # ── what the door asks ───────────────────────────────────────────────────────────────────────

    @property
    def pids(self) -> list[int]:
        """Process ids of the agents that have said Hello, the newest first."""
        return self._table.pids()

    def introduced(self) -> list[int]:
        """Return the agents that have said Hello, the newest first."""
        return self._table.introduced()

    def with_room(self, calls_of: Mapping[int, int]) -> int | None:
        """Return the newest agent that can take one more call, given how many each has."""
        return self._table.with_room(dict(calls_of))

    def tell(self, connection_id: int | None, message: DoorMessage) -> None:
        """Say something to an agent; to nobody where there is none."""
        if connection_id is not None:
            self._send(ToAgent(connection_id, message))

    # ── what happened ────────────────────────────────────────────────────────────────────────────

    def connect(self, connection_id: int, now: int) -> None:
        """Take in a new connection."""
        if not self._table.connect(connection_id, now):
            self._send(CloseAgent(connection_id))

    def disconnect(self, connection_id: int, now: int) -> None:
        """Take in that a connection is closed."""
        if self._table.disconnect(connection_id):
            self._on_lost(connection_id, now)

    def reject(self, connection_id: int, now: int) -> None:
        """Close a connection that does not keep to the protocol."""
        if self._table.disconnect(connection_id):
            logger.warning("agent_rejected", extra={"connection": connection_id})
            self._send(CloseAgent(connection_id))
            self._on_lost(connection_id, now)

    def hear(self, connection_id: int, now: int) -> bool:
        """Take in a sign of life; False where the connection is not known."""
        if not self._table.is_known(connection_id):
            return False
        self._table.hear(connection_id, now)
        return True

    def is_introduced(self, connection_id: int) -> bool:
        """Return whether it has said Hello."""
        return self._table.is_introduced(connection_id)

    def introduce(self, connection_id: int, hello: Hello, now: int) -> bool:
        """Take in an agent's Hello and answer it; False where it was refused."""
        theirs, ours = hello, self._hello
        if (
            theirs.version != VERSION
            or theirs.role != "agent"
            or theirs.capacity < 0
            or theirs.heartbeat_ms <= 0
        ):
            logger.warning("agent_version", extra={"version": hello.version, "expected": VERSION})
            self.reject(connection_id, now)
            return False
        self._table.introduce(connection_id, hello)
        self.tell(connection_id, ours)
        logger.info("agent_connected", extra={"pid": hello.pid, "capacity": hello.capacity})
        return True

    def set_capacity(self, connection_id: int, calls: int) -> None:
        """Take in how many calls an agent can carry from now on."""
        self._table.set_capacity(connection_id, max(0, calls))

    def tick(self, now: int, stalled_ns: int) -> None:
        """Give up who hangs, and show that we do not. ``stalled_ns`` is how long we stood still ourselves."""
        if stalled_ns:
            self._table.forgive(stalled_ns)
        for connection_id in self._table.hung(now):
            logger.warning("agent_hung", extra={"connection": connection_id})
            self._table.disconnect(connection_id)
            self._send(CloseAgent(connection_id))
            self._on_lost(connection_id, now)
        if now - self._beat_ns >= self._hello.heartbeat_ms * 1_000_000:
            self._beat_ns = now
            self._beats += 1
            for connection_id in self._table.introduced():
                self.tell(connection_id, Heartbeat(self._beats))
