"""The WebSocket door: connections of clients as the wire of a :class:`sip.switchboard.Switchboard`. Sans-I/O.

A client rings with its opening request and is answered by the upgrade, so that one who cannot be served learns it by an
ordinary HTTP status. Everything that waits is looked at once a tick.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

from sip.agent_links import CloseAgent, ToAgent
from sip.attended_call import AttendedCall, Phase
from sip.leg_protocol import Dtmf, LegEndCause, LegStatistics, Mark, Offer
from sip.playout import Playout
from sip.switchboard import Switchboard
from sip.websocket import wire
from sip.websocket.caller_audio import CallerAudio
from sip.websocket.config import WebSocketConfig
from sip.websocket.played_marks import PlayedMarks

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_NS: Final = 5_000_000_000
"""Time between the agent's Accept and the upgrade."""
NOT_IMPLEMENTED: Final = 501
_NORMAL: Final = 1000
_BUSY: Final = 503


@dataclass(frozen=True, slots=True)
class AnswerClient:
    """Upgrade the connection: the call is accepted."""

    leg_id: int


@dataclass(frozen=True, slots=True)
class RefuseClient:
    """Answer the opening request by 503."""

    leg_id: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class ToClient:
    """One message: audio as bytes, an event as text."""

    leg_id: int
    message: bytes | str


@dataclass(frozen=True, slots=True)
class CloseClient:
    """Close the connection after what was sent."""

    leg_id: int
    code: int


ClientOutput = AnswerClient | RefuseClient | ToClient | CloseClient
DoorOutput = ClientOutput | ToAgent | CloseAgent


@dataclass(slots=True, kw_only=True)
class WebSocketCall(AttendedCall):
    """One client's media beside what the switchboard knows."""

    queue: Playout
    audio: CallerAudio | None = None
    """None before the upgrade."""
    marks: PlayedMarks = field(default_factory=PlayedMarks)
    heard_ns: int = 0
    answered_ns: int = 0
    uncleared: bool = False
    """Audio was sent since the last ``clear``."""
    received: int = 0
    sent: int = 0

    @property
    def playout(self) -> Playout:
        """What is still to be said to the caller."""
        return self.queue

    @property
    def offset(self) -> int:
        """Sample clock of the caller's audio."""
        return self.audio.offset if self.audio is not None else 0

    @property
    def drained(self) -> bool:
        """Return whether everything queued was sent, and played where the client says what it plays."""
        return self.queue.drained and self.marks.idle

    @property
    def up(self) -> bool:
        """Return whether media flows."""
        return self.audio is not None and self.phase in (Phase.TALKING, Phase.ENDING, Phase.TRANSFERRING)

    def statistics(self) -> LegStatistics:
        """Return the counters of its media: messages with audio, both ways."""
        return LegStatistics(packets_received=self.received, packets_sent=self.sent)


class _ClientWire:
    """What the switchboard asks of the clients' connections."""

    def __init__(self, config: WebSocketConfig, send: Callable[[ClientOutput], None]) -> None:
        self._config = config
        self._send = send
        self.board: Switchboard[WebSocketCall] | None = None

    def answer(self, call: WebSocketCall, now: int) -> None:
        call.answered_ns = now
        self._send(AnswerClient(call.leg_id))

    def refuse(self, call: WebSocketCall, status: int, now: int, retry_after_s: int) -> None:
        """Whatever the agent's reason: to a tool it means that nobody takes the call now."""
        del status, now
        self._send(RefuseClient(call.leg_id, retry_after_s or self._config.retry_after_s))

    def hang_up(self, call: WebSocketCall, now: int) -> None:
        del now
        assert self.board is not None
        cause = call.end_cause or LegEndCause.LOCAL_HANGUP
        self.end(call, cause)
        self.board.close(call, cause)

    def end(self, call: WebSocketCall, cause: LegEndCause) -> None:
        """Tell the client that the call is over."""
        self._send(ToClient(call.leg_id, wire.end_event(cause.value)))
        self._send(CloseClient(call.leg_id, _NORMAL))

    def transfer(self, call: WebSocketCall, target: str, now: int) -> None:
        """There is no transfer on a WebSocket: the agent is told and goes on."""
        del target
        assert self.board is not None
        self.board.follow_transfer(call, NOT_IMPLEMENTED, True, now)

    def send_dtmf(self, call: WebSocketCall, digits: str) -> None:
        self._send(ToClient(call.leg_id, wire.dtmf_event(digits)))

    def silence(self, call: WebSocketCall) -> None:
        marks = call.queue.marks()
        if not call.uncleared:
            call.marks.add(marks)
            return
        call.uncleared = False
        call.marks.clear(marks)
        self._send(ToClient(call.leg_id, wire.clear_event()))

    def has_lost_its_line(self, call: WebSocketCall, now: int) -> bool:
        return now - call.heard_ns >= int(self._config.media_timeout_s * 1e9)

    def release(self, call: WebSocketCall) -> None:
        """The shell forgets a connection when it is closed."""


class WebSocketDoor:
    """All calls of one websocket process."""

    def __init__(self, config: WebSocketConfig, token: Callable[[int], str], *, pid: int = 0) -> None:
        """``token(n)`` returns n random hex characters."""
        self._config = config
        self._token = token
        self._client_outputs: list[DoorOutput] = []
        self._wire = _ClientWire(config, self._client_outputs_append)
        self._board: Switchboard[WebSocketCall] = Switchboard(
            "websocket", config, self._wire, rates_hz=wire.RATES_HZ, pid=pid
        )
        self._wire.board = self._board
        self._last_leg = 0

    def _client_outputs_append(self, output: ClientOutput) -> None:
        self._client_outputs.append(output)

    # ── what the shell asks ──────────────────────────────────────────────────────────────────────

    def outputs(self) -> list[DoorOutput]:
        """Return and forget what is to be done; drain after every call."""
        outputs = [*self._client_outputs, *self._board.outputs()]
        self._client_outputs.clear()
        return outputs

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

    # ── agents ───────────────────────────────────────────────────────────────────────────────────

    def connect_agent(self, connection_id: int, now: int) -> None:
        """Take in a new connection on the leg socket."""
        self._board.links.connect(connection_id, now)

    def disconnect_agent(self, connection_id: int, now: int) -> None:
        """Take in that a connection is closed."""
        self._board.links.disconnect(connection_id, now)

    def receive_from_agent(self, connection_id: int, message: object, now: int) -> None:
        """Take in one message of the leg protocol."""
        self._board.receive(connection_id, message, now)

    def reject_agent(self, connection_id: int, now: int) -> None:
        """Close a connection that does not keep to the protocol."""
        self._board.links.reject(connection_id, now)

    def shut_down(self, now: int) -> None:
        """Tell every caller, then end every call, within the configured time."""
        self._board.shut_down(now)

    # ── clients ──────────────────────────────────────────────────────────────────────────────────

    def ring(self, rate_hz: int, caller: str, now: int) -> int:
        """Take in a client's opening request; return the leg that is answered or refused by an output."""
        self._last_leg += 1
        leg_id = self._last_leg
        self.counters["offered"] += 1
        if reason := self._board.why_no_room():
            self._board.count_refusal(_BUSY, reason)
            self._client_outputs.append(RefuseClient(leg_id, self._config.retry_after_s))
            return leg_id
        facts = {"codec": f"PCM16/{rate_hz}"}
        offer = Offer(leg_id, self._token(32), rate_hz, caller, f"websocket:{wire.PATH}", facts)
        self._board.take(WebSocketCall(offer=offer, queue=Playout(leg_id, rate_hz)), now)
        return leg_id

    def open(self, leg_id: int, now: int) -> bool:
        """Take in that the connection is upgraded; False where the call has ended meanwhile."""
        call = self._board.calls.get(leg_id)
        if call is None or call.phase is not Phase.ANSWERED:
            return False
        rate_hz = call.offer.rate_hz
        call.audio = CallerAudio(rate_hz, now, _frame_samples(rate_hz))
        call.heard_ns = now
        self._board.confirm(call)
        self._client_outputs.append(ToClient(leg_id, wire.start_event(call.offer.call_id, rate_hz)))
        logger.info("call_answered", extra={"call": call.offer.call_id, "rate_hz": rate_hz})
        return True

    def receive(self, leg_id: int, message: bytes | str, now: int) -> None:
        """Take in one message of a client; one that breaks the rules ends its call."""
        call = self._board.calls.get(leg_id)
        if call is None or call.audio is None:
            return
        call.heard_ns = now
        try:
            if isinstance(message, bytes):
                call.audio.push(wire.read_audio(message), now)
                call.received += 1
            else:
                self._follow(call, wire.read_event(message), now)
        except wire.WireError as error:
            logger.warning("client_rejected", extra={"call": call.offer.call_id, "reason": error.code})
            self.counters[f"rejected_{error.code}"] += 1
            self._client_outputs.append(ToClient(leg_id, wire.error_event(error)))
            self._client_outputs.append(CloseClient(leg_id, error.close_code))
            self._board.close(call, LegEndCause.PROTOCOL_ERROR)

    def hear_pong(self, leg_id: int, now: int) -> None:
        """Take in a sign of life."""
        call = self._board.calls.get(leg_id)
        if call is not None:
            call.heard_ns = now

    def lose(self, leg_id: int) -> None:
        """Take in that a client's connection is closed."""
        call = self._board.calls.get(leg_id)
        if call is not None:
            ringing = call.audio is None
            self._board.close(call, LegEndCause.CANCELLED if ringing else LegEndCause.REMOTE_HANGUP)

    def drop(self, leg_id: int) -> None:
        """Take in that a client did not read what was sent for so long that its connection was cut."""
        call = self._board.calls.get(leg_id)
        if call is not None:
            self.counters["dropped_slow_reader"] += 1
            logger.warning("client_too_slow", extra={"call": call.offer.call_id})
            self._board.close(call, LegEndCause.MEDIA_TIMEOUT)

    def _follow(self, call: WebSocketCall, event: wire.ClientEvent, now: int) -> None:
        match event:
            case wire.Pressed(digit=digit):
                self._board.links.tell(call.agent, Dtmf(call.leg_id, digit, 0))
            case wire.HungUp():
                self._wire.end(call, LegEndCause.REMOTE_HANGUP)
                self._board.close(call, LegEndCause.REMOTE_HANGUP)
            case wire.Played(samples=samples):
                call.marks.report(samples, now)
            case _:
                assert_never(event)

    # ── every tick ───────────────────────────────────────────────────────────────────────────────

    def tick(self, now: int, ticks: int = 1) -> None:
        """Drive everything by one tick. ``ticks`` counts skipped ones too."""
        self._board.begin_tick(now, ticks)
        for call in list(self._board.calls.values()):
            if call.up:
                self._tick_media(call, now)
            elif call.phase is Phase.ANSWERED and now - call.answered_ns >= OPEN_TIMEOUT_NS:
                self._board.close(call, LegEndCause.CANCELLED)
        self._board.end_tick(now)

    def _tick_media(self, call: WebSocketCall, now: int) -> None:
        assert call.audio is not None
        call.marks.add(call.queue.marks())
        samples = _frame_samples(call.offer.rate_hz)
        frame = call.queue.next_frame(samples, now)
        if frame is not None:
            call.sent += 1
            call.uncleared = True
            self._client_outputs.append(ToClient(call.leg_id, frame))
            call.marks.send(samples, call.queue.marks())
        offset, pcm = call.audio.take(now)
        self._board.hear(call, offset, pcm)
        for mark in call.marks.take(now):
            self._tell_mark(call, mark)

    def _tell_mark(self, call: WebSocketCall, mark: Mark) -> None:
        self._board.links.tell(call.agent, mark)
        self._client_outputs.append(ToClient(call.leg_id, wire.mark_event(mark)))


def _frame_samples(rate_hz: int) -> int:
    return rate_hz * wire.FRAME_MS // 1000
