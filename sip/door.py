"""The SIP door: calls between the user agent and the agents that speak the leg protocol. Sans-I/O.

It keeps every caller when an agent dies or hangs, tells them, and hands them to the agent that comes back. Everything
that waits is looked at once a tick; the sequence and its limits stand in ``docs/design/contracts.md``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from sip import call_media
from sip.address import Address
from sip.agent_table import AgentTable
from sip.call import Call, Care, Ending, Phase
from sip.call_media import MediaPacket
from sip.config import SipConfig
from sip.errors import RemoteProtocolError
from sip.leg_protocol import (
    VERSION,
    Accept,
    AgentMessage,
    AudioBatch,
    Capacity,
    DoorMessage,
    Dtmf,
    HangUp,
    Heartbeat,
    Hello,
    Hold,
    LegAudio,
    LegEndCause,
    LegEnded,
    Offer,
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
)
from sip.leg_protocol import TransferProgress as AgentTransferProgress
from sip.media_leg import MediaLeg, RtpIdentity
from sip.offer_answer import LocalMedia, make_answer, make_offer, read_answer
from sip.user_agent import (
    Answered,
    CallEnded,
    Confirmed,
    Event,
    Failed,
    IncomingCall,
    InfoReceived,
    Reoffer,
    Ringing,
    SendDatagram,
    TransferProgress,
    UserAgent,
)

logger = logging.getLogger(__name__)

STALL_NS: Final = 100_000_000
"""Ticks further apart than this mean that this process did not run."""
DRAIN_TAIL_NS: Final = 200_000_000
"""What was sent last still lies in the peer's jitter buffer; a BYE would cut it off."""
ENDING_LIMIT_NS: Final = 75_000_000_000
SHUTDOWN_MARGIN_NS: Final = 1_000_000_000
BYE_LINGER_NS: Final = 300_000_000
MAX_PHRASES: Final = 16
MAX_PHRASE_BYTES: Final = 20 * 16_000


class MediaPorts(Protocol):
    """Where RTP is received; the shell binds real sockets."""

    def open(self, leg_id: int, peer: str) -> Address | None:
        """Return the address to tell a peer at host ``peer``; None when no port is free."""
        ...

    def close(self, leg_id: int) -> None:
        """Give the leg's port back; one that has none is no error."""
        ...


@dataclass(frozen=True, slots=True)
class ToAgent:
    """A message for one connection."""

    connection_id: int
    message: DoorMessage


@dataclass(frozen=True, slots=True)
class CloseAgent:
    """Close a connection: it hangs, or does not speak the protocol."""

    connection_id: int


DoorOutput = SendDatagram | ToAgent | CloseAgent


class Door:
    """All calls of one sip process."""

    def __init__(
        self,
        config: SipConfig,
        user_agent: UserAgent,
        ports: MediaPorts,
        token: Callable[[int], str],
        *,
        pid: int = 0,
    ) -> None:
        """``token(n)`` returns n random hex characters."""
        self._config = config
        self._user_agent = user_agent
        self._ports = ports
        self._token = token
        self._pid = pid
        self._agents = AgentTable()
        self._calls: dict[int, Call] = {}
        self._phrases: dict[str, bytes] = {}
        self._outputs: list[DoorOutput] = []
        self._tick = 0
        self._ticked_ns = 0
        self._beat_ns = 0
        self._beats = 0
        self._shutdown_ns: int | None = None
        self._empty_ns: int | None = None
        self.counters: Counter[str] = Counter()

    # ── what the shell asks ──────────────────────────────────────────────────────────────────────

    def outputs(self) -> list[DoorOutput]:
        """Return and forget what is to be done; drain after every call."""
        outputs, self._outputs = self._outputs, []
        return outputs

    @property
    def legs(self) -> int:
        """Calls now."""
        return len(self._calls)

    @property
    def agent_pids(self) -> list[int]:
        """Process ids of the agents that have said Hello, the newest first."""
        return self._agents.pids()

    @property
    def agents(self) -> int:
        """Agents that have said Hello."""
        return len(self._agents.introduced())

    def finished(self, now: int) -> bool:
        """Return whether :meth:`shut_down` is done, or out of time."""
        if self._shutdown_ns is None:
            return False
        linger = self._empty_ns is not None and now - self._empty_ns >= BYE_LINGER_NS
        return linger or now >= self._shutdown_ns

    # ── what happened ────────────────────────────────────────────────────────────────────────────

    def receive_signalling(self, data: bytes, source: Address, now: int) -> None:
        """Take in one SIP datagram."""
        self._user_agent.receive_datagram(data, source, now)
        self._follow_user_agent(now)

    def receive_media(self, leg_id: int, data: bytes, source: tuple[str, int], now: int) -> None:
        """Take in one datagram from the leg's media port."""
        call = self._calls.get(leg_id)
        if call is not None:
            call.leg.receive(data, source, now)

    def connect_agent(self, connection_id: int, now: int) -> None:
        """Take in a new connection on the leg socket."""
        if not self._agents.connect(connection_id, now):
            self._outputs.append(CloseAgent(connection_id))

    def disconnect_agent(self, connection_id: int, now: int) -> None:
        """Take in that a connection is closed."""
        if self._agents.disconnect(connection_id):
            self._lose_agent(connection_id, now)

    def receive_from_agent(self, connection_id: int, message: object, now: int) -> None:
        """Take in one message of the leg protocol."""
        if not self._agents.is_known(connection_id):
            return
        self._agents.hear(connection_id, now)
        if isinstance(message, Hello):
            self._introduce(connection_id, message, now)
        elif not self._agents.is_introduced(connection_id) or not isinstance(message, AgentMessage):
            self.reject_agent(connection_id, now)
        else:
            self._obey(connection_id, message, now)
        self._follow_user_agent(now)

    def reject_agent(self, connection_id: int, now: int) -> None:
        """Close a connection that does not keep to the protocol."""
        if self._agents.disconnect(connection_id):
            logger.warning("agent_rejected", extra={"connection": connection_id})
            self._outputs.append(CloseAgent(connection_id))
            self._lose_agent(connection_id, now)

    def shut_down(self, now: int) -> None:
        """Tell every caller, then end every call, within the configured time."""
        if self._shutdown_ns is not None:
            return
        self._shutdown_ns = now + int(self._config.shutdown_s * 1e9)
        for call in list(self._calls.values()):
            if call.up and call.phase is not Phase.TRANSFERRING:
                call.leg.playout.stop(now)
                self._say(call, "shutting_down", now)
                self._end_after_playing(call, Ending(LegEndCause.SHUTDOWN), now)
            else:
                self._hang_up(call, LegEndCause.SHUTDOWN, now)
        self._follow_user_agent(now)

    def tick(self, now: int, ticks: int = 1) -> list[MediaPacket]:
        """Drive everything by one tick; return what is to be sent. ``ticks`` counts skipped ones too."""
        self._tick += ticks
        stalled_ns = now - self._ticked_ns
        if self._ticked_ns and stalled_ns > STALL_NS:
            self._agents.forgive(stalled_ns)
        self._ticked_ns = now
        deadline = self._user_agent.deadline()
        if deadline is not None and deadline <= now:
            self._user_agent.handle_timeout(now)
        self._watch_agents(now)
        packets: list[MediaPacket] = []
        batches: dict[int, list[LegAudio]] = {}
        for call in self._calls.values():
            if call.up:
                self._tick_media(call, packets, batches, now, ticks)
        for connection_id, legs in batches.items():
            self._tell(connection_id, AudioBatch(self._tick, now, tuple(legs)))
        for call in list(self._calls.values()):
            self._watch_call(call, now)
        self._watch_shutdown(now)
        self._follow_user_agent(now)
        return packets

    # ── agents ───────────────────────────────────────────────────────────────────────────────────

    def _introduce(self, connection_id: int, hello: Hello, now: int) -> None:
        if hello.version != VERSION or hello.role != "agent" or hello.capacity < 0 or hello.heartbeat_ms <= 0:
            logger.warning("agent_version", extra={"version": hello.version, "expected": VERSION})
            self.reject_agent(connection_id, now)
            return
        self._agents.introduce(connection_id, hello)
        config = self._config
        answer = Hello(VERSION, "door", "sip", self._pid, config.call_limit, config.heartbeat_ms)
        self._tell(connection_id, answer)
        self._hand_over_orphans(connection_id)
        logger.info("agent_connected", extra={"pid": hello.pid, "capacity": hello.capacity})

    def _hand_over_orphans(self, connection_id: int) -> None:
        orphans = [
            call
            for call in self._calls.values()
            if call.agent is None and call.phase is not Phase.RINGING and call.care is not Care.GIVEN_UP
        ]
        resynced = []
        for call in orphans:
            call.agent = connection_id
            call.care = Care.ATTENDED
            playout = call.leg.playout
            resynced.append(
                ResyncedLeg(call.offer, call.leg.offset, playout.newest_id, playout.newest_played)
            )
        self._tell(connection_id, Resync(tuple(resynced)))
        self.counters["legs_resynced"] += len(orphans)

    def _lose_agent(self, connection_id: int, now: int) -> None:
        logger.warning("agent_lost", extra={"connection": connection_id})
        self.counters["agents_lost"] += 1
        for call in [call for call in self._calls.values() if call.agent == connection_id]:
            call.agent = None
            if call.phase is Phase.RINGING:
                self._offer(call, now)
                continue
            call.care = Care.ALONE
            call.since_ns = now
            call.leg.playout.close(now)
        successors = self._agents.introduced()
        if successors and any(call.agent is None for call in self._calls.values()):
            self._hand_over_orphans(successors[0])

    def _watch_agents(self, now: int) -> None:
        for connection_id in self._agents.hung(now):
            logger.warning("agent_hung", extra={"connection": connection_id})
            self._agents.disconnect(connection_id)
            self._outputs.append(CloseAgent(connection_id))
            self._lose_agent(connection_id, now)
        if now - self._beat_ns >= self._config.heartbeat_ms * 1_000_000:
            self._beat_ns = now
            self._beats += 1
            for connection_id in self._agents.introduced():
                self._tell(connection_id, Heartbeat(self._beats))

    def _tell(self, connection_id: int | None, message: DoorMessage) -> None:
        if connection_id is not None:
            self._outputs.append(ToAgent(connection_id, message))

    def _obey(self, connection_id: int, message: AgentMessage, now: int) -> None:
        match message:
            case Heartbeat() | Hello():
                pass
            case Capacity(calls=calls):
                self._agents.set_capacity(connection_id, max(0, calls))
            case Phrase():
                self._keep_phrase(message)
            case _:
                call = self._calls.get(message.leg_id)
                # A message may cross the end of its leg, or its handing over, on the way.
                if call is not None and call.agent == connection_id:
                    self._obey_for_call(call, message, now)

    def _obey_for_call(
        self,
        call: Call,
        message: Accept | Refuse | Play | Pause | Resume | Stop | SendDtmf | Transfer | HangUp,
        now: int,
    ) -> None:
        playout = call.leg.playout
        match message:
            case Accept():
                if call.phase is Phase.RINGING:
                    call.phase = Phase.ANSWERED
                    self._user_agent.answer(call.leg_id, call.sdp, now)
            case Refuse(status=status, retry_after_s=retry_after_s):
                if call.phase is Phase.RINGING:
                    status = status if 400 <= status <= 699 else 480
                    self._reject(call, status, "refused_by_agent", now, retry_after_s)
            case Play(utterance_id=utterance_id, pcm=pcm, final=final):
                # After HangUp or Transfer only what was queued before it is played: who goes on must not stay for ever.
                if call.phase is not Phase.ENDING:
                    playout.play(utterance_id, pcm, final, now)
            case Pause():
                playout.pause(now)
            case Resume():
                playout.resume(now)
            case Stop():
                playout.stop(now)
            case SendDtmf(digits=digits):
                call.leg.dtmf.send(digits)
            case Transfer(target=target):
                self._end_after_playing(call, Ending(LegEndCause.LOCAL_HANGUP, target), now)
            case HangUp():
                self._end_after_playing(call, Ending(LegEndCause.LOCAL_HANGUP), now)
            case _:
                assert_never(message)

    def _keep_phrase(self, phrase: Phrase) -> None:
        known = phrase.name in self._phrases or len(self._phrases) < MAX_PHRASES
        if phrase.rate_hz != call_media.RATE_HZ or len(phrase.pcm) > MAX_PHRASE_BYTES or not known:
            logger.warning("phrase_refused", extra={"rate_hz": phrase.rate_hz, "bytes": len(phrase.pcm)})
            return
        self._phrases[phrase.name] = phrase.pcm

    # ── signalling ───────────────────────────────────────────────────────────────────────────────

    def _follow_user_agent(self, now: int) -> None:
        # A reaction to one output may make further ones.
        while outputs := self._user_agent.outputs():
            for output in outputs:
                if isinstance(output, SendDatagram):
                    self._outputs.append(output)
                else:
                    self._follow(output, now)

    def _follow(self, event: Event, now: int) -> None:
        if isinstance(event, IncomingCall):
            self._take_call(event, now)
            return
        call = self._calls.get(event.leg_id)
        if call is None:
            return
        call.signalled_ns = now
        match event:
            case Confirmed(sdp=sdp):
                self._confirm(call, sdp, now)
            case CallEnded(cause=cause):
                ours = call.end_cause if cause is LegEndCause.LOCAL_HANGUP else None
                self._close(call, ours or cause)
            case Reoffer(sdp=sdp):
                self._renegotiate(call, sdp, now)
            case TransferProgress(status=status, final=final):
                self._follow_transfer(call, status, final, now)
            case InfoReceived(content_type=content_type, body=body):
                press = call_media.press_of_info(content_type, body)
                if press is not None and call_media.is_new_press(call, press, "info", now):
                    self._tell(call.agent, Dtmf(call.leg_id, press.digit, press.duration_ms))
            case Ringing() | Answered() | Failed():
                pass
            case _:
                assert_never(event)

    def _take_call(self, event: IncomingCall, now: int) -> None:
        self.counters["offered"] += 1
        agent = self._agent_with_room()
        if self._shutdown_ns is not None or agent is None:
            reason = "shutting_down" if self._shutdown_ns is not None else self._why_no_room()
            self._refuse(event.leg_id, 503, reason, now, self._config.retry_after_s)
            return
        address = self._ports.open(event.leg_id, event.source.host)
        if address is None:
            self._refuse(event.leg_id, 503, "no_port", now, self._config.retry_after_s)
            return
        local = LocalMedia(address, session_id=int(self._token(15), 16))
        try:
            answer = None if event.sdp is None else make_answer(event.sdp, local, event.source)
        except RemoteProtocolError as error:
            self._ports.close(event.leg_id)
            self._refuse(event.leg_id, error.status, "unsupported", now)
            return
        facts = dict(event.facts)
        if answer is not None:
            facts["codec"] = answer.media.codec.name
        offer = Offer(event.leg_id, self._token(32), call_media.RATE_HZ, event.caller, event.callee, facts)
        identity = RtpIdentity(int(self._token(8), 16), int(self._token(4), 16), int(self._token(8), 16))
        call = Call(
            offer=offer,
            local=local,
            answer=answer,
            sdp=make_offer(local) if answer is None else answer.sdp,
            signalling_host=event.source.host,
            leg=MediaLeg(event.leg_id, identity),
            signalled_ns=now,
        )
        self._calls[call.leg_id] = call
        self._user_agent.ring(call.leg_id, now)
        self._offer(call, now)

    def _agent_with_room(self) -> int | None:
        if len(self._calls) >= self._config.call_limit:
            return None
        calls_of = Counter(call.agent for call in self._calls.values() if call.agent is not None)
        return self._agents.with_room(calls_of)

    def _why_no_room(self) -> str:
        return "busy" if self._agents.introduced() else "no_agent"

    def _offer(self, call: Call, now: int) -> None:
        """Offer a ringing call to an agent, or refuse it where there is none."""
        call.agent = self._agents.with_room(
            Counter(other.agent for other in self._calls.values() if other.agent is not None)
        )
        if call.agent is None:
            self._reject(call, 503, "no_agent", now, self._config.retry_after_s)
            return
        call.since_ns = now
        self._tell(call.agent, call.offer)

    def _refuse(self, leg_id: int, status: int, why: str, now: int, retry_after_s: int = 0) -> None:
        self.counters["refused"] += 1
        self.counters[f"refused_{why}"] += 1
        logger.info("call_refused", extra={"status": status, "reason": why})
        self._user_agent.reject(leg_id, status, now, retry_after_s)

    def _reject(self, call: Call, status: int, why: str, now: int, retry_after_s: int = 0) -> None:
        """Refuse a call that an agent may know of."""
        self._refuse(call.leg_id, status, why, now, retry_after_s)
        self._close(call, LegEndCause.SHUTDOWN if why == "shutting_down" else LegEndCause.CANCELLED)

    def _confirm(self, call: Call, sdp: str | None, now: int) -> None:
        try:
            if call.phase is Phase.ANSWERED and call.leg.media is None:
                media = call.answer.media if call.answer is not None else None
                if media is None:
                    media = read_answer(sdp or "", call.local, Address(call.signalling_host, 0))
                call.leg.start(media, call.signalling_host, now)
                # A caller whose agent died in between is alone, not talking to anyone; care goes on from there.
                call.phase = Phase.TALKING if call.ending is None else Phase.ENDING
                self.counters["answered"] += 1
                logger.info("call_answered", extra={"call": call.offer.call_id, "codec": media.codec.name})
            elif sdp is not None and call.leg.media is not None:
                self._take_media(call, read_answer(sdp, call.local, Address(call.signalling_host, 0)), now)
        except RemoteProtocolError:
            self._hang_up(call, LegEndCause.PROTOCOL_ERROR, now)

    def _renegotiate(self, call: Call, sdp: str | None, now: int) -> None:
        if not call.up:
            self._user_agent.reject_reoffer(call.leg_id, 491, now)
            return
        source = Address(call.signalling_host, 0)
        try:
            if sdp is None:
                call_media.describe(call, lambda local: make_offer(local))
                self._user_agent.accept_reoffer(call.leg_id, call.sdp, now)
                return
            call_media.describe(call, lambda local: make_answer(sdp, local, source).sdp)
            media = make_answer(sdp, call.local, source).media
        except RemoteProtocolError as error:
            self._user_agent.reject_reoffer(call.leg_id, error.status, now)
            return
        self._user_agent.accept_reoffer(call.leg_id, call.sdp, now)
        self._take_media(call, media, now)

    def _take_media(self, call: Call, media: call_media.NegotiatedMedia, now: int) -> None:
        before = call.leg.media
        call.leg.renegotiate(media, now)
        if before is not None and before.held != media.held:
            self._tell(call.agent, Hold(call.leg_id, media.held))

    def _follow_transfer(self, call: Call, status: int, final: bool, now: int) -> None:
        self._tell(call.agent, AgentTransferProgress(call.leg_id, status, final))
        if not final or 200 <= status < 300 or call.phase is not Phase.TRANSFERRING:
            return
        if call.ending is not None and call.ending.cause is LegEndCause.AGENT_LOST:
            self._hang_up(call, LegEndCause.AGENT_LOST, now)
            return
        call.phase = Phase.TALKING
        call.ending = None

    def _hang_up(self, call: Call, cause: LegEndCause, now: int) -> None:
        call.end_cause = cause
        if call.phase is Phase.RINGING:
            why = "shutting_down" if cause is LegEndCause.SHUTDOWN else "no_agent"
            self._reject(call, 503, why, now, self._config.retry_after_s)
        else:
            self._user_agent.hang_up(call.leg_id, now)

    def _close(self, call: Call, cause: LegEndCause) -> None:
        """Forget a call; its agent learns why."""
        del self._calls[call.leg_id]
        self._ports.close(call.leg_id)
        self.counters[f"ended_{cause.value}"] += 1
        statistics = call.leg.statistics()
        self.counters["packets_received"] += statistics.packets_received
        self.counters["packets_sent"] += statistics.packets_sent
        self.counters["packets_lost"] += statistics.packets_lost
        self.counters["packets_late"] += statistics.packets_late
        self.counters["packets_rejected"] += statistics.packets_rejected
        logger.info("call_ended", extra={"call": call.offer.call_id, "cause": cause.value})
        self._tell(call.agent, LegEnded(call.leg_id, cause, statistics))

    # ── every tick ───────────────────────────────────────────────────────────────────────────────

    def _tick_media(
        self,
        call: Call,
        packets: list[MediaPacket],
        batches: dict[int, list[LegAudio]],
        now: int,
        ticks: int,
    ) -> None:
        leg = call.leg
        packet = leg.next_packet(now, ticks)
        if packet is not None:
            packets.append((call.leg_id, packet, leg.destination))
        offset, pcm = leg.take_audio(now)
        presses = leg.take_presses(now)
        marks = leg.playout.marks()
        if call.agent is None:
            return
        if pcm:
            batches.setdefault(call.agent, []).append(LegAudio(call.leg_id, offset, pcm))
        for mark in marks:
            self._tell(call.agent, mark)
        for press in presses:
            if call_media.is_new_press(call, press, "rtp", now):
                self._tell(call.agent, Dtmf(call.leg_id, press.digit, press.duration_ms))

    def _watch_call(self, call: Call, now: int) -> None:
        match call.phase:
            case Phase.RINGING:
                if now - call.since_ns >= self._config.offer_timeout_ms * 1_000_000:
                    self._reject(call, 503, "agent_silent", now, self._config.retry_after_s)
            case Phase.ANSWERED:
                # The user agent ends a call whose ACK never comes.
                pass
            case Phase.TALKING:
                if call.care is not Care.ATTENDED:
                    self._care_for(call, now)
                if call.up and self._has_lost_its_line(call, now):
                    self._hang_up(call, LegEndCause.MEDIA_TIMEOUT, now)
            case Phase.ENDING:
                self._watch_ending(call, now)
            case Phase.TRANSFERRING:
                pass
            case _:
                assert_never(call.phase)

    def _care_for(self, call: Call, now: int) -> None:
        """Do what is due for a caller without an agent."""
        alone_ns = now - call.since_ns
        if alone_ns >= int(self._config.agent_wait_s * 1e9):
            call.care = Care.GIVEN_UP
            self._say(call, "handing_over", now)
            self._end_after_playing(call, Ending(LegEndCause.AGENT_LOST, self._config.handoff_target), now)
        elif call.care is Care.ALONE and alone_ns >= self._config.one_moment_after_ms * 1_000_000:
            call.care = Care.CONSOLED
            self._say(call, "one_moment", now)

    def _has_lost_its_line(self, call: Call, now: int) -> bool:
        media = call.leg.media
        last_ns = max(call.leg.heard_ns, call.signalled_ns)
        held = media is None or media.held
        return not held and now - last_ns >= int(self._config.media_timeout_s * 1e9)

    def _say(self, call: Call, name: str, now: int) -> None:
        pcm = self._phrases.get(name)
        if pcm:
            call.leg.playout.play(call.leg.playout.newest_id + 1, pcm, True, now)

    def _end_after_playing(self, call: Call, ending: Ending, now: int) -> None:
        if call.phase is Phase.RINGING:
            self._hang_up(call, ending.cause, now)
            return
        call.leg.playout.close(now)
        call.ending = ending
        call.since_ns = now
        call.drained_ns = None
        if call.phase is not Phase.ANSWERED:
            call.phase = Phase.ENDING

    def _watch_ending(self, call: Call, now: int) -> None:
        ending = call.ending
        assert ending is not None
        if not call.leg.drained and now - call.since_ns < ENDING_LIMIT_NS:
            call.drained_ns = None
            return
        if call.drained_ns is None:
            call.drained_ns = now
        if now - call.drained_ns < DRAIN_TAIL_NS:
            return
        if ending.target:
            call.phase = Phase.TRANSFERRING
            self._user_agent.transfer(call.leg_id, ending.target, now)
        else:
            self._hang_up(call, ending.cause, now)

    def _watch_shutdown(self, now: int) -> None:
        if self._shutdown_ns is None:
            return
        if not self._calls:
            self._empty_ns = self._empty_ns or now
        elif now >= self._shutdown_ns - SHUTDOWN_MARGIN_NS:
            for call in list(self._calls.values()):
                self._hang_up(call, LegEndCause.SHUTDOWN, now)
