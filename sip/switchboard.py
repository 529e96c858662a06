"""What every door does alike: callers on one side, agents that speak the leg protocol on the other. Sans-I/O.

It keeps every caller when an agent dies or hangs, tells them, and hands them to the agent that comes back. Everything
that waits is looked at once a tick; the sequence and its limits stand in ``docs/design/contracts.md``. What differs
between doors is behind :class:`Wire`.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final, Generic, Protocol, TypeVar, assert_never

from sip.agent_links import AgentLinks, LinkOutput, PhraseShelf
from sip.attended_call import AttendedCall, Care, Ending, Phase
from sip.leg_protocol import (
    VERSION,
    Accept,
    AgentMessage,
    AudioBatch,
    Capacity,
    HangUp,
    Heartbeat,
    Hello,
    LegAudio,
    LegEndCause,
    LegEnded,
    Pause,
    Phrase,
    Play,
    Refuse,
    Resume,
    Resync,
    ResyncedLeg,
    SendDtmf,
    Stop,
    Transfer,
    TransferProgress,
)

logger = logging.getLogger(__name__)

STALL_NS: Final = 100_000_000
"""Ticks further apart than this mean that this process did not run."""
DRAIN_TAIL_NS: Final = 200_000_000
"""What was sent last still lies in the peer's jitter buffer; hanging up would cut it off."""
ENDING_LIMIT_NS: Final = 75_000_000_000
SHUTDOWN_MARGIN_NS: Final = 1_000_000_000
LINGER_NS: Final = 300_000_000
"""After the last call the wire still has its goodbyes to send."""

C = TypeVar("C", bound=AttendedCall)
C_contra = TypeVar("C_contra", bound=AttendedCall, contravariant=True)


class Limits(Protocol):
    """What of a door's configuration the switchboard needs; units in the names."""

    @property
    def call_limit(self) -> int: ...
    @property
    def retry_after_s(self) -> int: ...
    @property
    def handoff_target(self) -> str: ...
    @property
    def agent_wait_s(self) -> float: ...
    @property
    def one_moment_after_ms(self) -> int: ...
    @property
    def offer_timeout_ms(self) -> int: ...
    @property
    def heartbeat_ms(self) -> int: ...
    @property
    def shutdown_s(self) -> float: ...


class Wire(Protocol[C_contra]):
    """The caller's side of a door."""

    def answer(self, call: C_contra, now: int) -> None:
        """Answer a ringing call that an agent has accepted."""
        ...

    def refuse(self, call: C_contra, status: int, now: int, retry_after_s: int) -> None:
        """Refuse a ringing call; it is closed already."""
        ...

    def hang_up(self, call: C_contra, now: int) -> None:
        """End a call that is up; the door then closes it with :meth:`Switchboard.close`."""
        ...

    def transfer(self, call: C_contra, target: str, now: int) -> None:
        """Begin a transfer; its progress is told with :meth:`Switchboard.follow_transfer`."""
        ...

    def send_dtmf(self, call: C_contra, digits: str) -> None:
        """Send key presses."""
        ...

    def silence(self, call: C_contra) -> None:
        """Take in that playout was paused or dropped: what the caller's end has buffered is not to be heard."""
        ...

    def has_lost_its_line(self, call: C_contra, now: int) -> bool:
        """Return whether nothing was heard of the caller for too long."""
        ...

    def release(self, call: C_contra) -> None:
        """Give back what a call held on the wire: it is closed."""
        ...


class Switchboard(Generic[C]):
    """All calls of one door and all agents connected to it."""

    def __init__(
        self, name: str, limits: Limits, wire: Wire[C], *, rates_hz: tuple[int, ...], pid: int = 0
    ) -> None:
        """``name`` is the door's, ``rates_hz`` those of its legs."""
        self._limits = limits
        self._wire = wire
        self._outputs: list[LinkOutput] = []
        self._phrases = PhraseShelf(rates_hz)
        hello = Hello(VERSION, "door", name, pid, limits.call_limit, limits.heartbeat_ms)
        self.links = AgentLinks(self._outputs_append, self._lose_agent, hello=hello)
        self.calls: dict[int, C] = {}
        self._batches: dict[int, list[LegAudio]] = {}
        self._tick = 0
        self._ticked_ns = 0
        self._shutdown_ns: int | None = None
        self._empty_ns: int | None = None
        self.counters: Counter[str] = Counter()

    def _outputs_append(self, output: LinkOutput) -> None:
        self._outputs.append(output)

    # ── what the door asks ───────────────────────────────────────────────────────────────────────

    def outputs(self) -> list[LinkOutput]:
        """Return and forget what is to be done; drain after every call."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def finished(self, now: int) -> bool:
        """Return whether :meth:`shut_down` is done, or out of time."""
        if self._shutdown_ns is None:
            return False
        linger = self._empty_ns is not None and now - self._empty_ns >= LINGER_NS
        return linger or now >= self._shutdown_ns

    def why_no_room(self) -> str:
        """Return why no further call can be taken now; empty where one can."""
        if self._shutdown_ns is not None:
            return "shutting_down"
        if len(self.calls) < self._limits.call_limit and self._agent_with_room() is not None:
            return ""
        if not self.links.introduced():
            return "no_agent"
        return "busy" if len(self.calls) >= self._limits.call_limit else "head_room"

    # ── agents ───────────────────────────────────────────────────────────────────────────────────

    def receive(self, connection_id: int, message: object, now: int) -> None:
        """Take in one message of the leg protocol."""
        if not self.links.hear(connection_id, now):
            return
        if isinstance(message, Hello):
            if self.links.introduce(connection_id, message, now):
                self._hand_over_orphans(connection_id)
        elif not self.links.is_introduced(connection_id) or not isinstance(message, AgentMessage):
            self.links.reject(connection_id, now)
        else:
            self._obey(connection_id, message, now)

    def _hand_over_orphans(self, connection_id: int) -> None:
        orphans = [
            call
            for call in self.calls.values()
            if call.agent is None and call.phase is not Phase.RINGING and call.care is not Care.GIVEN_UP
        ]
        resynced = []
        for call in orphans:
            call.agent = connection_id
            call.care = Care.ATTENDED
            playout = call.playout
            resynced.append(ResyncedLeg(call.offer, call.offset, playout.newest_id, playout.newest_played))
        self.links.tell(connection_id, Resync(tuple(resynced)))
        self.counters["legs_resynced"] += len(orphans)

    def _lose_agent(self, connection_id: int, now: int) -> None:
        logger.warning("agent_lost", extra={"connection": connection_id})
        self.counters["agents_lost"] += 1
        for call in [call for call in self.calls.values() if call.agent == connection_id]:
            call.agent = None
            if call.phase is Phase.RINGING:
                self._offer(call, now)
                continue
            call.care = Care.ALONE
            call.since_ns = now
            call.playout.close(now)
        successors = self.links.introduced()
        if successors and any(call.agent is None for call in self.calls.values()):
            self._hand_over_orphans(successors[0])

    def _obey(self, connection_id: int, message: AgentMessage, now: int) -> None:
        match message:
            case Heartbeat() | Hello():
                pass
            case Capacity(calls=calls):
                self.links.set_capacity(connection_id, calls)
            case Phrase():
                self._phrases.keep(message)
            case _:
                call = self.calls.get(message.leg_id)
                # A message may cross the end of its leg, or its handing over, on the way.
                if call is not None and call.agent == connection_id:
                    self._obey_for_call(call, message, now)

    def _obey_for_call(
        self,
        call: C,
        message: Accept | Refuse | Play | Pause | Resume | Stop | SendDtmf | Transfer | HangUp,
        now: int,
    ) -> None:
        match message:
            case Accept():
                if call.phase is Phase.RINGING:
                    call.phase = Phase.ANSWERED
                    self._wire.answer(call, now)
            case Refuse(status=status, retry_after_s=retry_after_s):
                if call.phase is Phase.RINGING:
                    status = status if 400 <= status <= 699 else 480
                    self._reject(call, status, "refused_by_agent", now, retry_after_s)
            case Play(utterance_id=utterance_id, pcm=pcm, final=final):
                # After HangUp or Transfer only what was queued before it is played: who goes on must not stay for ever.
                if call.phase is not Phase.ENDING:
                    call.playout.play(utterance_id, pcm, final, now)
            case Pause():
                call.playout.pause(now)
                self._wire.silence(call)
            case Resume():
                call.playout.resume(now)
            case Stop():
                call.playout.stop(now)
                self._wire.silence(call)
            case SendDtmf(digits=digits):
                self._wire.send_dtmf(call, digits)
            case Transfer(target=target):
                self._end_after_playing(call, Ending(LegEndCause.LOCAL_HANGUP, target), now)
            case HangUp():
                self._end_after_playing(call, Ending(LegEndCause.LOCAL_HANGUP), now)
            case _:
                assert_never(message)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────

    def take(self, call: C, now: int) -> None:
        """Take in a call that rings: offer it to an agent, or refuse it where there is none."""
        self.calls[call.leg_id] = call
        self._offer(call, now)

    def confirm(self, call: C) -> None:
        """Take in that an answered call is up."""
        # A caller whose agent died in between is alone, not talking to anyone; care goes on from there.
        call.phase = Phase.TALKING if call.ending is None else Phase.ENDING
        self.counters["answered"] += 1

    def count_refusal(self, status: int, why: str) -> None:
        """Count a caller who was turned away."""
        self.counters["refused"] += 1
        self.counters[f"refused_{why}"] += 1
        logger.info("call_refused", extra={"status": status, "reason": why})

    def follow_transfer(self, call: C, status: int, final: bool, now: int) -> None:
        """Take in how a transfer goes; a call whose transfer failed goes on."""
        self.links.tell(call.agent, TransferProgress(call.leg_id, status, final))
        if not final or 200 <= status < 300 or call.phase is not Phase.TRANSFERRING:
            return
        if call.ending is not None and call.ending.cause is LegEndCause.AGENT_LOST:
            self.hang_up(call, LegEndCause.AGENT_LOST, now)
            return
        call.phase = Phase.TALKING
        call.ending = None

    def hang_up(self, call: C, cause: LegEndCause, now: int) -> None:
        """End a call from our side, whatever its phase."""
        call.end_cause = cause
        if call.phase is Phase.RINGING:
            why = "shutting_down" if cause is LegEndCause.SHUTDOWN else "no_agent"
            self._reject(call, 503, why, now, self._limits.retry_after_s)
        else:
            self._wire.hang_up(call, now)

    def close(self, call: C, cause: LegEndCause) -> None:
        """Forget a call; its agent learns why."""
        if self.calls.pop(call.leg_id, None) is None:
            return
        self._wire.release(call)
        self.counters[f"ended_{cause.value}"] += 1
        statistics = call.statistics()
        self.counters["packets_received"] += statistics.packets_received
        self.counters["packets_sent"] += statistics.packets_sent
        self.counters["packets_lost"] += statistics.packets_lost
        self.counters["packets_late"] += statistics.packets_late
        self.counters["packets_rejected"] += statistics.packets_rejected
        logger.info("call_ended", extra={"call": call.offer.call_id, "cause": cause.value})
        self.links.tell(call.agent, LegEnded(call.leg_id, cause, statistics))

    def shut_down(self, now: int) -> None:
        """Tell every caller, then end every call, within the configured time."""
        if self._shutdown_ns is not None:
            return
        self._shutdown_ns = now + int(self._limits.shutdown_s * 1e9)
        for call in list(self.calls.values()):
            if call.up and call.phase is not Phase.TRANSFERRING:
                call.playout.stop(now)
                self._wire.silence(call)
                self._say(call, "shutting_down", now)
                self._end_after_playing(call, Ending(LegEndCause.SHUTDOWN), now)
            else:
                self.hang_up(call, LegEndCause.SHUTDOWN, now)

    def _agent_with_room(self) -> int | None:
        return self.links.with_room(
            Counter(call.agent for call in self.calls.values() if call.agent is not None)
        )

    def _offer(self, call: C, now: int) -> None:
        call.agent = self._agent_with_room()
        if call.agent is None:
            self._reject(call, 503, "no_agent", now, self._limits.retry_after_s)
            return
        call.since_ns = now
        self.links.tell(call.agent, call.offer)

    def _reject(self, call: C, status: int, why: str, now: int, retry_after_s: int = 0) -> None:
        self.count_refusal(status, why)
        self.close(call, LegEndCause.SHUTDOWN if why == "shutting_down" else LegEndCause.CANCELLED)
        self._wire.refuse(call, status, now, retry_after_s)

    # ── every tick ───────────────────────────────────────────────────────────────────────────────

    def begin_tick(self, now: int, ticks: int) -> None:
        """Look after the agents; then the door moves its media."""
        self._tick += ticks
        stalled_ns = now - self._ticked_ns
        self.links.tick(now, stalled_ns if self._ticked_ns and stalled_ns > STALL_NS else 0)
        self._ticked_ns = now

    def hear(self, call: C, offset: int, pcm: bytes) -> None:
        """Take in what a caller said since the last tick."""
        if call.agent is not None:
            # Also where nothing was heard: what was sent in this tick is told with it.
            audio = LegAudio(call.leg_id, offset, pcm, *call.playout.position)
            self._batches.setdefault(call.agent, []).append(audio)

    def end_tick(self, now: int) -> None:
        """Send the tick's audio, one message an agent, and look after every call."""
        batches, self._batches = self._batches, {}
        for connection_id, legs in batches.items():
            self.links.tell(connection_id, AudioBatch(self._tick, now, tuple(legs)))
        for call in list(self.calls.values()):
            self._watch_call(call, now)
        self._watch_shutdown(now)

    def _watch_call(self, call: C, now: int) -> None:
        match call.phase:
            case Phase.RINGING:
                if now - call.since_ns >= self._limits.offer_timeout_ms * 1_000_000:
                    self._reject(call, 503, "agent_silent", now, self._limits.retry_after_s)
            case Phase.ANSWERED:
                # The wire ends a call whose confirmation never comes.
                pass
            case Phase.TALKING:
                if call.care is not Care.ATTENDED:
                    self._care_for(call, now)
                if call.up and self._wire.has_lost_its_line(call, now):
                    self.hang_up(call, LegEndCause.MEDIA_TIMEOUT, now)
            case Phase.ENDING:
                self._watch_ending(call, now)
            case Phase.TRANSFERRING:
                pass
            case _:
                assert_never(call.phase)

    def _care_for(self, call: C, now: int) -> None:
        """Do what is due for a caller without an agent."""
        alone_ns = now - call.since_ns
        if alone_ns >= int(self._limits.agent_wait_s * 1e9):
            call.care = Care.GIVEN_UP
            self._say(call, "handing_over", now)
            self._end_after_playing(call, Ending(LegEndCause.AGENT_LOST, self._limits.handoff_target), now)
        elif call.care is Care.ALONE and alone_ns >= self._limits.one_moment_after_ms * 1_000_000:
            call.care = Care.CONSOLED
            self._say(call, "one_moment", now)

    def _say(self, call: C, name: str, now: int) -> None:
        pcm = self._phrases.get(name, call.offer.rate_hz)
        if pcm:
            call.playout.play(call.playout.newest_id + 1, pcm, True, now)

    def _end_after_playing(self, call: C, ending: Ending, now: int) -> None:
        if call.phase is Phase.RINGING:
            self.hang_up(call, ending.cause, now)
            return
        call.playout.close(now)
        call.ending = ending
        call.since_ns = now
        call.drained_ns = None
        if call.phase is not Phase.ANSWERED:
            call.phase = Phase.ENDING

    def _watch_ending(self, call: C, now: int) -> None:
        ending = call.ending
        assert ending is not None
        if not call.drained and now - call.since_ns < ENDING_LIMIT_NS:
            call.drained_ns = None
            return
        if call.drained_ns is None:
            call.drained_ns = now
        if now - call.drained_ns < DRAIN_TAIL_NS:
            return
        if ending.target:
            call.phase = Phase.TRANSFERRING
            self._wire.transfer(call, ending.target, now)
        else:
            self.hang_up(call, ending.cause, now)

    def _watch_shutdown(self, now: int) -> None:
        if self._shutdown_ns is None:
            return
        if not self.calls:
            self._empty_ns = self._empty_ns or now
        elif now >= self._shutdown_ns - SHUTDOWN_MARGIN_NS:
            for call in list(self.calls.values()):
                self.hang_up(call, LegEndCause.SHUTDOWN, now)
