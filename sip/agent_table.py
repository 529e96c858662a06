"""The agents connected to a door: who is alive, who takes the next call. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sip.leg_protocol import Hello

MISSED_HEARTBEATS: Final = 3
HELLO_TIMEOUT_NS: Final = 2_000_000_000
MAX_CONNECTIONS: Final = 16


@dataclass(slots=True)
class _Agent:
    connection_id: int
    heard_ns: int
    hello: Hello | None = None
    capacity: int = 0

    def is_hung(self, now_ns: int) -> bool:
        if self.hello is None:
            return now_ns - self.heard_ns >= HELLO_TIMEOUT_NS
        return now_ns - self.heard_ns >= MISSED_HEARTBEATS * self.hello.heartbeat_ms * 1_000_000


class AgentTable:
    """Connections in the order in which they said Hello."""

    def __init__(self) -> None:
        """Begin without any."""
        self._agents: dict[int, _Agent] = {}

    def connect(self, connection_id: int, now_ns: int) -> bool:
        """Take in a connection; False where there are too many."""
        if len(self._agents) >= MAX_CONNECTIONS:
            return False
        self._agents[connection_id] = _Agent(connection_id, now_ns)
        return True

    def disconnect(self, connection_id: int) -> bool:
        """Forget a connection; False where it is not known."""
        return self._agents.pop(connection_id, None) is not None

    def introduce(self, connection_id: int, hello: Hello) -> None:
        """Take in an agent's Hello: it is the newest now."""
        agent = self._agents.pop(connection_id)
        agent.hello = hello
        agent.capacity = hello.capacity
        self._agents[connection_id] = agent

    def is_known(self, connection_id: int) -> bool:
        """Return whether the connection is open."""
        return connection_id in self._agents

    def is_introduced(self, connection_id: int) -> bool:
        """Return whether it has said Hello."""
        agent = self._agents.get(connection_id)
        return agent is not None and agent.hello is not None

    def hear(self, connection_id: int, now_ns: int) -> None:
        """Take in a sign of life."""
        self._agents[connection_id].heard_ns = now_ns

    def set_capacity(self, connection_id: int, calls: int) -> None:
        """Take in how many calls an agent can carry from now on."""
        self._agents[connection_id].capacity = calls

    def forgive(self, stalled_ns: int) -> None:
        """Take in that we stood still ourselves: what agents said meanwhile is unread, not unsaid."""
        for agent in self._agents.values():
            agent.heard_ns += stalled_ns

    def hung(self, now_ns: int) -> list[int]:
        """Return the connections that missed three heartbeats."""
        return [agent.connection_id for agent in self._agents.values() if agent.is_hung(now_ns)]

    def introduced(self) -> list[int]:
        """Return the agents, the newest first."""
        return [agent.connection_id for agent in reversed(self._agents.values()) if agent.hello is not None]

    def pids(self) -> list[int]:
        """Return the agents' process ids, the newest first."""
        return [agent.hello.pid for agent in reversed(self._agents.values()) if agent.hello is not None]

    def with_room(self, calls_of: dict[int, int]) -> int | None:
        """Return the newest agent that can take one more call, given how many each has."""
        for connection_id in self.introduced():
            if calls_of.get(connection_id, 0) < self._agents[connection_id].capacity:
                return connection_id
        return None

    def capacity(self) -> int:
        """Return how many calls all agents together can carry."""
        return sum(agent.capacity for agent in self._agents.values())
