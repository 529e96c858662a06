"""One call's media: RTP in, caller audio and key presses out; utterances in, one RTP packet a tick out. Sans-I/O.

Codecs and formats are those of RFC 3551 §4.5.14 and RFC 4733; the wire always gets a frame a tick while the peer
wants to hear us, silence when nothing is queued, so that its jitter buffer and every NAT on the way stay open.
"""

from __future__ import annotations

from dataclasses import dataclass

from sip import codecs, rtp
from sip.address import Address
from sip.codecs import FRAME_SAMPLES, RATE_HZ
from sip.errors import RtpError
from sip.latch import SourceLatch, Verdict
from sip.leg_protocol import LegStatistics
from sip.offer_answer import NegotiatedMedia
from sip.playout import Playout
from sip.reorder import Reorder
from sip.rtp import ReceiverStatistics
from sip.telephone_event import EventReceiver, EventSender, Press


@dataclass(frozen=True, slots=True)
class RtpIdentity:
    """Random start values of what we send (RFC 3550 §5.1)."""

    ssrc: int
    sequence: int
    timestamp: int


class MediaLeg:
    """Media of one call. Playout may be filled before :meth:`start`; nothing moves until then."""

    def __init__(self, leg_id: int, identity: RtpIdentity) -> None:
        """Make a leg that is not answered yet."""
        self.playout = Playout(leg_id, RATE_HZ)
        self.dtmf = EventSender(FRAME_SAMPLES)
        self._sender = _Sender(identity)
        self._receiver: _Receiver | None = None
        self._media: NegotiatedMedia | None = None

    @property
    def media(self) -> NegotiatedMedia | None:
        """What was negotiated; None before :meth:`start`."""
        return self._media

    @property
    def drained(self) -> bool:
        """Return whether everything queued was sent, or cannot be because the peer does not listen."""
        held = self._media is not None and self._media.held
        return held or (self.playout.drained and self.dtmf.idle)

    @property
    def destination(self) -> Address:
        """Where packets go now."""
        assert self._receiver is not None
        return self._receiver.latch.destination

    @property
    def heard_ns(self) -> int:
        """When media was last heard, or the leg started."""
        assert self._receiver is not None
        return self._receiver.heard_ns

    @property
    def offset(self) -> int:
        """Sample clock of the caller's audio."""
        return self._receiver.reorder.offset if self._receiver is not None else 0

    def start(self, media: NegotiatedMedia, signalling_host: str, now_ns: int) -> None:
        """Begin: the call is confirmed."""
        self._media = media
        self._receiver = _Receiver(media, signalling_host, now_ns)

    def renegotiate(self, media: NegotiatedMedia, now_ns: int) -> None:
        """Take in a new answer: another address, another codec, hold or its end."""
        assert self._receiver is not None
        self._media = media
        self._receiver.renegotiate(media, now_ns)

    def receive(self, data: bytes, source: tuple[str, int], now_ns: int) -> None:
        """Take in one datagram; what is not believed is counted and dropped."""
        if self._receiver is not None:
            self._receiver.receive(data, source, now_ns)

    def take_audio(self, now_ns: int) -> tuple[int, bytes]:
        """Return sample offset and audio heard since the last tick."""
        assert self._receiver is not None
        return self._receiver.reorder.take(now_ns)

    def take_presses(self, now_ns: int) -> list[Press]:
        """Return the keys pressed since the last tick."""
        assert self._receiver is not None
        return self._receiver.take_presses(now_ns)

    def next_packet(self, now_ns: int, ticks: int = 1) -> bytes | None:
        """Return the packet of this tick; None while the peer does not listen.

        ``ticks`` counts this tick and those that were missed before it: time went on, utterances did not.
        """
        media = self._media
        assert media is not None
        self._sender.advance(ticks)
        if not media.sending:
            # Held: utterances wait, so that marks tell only what the peer could hear.
            self._sender.marker = True
            return None
        if not self.dtmf.idle:
            if media.dtmf_payload_type is None:
                # The peer knows no key presses; keeping them would keep the call from ending.
                self.dtmf.clear()
            else:
                event = self.dtmf.next_packet(self._sender.timestamp)
                if event is not None:
                    return self._sender.build(
                        media.dtmf_payload_type, event.payload, timestamp=event.timestamp, marker=event.marker
                    )
        pcm = self.playout.next_frame(FRAME_SAMPLES, now_ns)
        payload = codecs.SILENCE[media.codec] if pcm is None else codecs.encode(media.codec, pcm)
        return self._sender.build(media.payload_type, payload)

    def statistics(self) -> LegStatistics:
        """Return the counters."""
        receiver = self._receiver
        if receiver is None:
            return LegStatistics()
        return LegStatistics(
            packets_received=receiver.statistics.received,
            packets_sent=self._sender.sent,
            packets_lost=receiver.statistics.lost,
            packets_late=receiver.reorder.late,
            packets_rejected=receiver.rejected,
            jitter_ms=round(receiver.statistics.jitter_ms, 2),
        )


class _Sender:
    """Sequence and timestamp of the packets sent."""

    def __init__(self, identity: RtpIdentity) -> None:
        self._ssrc = identity.ssrc
        self._sequence = identity.sequence
        self.timestamp = identity.timestamp
        self.marker = True
        self.sent = 0

    def advance(self, ticks: int) -> None:
        self.timestamp = (self.timestamp + ticks * FRAME_SAMPLES) & 0xFFFFFFFF

    def build(
        self, payload_type: int, payload: bytes, *, timestamp: int | None = None, marker: bool = False
    ) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.sent += 1
        at = self.timestamp if timestamp is None else timestamp
        marker = marker or self.marker
        self.marker = False
        return rtp.build(payload_type, self._sequence, at, self._ssrc, payload, marker)


class _Receiver:
    """Everything that depends on what comes in."""

    def __init__(self, media: NegotiatedMedia, signalling_host: str, now_ns: int) -> None:
        self._media = media
        self.latch = SourceLatch(media.remote, signalling_host, _payload_types(media))
        self.reorder = Reorder(RATE_HZ, now_ns, FRAME_SAMPLES)
        self.events = EventReceiver(RATE_HZ)
        self.statistics = ReceiverStatistics(RATE_HZ)
        self.presses: list[Press] = []
        self.heard_ns = now_ns
        self.rejected = 0

    def renegotiate(self, media: NegotiatedMedia, now_ns: int) -> None:
        self._media = media
        # The silence of a hold is not the silence of a lost line.
        self.heard_ns = now_ns
        self.latch.renegotiate(media.remote, _payload_types(media))

    def receive(self, data: bytes, source: tuple[str, int], now_ns: int) -> None:
        try:
            packet = rtp.parse(data)
        except RtpError:
            self.rejected += 1
            return
        verdict = self.latch.judge(packet, source, now_ns)
        if verdict is Verdict.REJECT:
            self.rejected += 1
            return
        if verdict is Verdict.ACCEPT_NEW_SOURCE:
            self.reorder.restart()
            self.presses += self.events.restart()
        self.heard_ns = now_ns
        is_audio = packet.payload_type == self._media.payload_type
        self.statistics.count(packet, now_ns, timed=is_audio)
        if is_audio:
            self.reorder.push(packet.timestamp, codecs.decode(self._media.codec, packet.payload), now_ns)
        else:
            self.presses += self.events.receive(packet.timestamp, packet.payload, now_ns)

    def take_presses(self, now_ns: int) -> list[Press]:
        late = self.events.handle_timeout(now_ns)
        if not self.presses and not late:
            return []
        presses, self.presses = self.presses + late, []
        return presses


def _payload_types(media: NegotiatedMedia) -> tuple[int, ...]:
    if media.dtmf_payload_type is None:
        return (media.payload_type,)
    return (media.payload_type, media.dtmf_payload_type)
