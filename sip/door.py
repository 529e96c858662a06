"""The SIP door: the user agent and RTP as the wire of a :class:`sip.switchboard.Switchboard`. Sans-I/O."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol, assert_never

from sip import call_media
from sip.address import Address
from sip.agent_links import CloseAgent, ToAgent
from sip.attended_call import Phase
from sip.call import Call
from sip.call_media import MediaPacket
from sip.config import SipConfig
from sip.errors import RemoteProtocolError
from sip.leg_protocol import Dtmf, Hold, LegEndCause, Offer
from sip.media_leg import MediaLeg, RtpIdentity
from sip.offer_answer import LocalMedia, make_answer, make_offer, read_answer
from sip.switchboard import Switchboard
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

__all__ = ["CloseAgent", "Door", "DoorOutput", "MediaPorts", "SendDatagram", "ToAgent"]


class MediaPorts(Protocol):
    """Where RTP is received; the shell binds real sockets."""

    def open(self, leg_id: int, peer: str) -> Address | None:
        """Return the address to tell a peer at host ``peer``; None when no port is free."""
        ...

    def close(self, leg_id: int) -> None:
        """Give the leg's port back; one that has none is no error."""
        ...


DoorOutput = SendDatagram | ToAgent | CloseAgent


class _SipWire:
    """What the switchboard asks of SIP."""

    def __init__(self, config: SipConfig, user_agent: UserAgent, ports: MediaPorts) -> None:
        self._config = config
        self._user_agent = user_agent
        self._ports = ports

    def answer(self, call: Call, now: int) -> None:
        self._user_agent.answer(call.leg_id, call.sdp, now)

    def refuse(self, call: Call, status: int, now: int, retry_after_s: int) -> None:
        self._user_agent.reject(call.leg_id, status, now, retry_after_s)

    def hang_up(self, call: Call, now: int) -> None:
        self._user_agent.hang_up(call.leg_id, now)

    def transfer(self, call: Call, target: str, now: int) -> None:
        self._user_agent.transfer(call.leg_id, target, now)

    def send_dtmf(self, call: Call, digits: str) -> None:
        call.leg.dtmf.send(digits)

    def silence(self, call: Call) -> None:
        """What was sent lies in the peer's jitter buffer, which RTP cannot empty."""

    def has_lost_its_line(self, call: Call, now: int) -> bool:
        media = call.leg.media
        last_ns = max(call.leg.heard_ns, call.signalled_ns)
        held = media is None or media.held
        return not held and now - last_ns >= int(self._config.media_timeout_s * 1e9)

    def release(self, call: Call) -> None:
        self._ports.close(call.leg_id)


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
        wire = _SipWire(config, user_agent, ports)
        self._board: Switchboard[Call] = Switchboard(
            "sip", config, wire, rates_hz=(call_media.RATE_HZ,), pid=pid
        )
        self._datagrams: list[DoorOutput] = []

    # ── what the shell asks ──────────────────────────────────────────────────────────────────────

    def outputs(self) -> list[DoorOutput]:
        """Return and forget what is to be done; drain after every call."""
        datagrams, self._datagrams = self._datagrams, []
        return [*datagrams, *self._board.outputs()]

    @property
    def legs(self) -> int:
        """Calls now."""
        return len(self._board.calls)

    @property
    def counters(self) -> Counter[str]:
        """What happened so far, by name."""
        return self._board.counters

    @property
    def agent_pids(self) -> list[int]:
        """Process ids of the agents that have said Hello, the newest first."""
        return self._board.links.pids

    @property
    def agents(self) -> int:
        """Agents that have said Hello."""
        return len(self._board.links.introduced())

    def finished(self, now: int) -> bool:
        """Return whether :meth:`shut_down` is done, or out of time."""
        return self._board.finished(now)

    # ── what happened ────────────────────────────────────────────────────────────────────────────

    def receive_signalling(self, data: bytes, source: Address, now: int) -> None:
        """Take in one SIP datagram."""
        self._user_agent.receive_datagram(data, source, now)
        self._follow_user_agent(now)

    def receive_media(self, leg_id: int, data: bytes, source: tuple[str, int], now: int) -> None:
        """Take in one datagram from the leg's media port."""
        call = self._board.calls.get(leg_id)
        if call is not None:
            call.leg.receive(data, source, now)

    def connect_agent(self, connection_id: int, now: int) -> None:
        """Take in a new connection on the leg socket."""
        self._board.links.connect(connection_id, now)

    def disconnect_agent(self, connection_id: int, now: int) -> None:
        """Take in that a connection is closed."""
        self._board.links.disconnect(connection_id, now)
        self._follow_user_agent(now)

    def receive_from_agent(self, connection_id: int, message: object, now: int) -> None:
        """Take in one message of the leg protocol."""
        self._board.receive(connection_id, message, now)
        self._follow_user_agent(now)

    def reject_agent(self, connection_id: int, now: int) -> None:
        """Close a connection that does not keep to the protocol."""
        self._board.links.reject(connection_id, now)
        self._follow_user_agent(now)

    def shut_down(self, now: int) -> None:
        """Tell every caller, then end every call, within the configured time."""
        self._board.shut_down(now)
        self._follow_user_agent(now)

    def tick(self, now: int, ticks: int = 1) -> list[MediaPacket]:
        """Drive everything by one tick; return what is to be sent. ``ticks`` counts skipped ones too."""
        deadline = self._user_agent.deadline()
        if deadline is not None and deadline <= now:
            self._user_agent.handle_timeout(now)
        self._board.begin_tick(now, ticks)
        packets: list[MediaPacket] = []
        for call in self._board.calls.values():
            if call.up:
                self._tick_media(call, packets, now, ticks)
        self._board.end_tick(now)
        self._follow_user_agent(now)
        return packets

    # ── signalling ───────────────────────────────────────────────────────────────────────────────

    def _follow_user_agent(self, now: int) -> None:
        # A reaction to one output may make further ones.
        while outputs := self._user_agent.outputs():
            for output in outputs:
                if isinstance(output, SendDatagram):
                    self._datagrams.append(output)
                else:
                    self._follow(output, now)

    def _follow(self, event: Event, now: int) -> None:
        if isinstance(event, IncomingCall):
            self._take_call(event, now)
            return
        call = self._board.calls.get(event.leg_id)
        if call is None:
            return
        call.signalled_ns = now
        match event:
            case Confirmed(sdp=sdp):
                self._confirm(call, sdp, now)
            case CallEnded(cause=cause):
                ours = call.end_cause if cause is LegEndCause.LOCAL_HANGUP else None
                self._board.close(call, ours or cause)
            case Reoffer(sdp=sdp):
                self._renegotiate(call, sdp, now)
            case TransferProgress(status=status, final=final):
                self._board.follow_transfer(call, status, final, now)
            case InfoReceived(content_type=content_type, body=body):
                press = call_media.press_of_info(content_type, body)
                if press is not None and call_media.is_new_press(call, press, "info", now):
                    self._board.links.tell(call.agent, Dtmf(call.leg_id, press.digit, press.duration_ms))
            case Ringing() | Answered() | Failed():
                pass
            case _:
                assert_never(event)

    def _take_call(self, event: IncomingCall, now: int) -> None:
        self.counters["offered"] += 1
        if reason := self._board.why_no_room():
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
        self._user_agent.ring(call.leg_id, now)
        self._board.take(call, now)

    def _refuse(self, leg_id: int, status: int, why: str, now: int, retry_after_s: int = 0) -> None:
        self._board.count_refusal(status, why)
        self._user_agent.reject(leg_id, status, now, retry_after_s)

    def _confirm(self, call: Call, sdp: str | None, now: int) -> None:
        try:
            if call.phase is Phase.ANSWERED and call.leg.media is None:
                media = call.answer.media if call.answer is not None else None
                if media is None:
                    media = read_answer(sdp or "", call.local, Address(call.signalling_host, 0))
                call.leg.start(media, call.signalling_host, now)
                self._board.confirm(call)
                logger.info("call_answered", extra={"call": call.offer.call_id, "codec": media.codec.name})
            elif sdp is not None and call.leg.media is not None:
                self._take_media(call, read_answer(sdp, call.local, Address(call.signalling_host, 0)), now)
        except RemoteProtocolError:
            self._board.hang_up(call, LegEndCause.PROTOCOL_ERROR, now)

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
            self._board.links.tell(call.agent, Hold(call.leg_id, media.held))

    # ── every tick ───────────────────────────────────────────────────────────────────────────────

    def _tick_media(self, call: Call, packets: list[MediaPacket], now: int, ticks: int) -> None:
        leg = call.leg
        packet = leg.next_packet(now, ticks)
        if packet is not None:
            packets.append((call.leg_id, packet, leg.destination))
        offset, pcm = leg.take_audio(now)
        presses = leg.take_presses(now)
        marks = leg.playout.marks()
        if call.agent is None:
            return
        self._board.hear(call, offset, pcm)
        for mark in marks:
            self._board.links.tell(call.agent, mark)
        for press in presses:
            if call_media.is_new_press(call, press, "rtp", now):
                self._board.links.tell(call.agent, Dtmf(call.leg_id, press.digit, press.duration_ms))
