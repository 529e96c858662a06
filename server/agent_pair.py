"""One active agent and one spare: who is promoted, killed and started when. Sans-I/O: times are arguments.

The active agent talks with callers and beats; when it dies, or falls silent, the spare is promoted at once and a
new spare is started after the pause of :class:`server.restart_policy.RestartPolicy`. Without a spare the next agent
to be started is the active one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from server.restart_policy import RestartPolicy

_TAKEOVER_BEATS: Final = 3
"""A promoted spare may be silent for so many time-outs of a beat."""


class Role(enum.Enum):
    """What an agent process is there for."""

    ACTIVE = "active"
    SPARE = "spare"


@dataclass(frozen=True, slots=True)
class Start:
    """Start an agent process; its number names it from now on."""

    number: int
    role: Role


@dataclass(frozen=True, slots=True)
class Promote:
    """Tell the spare to go."""

    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill an agent at once (SIGKILL works on a stopped process, SIGTERM does not)."""

    number: int
    reason: str


Output = Start | Promote | Kill


@dataclass(slots=True)
class _Agent:
    number: int
    role: Role
    started_at: float
    heard_at: float
    first_beat_s: float
    """Limit until the first beat in this role."""
    has_beaten: bool = False
    killed: bool = False


class AgentPair:
    """The machine. Feed it what happened, drain :meth:`outputs`, call :meth:`handle_timeout` at :meth:`deadline`."""

    def __init__(
        self,
        *,
        with_spare: bool,
        beat_timeout_s: float,
        start_timeout_s: float,
        spare_pause_s: float,
        policy: RestartPolicy,
    ) -> None:
        self._with_spare = with_spare
        self._beat_timeout_s = beat_timeout_s
        self._start_timeout_s = start_timeout_s
        self._spare_pause_s = spare_pause_s
        self._policy = policy
        self._agents: dict[int, _Agent] = {}
        self._numbers = 0
        self._start_at: float | None = None
        self._outputs: list[Output] = []
        self.takeovers = 0
        """How often a spare was promoted."""

    def begin(self, now: float) -> None:
        """Start the active agent. The spare is asked for by :meth:`settled`, so that both do not load at once."""
        self._start(Role.ACTIVE, now)

    def settled(self, now: float) -> None:
        """The active agent serves: time for a spare."""
        if self._with_spare and self._find(Role.SPARE) is None and self._start_at is None:
            self._start(Role.SPARE, now)

    def beat(self, number: int, now: float) -> None:
        """An agent gave a sign of life."""
        if agent := self._agents.get(number):
            agent.has_beaten = True
            agent.heard_at = now

    def died(self, number: int, now: float) -> None:
        """An agent process is gone."""
        agent = self._agents.pop(number, None)
        if agent is None:
            return
        if agent.role is Role.ACTIVE:
            self._replace_active(now)
        delay_s = self._policy.died(lived_s=now - agent.started_at)
        if self._start_at is None:
            if self._find(Role.ACTIVE) is not None:
                # A spare that loads must not take the core from the agent that is just taking over.
                delay_s = max(delay_s, self._spare_pause_s)
            self._start_at = now + delay_s

    def handle_timeout(self, now: float) -> None:
        """Kill what is silent too long; start what is due."""
        for agent in list(self._agents.values()):
            if not agent.killed and now >= self._silent_at(agent):
                agent.killed = True
                self._outputs.append(Kill(agent.number, "hung" if agent.has_beaten else "not_started"))
                if agent.role is Role.ACTIVE:
                    # Not waiting for the kernel to report its end: callers are waiting.
                    self._replace_active(now)
                    agent.role = Role.SPARE
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._start_missing(now)

    def deadline(self) -> float | None:
        """Return when :meth:`handle_timeout` is to be called."""
        times = [self._silent_at(agent) for agent in self._agents.values() if not agent.killed]
        if self._start_at is not None:
            times.append(self._start_at)
        return min(times, default=None)

    def outputs(self) -> list[Output]:
        """Return what is to be done, once."""
        outputs, self._outputs = self._outputs, []
        return outputs

    @property
    def restarts(self) -> int:
        """How many agent processes died."""
        return self._policy.restarts

    def _silent_at(self, agent: _Agent) -> float:
        limit_s = self._beat_timeout_s if agent.has_beaten else agent.first_beat_s
        return agent.heard_at + limit_s

    def _find(self, role: Role) -> _Agent | None:
        return next((a for a in self._agents.values() if a.role is role and not a.killed), None)

    def _replace_active(self, now: float) -> None:
        spare = self._find(Role.SPARE)
        if spare is None:
            return
        spare.role = Role.ACTIVE
        # Connecting to the door and taking over the calls may hold it for a moment.
        if spare.has_beaten:
            spare.first_beat_s = _TAKEOVER_BEATS * self._beat_timeout_s
        spare.has_beaten = False
        spare.heard_at = now
        self.takeovers += 1
        self._outputs.append(Promote(spare.number))

    def _start_missing(self, now: float) -> None:
        if self._find(Role.ACTIVE) is None:
            self._start(Role.ACTIVE, now)
            if self._with_spare:
                self._start_at = now + self._spare_pause_s
        elif self._with_spare and self._find(Role.SPARE) is None:
            self._start(Role.SPARE, now)

    def _start(self, role: Role, now: float) -> None:
        self._numbers += 1
        self._agents[self._numbers] = _Agent(self._numbers, role, now, now, self._start_timeout_s)
        self._outputs.append(Start(self._numbers, role))
