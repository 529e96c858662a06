"""A door in virtual time, with a telephone on one side and agents on the other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sip import codecs, rtp
from sip.address import Address
from sip.config import SipConfig
from sip.door import CloseAgent, Door, ToAgent
from sip.leg_protocol import VERSION, AgentMessage, AudioBatch, Heartbeat, Hello, Message
from sip.offer_answer import Codec, LocalMedia, NegotiatedMedia, make_offer, read_answer
from sip.user_agent import Answered, Event, SendDatagram, UserAgent, UserAgentConfig

MS = 1_000_000
TICK_MS = 20
DOOR = Address("192.0.2.1", 5060)
PHONE = Address("198.51.100.7", 5062)
PHONE_RTP = Address("198.51.100.7", 4000)

M = TypeVar("M")


class Ports:
    """Media ports without sockets."""

    def __init__(self, free: int = 100) -> None:
        self.free = free
        self.open_legs: set[int] = set()

    def open(self, leg_id: int, peer: str) -> Address | None:
        del peer
        if len(self.open_legs) >= self.free:
            return None
        self.open_legs.add(leg_id)
        return Address(DOOR.host, 20_000 + 2 * leg_id)

    def close(self, leg_id: int) -> None:
        self.open_legs.discard(leg_id)


class DoorRig:
    """Everything around a door; time moves only by :meth:`run`."""

    def __init__(self, *, ports: Ports | None = None, loses_ack: bool = False, **settings: object) -> None:
        dice = random.Random(1)

        def token(characters: int) -> str:
            return "".join(dice.choice("0123456789abcdef") for _ in range(characters))

        values: dict[str, object] = {"run_directory": "/run", "port": DOOR.port, **settings}
        self.config = SipConfig(**values)  # type: ignore[arg-type]
        self.ports = ports or Ports()
        self.door = Door(self.config, UserAgent(UserAgentConfig(local=DOOR), token), self.ports, token)
        self.phone = UserAgent(UserAgentConfig(local=PHONE, user="caller"), token)
        self.loses_ack = loses_ack
        self.now = 1_000 * MS
        self.events: list[Event] = []
        self.datagrams: list[bytes] = []
        """SIP sent by the door."""
        self.said: dict[int, list[Message]] = {}
        """What the door told each agent."""
        self.closed: list[int] = []
        self.media: dict[int, list[tuple[int, rtp.RtpPacket, Address]]] = {}
        """Packets sent by leg, with the time of each."""
        self.negotiated: NegotiatedMedia | None = None
        self._beating: set[int] = set()
        self._beats = 0

    # ── agents ───────────────────────────────────────────────────────────────────────────────────

    def connect(self, connection_id: int = 1, *, capacity: int = 10, version: int = VERSION) -> None:
        self.said.setdefault(connection_id, [])
        self.door.connect_agent(connection_id, self.now)
        self._beating.add(connection_id)
        self.tell(Hello(version, "agent", "rig", 4711, capacity, 250), connection_id)

    def tell(self, message: AgentMessage, connection_id: int = 1) -> None:
        self.door.receive_from_agent(connection_id, message, self.now)
        self._settle()

    def hang(self, connection_id: int = 1) -> None:
        """The agent falls silent without closing its connection."""
        self._beating.discard(connection_id)

    def kill(self, connection_id: int = 1) -> None:
        self._beating.discard(connection_id)
        self.door.disconnect_agent(connection_id, self.now)
        self._settle()

    def heard(self, kind: type[M], connection_id: int = 1) -> list[M]:
        """What an agent was told, of one kind."""
        return [message for message in self.said.get(connection_id, []) if isinstance(message, kind)]

    def audio(self, leg_id: int = 1, connection_id: int = 1) -> bytes:
        """Caller audio that an agent was given."""
        batches = self.heard(AudioBatch, connection_id)
        return b"".join(leg.pcm for batch in batches for leg in batch.legs if leg.leg_id == leg_id)

    # ── the telephone ────────────────────────────────────────────────────────────────────────────

    def dial(self, *, sdp: str | None = None, codecs_offered: Sequence[Codec] = (Codec.PCMU,)) -> int:
        """Ring the door; return the telephone's id of the call."""
        local = LocalMedia(PHONE_RTP, 42, codecs=tuple(codecs_offered))
        leg_id = self.phone.invite(
            f"sip:clinic@{DOOR}",
            DOOR,
            make_offer(local) if sdp is None else sdp,
            self.now,
            caller=f"sip:ann@{PHONE}",
        )
        self._settle()
        return leg_id

    def hang_up(self, leg_id: int) -> None:
        self.phone.hang_up(leg_id, self.now)
        self._settle()

    def reoffer(self, phone_leg: int, direction: str, rtp_port: int = PHONE_RTP.port) -> None:
        """Send a re-INVITE: hold, its end, or another address."""
        core = self.phone._core
        dialog = core.legs[phone_leg].dialog
        assert dialog is not None
        request = core.dialog_request(dialog, "INVITE")
        offer = make_offer(LocalMedia(Address(PHONE_RTP.host, rtp_port), 42, version=2, codecs=(Codec.PCMU,)))
        request.headers.add("Contact", core.contact())
        request.headers.add("Content-Type", "application/sdp")
        request.body = offer.replace("a=sendrecv", f"a={direction}").encode()
        core.layer.send_request(request, dialog.next_hop(), self.now)
        self.phone.handle_timeout(self.now)
        self._settle()
        core.send_ack(dialog, request.cseq.number)
        self._settle()

    def speak(
        self, values: Sequence[int], *, leg_id: int = 1, codec: Codec = Codec.PCMU, start: int = 0
    ) -> None:
        """Send one packet a tick, every sample of it the value, and let time pass."""
        for number, value in enumerate(values, start):
            pcm = np.full(160, value, "<i2").tobytes()
            data = rtp.build(codec.value, number, number * 160, 7, codecs.encode(codec, pcm), marker=False)
            self.door.receive_media(leg_id, data, (PHONE_RTP.host, PHONE_RTP.port), self.now)
            self.run(TICK_MS)

    def heard_by_caller(
        self, leg_id: int = 1, codec: Codec = Codec.PCMU
    ) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        """Return the samples sent to the caller."""
        packets = [
            packet for _, packet, _ in self.media.get(leg_id, []) if packet.payload_type == codec.value
        ]
        return np.frombuffer(b"".join(codecs.decode(codec, packet.payload) for packet in packets), "<i2")

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    def run(self, ms: int) -> None:
        """Let time pass, tick by tick."""
        for _ in range(ms // TICK_MS):
            self.now += TICK_MS * MS
            self._beats += 1
            if self._beats % 10 == 0:
                for connection_id in sorted(self._beating):
                    self.door.receive_from_agent(connection_id, Heartbeat(self._beats), self.now)
            self.phone.handle_timeout(self.now)
            for leg_id, data, destination in self.door.tick(self.now):
                self.media.setdefault(leg_id, []).append((self.now, rtp.parse(data), destination))
            self._settle()

    def _settle(self) -> None:
        while True:
            from_door, from_phone = self.door.outputs(), self.phone.outputs()
            if not from_door and not from_phone:
                return
            for output in from_door:
                if isinstance(output, SendDatagram):
                    self.datagrams.append(output.data)
                    self.phone.receive_datagram(output.data, DOOR, self.now)
                elif isinstance(output, ToAgent):
                    self.said.setdefault(output.connection_id, []).append(output.message)
                elif isinstance(output, CloseAgent):
                    self.closed.append(output.connection_id)
                    self._beating.discard(output.connection_id)
            for heard in from_phone:
                if isinstance(heard, SendDatagram):
                    if not (self.loses_ack and heard.data.startswith(b"ACK ")):
                        self.door.receive_signalling(heard.data, PHONE, self.now)
                else:
                    self.events.append(heard)
                    if isinstance(heard, Answered):
                        self.negotiated = read_answer(heard.sdp or "", LocalMedia(PHONE_RTP, 42))
