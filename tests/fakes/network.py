"""In-memory UDP in virtual time, with a seeded bad network: loss, duplication, jitter and with it reordering."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sip.address import Address
from sip.transaction_tables import MS
from sip.user_agent import Event, SendDatagram, UserAgent, UserAgentConfig


@dataclass(frozen=True)
class Conditions:
    """What the network does to each datagram."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_ns: int = 10 * MS
    jitter_ns: int = 0


@dataclass
class Host:
    """One end: a user agent, what it has reported, and what it has said on the wire."""

    agent: UserAgent
    address: Address
    events: list[Event] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)


Handler = Callable[[Host, Event], None]


class Network:
    """Hosts and the datagrams between them; ``now`` moves only by :meth:`run`."""

    def __init__(self, seed: int = 0, conditions: Conditions | None = None) -> None:
        self.now = 1_000 * MS
        self.random = random.Random(seed)
        self.conditions = conditions or Conditions()
        self.hosts: dict[Address, Host] = {}
        self.handlers: dict[Address, Handler] = {}
        self.lost: list[bytes] = []
        self._in_flight: list[tuple[int, int, bytes, Address, Address]] = []
        self._sequence = 0

    def host(self, name: str, address: Address, handler: Handler | None = None) -> Host:
        """Add a user agent. The handler is its shell: it is given each event and may command the agent."""
        config = UserAgentConfig(local=address, user=name)
        host = Host(UserAgent(config, self.token), address)
        self.hosts[address] = host
        if handler is not None:
            self.handlers[address] = handler
        return host

    def token(self, length: int) -> str:
        """Return seeded hex characters."""
        return "".join(self.random.choices("0123456789abcdef", k=length))

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on the wire, which may lose, delay or double it."""
        for _ in range(2 if self.random.random() < self.conditions.duplication else 1):
            if self.random.random() < self.conditions.loss:
                self.lost.append(data)
                continue
            jitter = self.random.randrange(self.conditions.jitter_ns + 1)
            self._sequence += 1
            at = self.now + self.conditions.delay_ns + jitter
            heapq.heappush(self._in_flight, (at, self._sequence, data, source, destination))

    def flush(self) -> None:
        """Carry out what the agents want, until they want nothing more."""
        busy = True
        while busy:
            busy = False
            for host in self.hosts.values():
                for output in host.agent.outputs():
                    busy = True
                    if isinstance(output, SendDatagram):
                        host.sent.append(output.data)
                        self.send(output.data, host.address, output.destination)
                    else:
                        host.events.append(output)
                        if host.address in self.handlers:
                            self.handlers[host.address](host, output)

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        end = self.now + for_ms * MS
        self.flush()
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            while self._in_flight and self._in_flight[0][0] <= self.now:
                _, _, data, source, destination = heapq.heappop(self._in_flight)
                if destination in self.hosts:
                    self.hosts[destination].agent.receive_datagram(data, source, self.now)
                    self.flush()
            for host in self.hosts.values():
                deadline = host.agent.deadline()
                if deadline is not None and deadline <= self.now:
                    host.agent.handle_timeout(self.now)
                    after = host.agent.deadline()
                    assert after is None or after > self.now, "a deadline that is due stays due"
                    self.flush()
        self.now = end

    def _next(self) -> int | None:
        times = [self._in_flight[0][0]] if self._in_flight else []
        times += [at for host in self.hosts.values() if (at := host.agent.deadline()) is not None]
        return min(times, default=None)
