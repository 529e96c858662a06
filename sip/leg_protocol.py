"""Leg protocol, version 2: what a door and an agent say to each other about calls.

A *door* (the SIP process, a WebSocket, WebRTC) owns the wire of a call: signalling, media, playout.
An *agent* decides what is said. They talk over a local stream socket on which the door listens.
Sans-I/O: :func:`encode` turns a message into bytes, :class:`Decoder` turns bytes into messages.

Wire format: ``u32 length | u8 type | body``, big endian, ``length`` counting type and body.
Bodies are JSON objects, except for the three that carry audio (:class:`AudioBatch`, :class:`Play`,
:class:`Phrase`), which are a packed head followed by PCM16 mono little endian.

Who drops what on overflow (every buffer is bounded):

* door to agent: an agent that does not read loses whole :class:`AudioBatch` messages, newest first,
  never control messages; the gap shows in ``LegAudio.offset``. An agent that stays unread longer than
  the heartbeat limit is treated as hung.
* agent to door: an utterance longer than ``MAX_QUEUED_MS`` of unplayed audio has its further chunks
  refused; the door answers ``Mark(kind=OVERFLOW)`` once.

The full contract stands in ``docs/design/contracts.md``.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final

from sip.errors import LegProtocolError

VERSION: Final = 2
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
MAX_QUEUED_MS: Final = 60_000

_HEAD = struct.Struct(">IB")
_BATCH_HEAD = struct.Struct(">QQH")
_LEG_HEAD = struct.Struct(">IQIII")
_PLAY_HEAD = struct.Struct(">IIB")


class MarkKind(enum.StrEnum):
    """What happened to an utterance on the wire."""

    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"
    FINISHED = "finished"
    OVERFLOW = "overflow"


class LegEndCause(enum.StrEnum):
    """Why a leg ended, as the door saw it."""

    REMOTE_HANGUP = "remote_hangup"
    LOCAL_HANGUP = "local_hangup"
    CANCELLED = "cancelled"
    TRANSFERRED = "transferred"
    MEDIA_TIMEOUT = "media_timeout"
    PROTOCOL_ERROR = "protocol_error"
    AGENT_LOST = "agent_lost"
    SHUTDOWN = "shutdown"


# ── both ways ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of each side. ``capacity`` is how many calls this side can carry at once."""

    CODE: ClassVar[int] = 1
    version: int
    role: str
    """``door`` or ``agent``."""
    name: str
    pid: int
    capacity: int
    heartbeat_ms: int
    """How often this side sends :class:`Heartbeat`; three missed ones mean that it hangs."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sign of life from the loop that does the work, not from a side thread."""

    CODE: ClassVar[int] = 2
    sequence: int


# ── door to agent ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Offer:
    """A call rings. The agent answers with :class:`Accept` or :class:`Refuse`."""

    CODE: ClassVar[int] = 10
    leg_id: int
    """Unique within one life of the door."""
    call_id: str
    """Unique for ever (made by the door); the key of the call's record."""
    rate_hz: int
    """Rate of the audio both ways on this leg: 8000 or 16000."""
    caller: str
    callee: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further call facts (codec, user agent, diversion); personal ones never reach a log."""


@dataclass(frozen=True, slots=True)
class LegAudio:
    """What one leg heard since the last tick, put in order, gaps filled with silence, and what it was sent."""

    leg_id: int
    offset: int
    """Sample offset of the first sample since the leg was answered (the leg's sample clock)."""
    pcm: bytes
    """Empty where nothing came in this tick."""
    utterance_id: int = 0
    """Utterance that has begun and is not finished, after this tick's frame; 0 for none."""
    played: int = 0
    """Samples of it sent, this tick's included."""


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Caller audio of all legs that are up, one message a tick, after the tick's marks."""

    CODE: ClassVar[int] = 11
    tick: int
    sent_at_ns: int
    """CLOCK_MONOTONIC, which is one clock for all processes of a machine."""
    legs: tuple[LegAudio, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Playout mark: ``played`` samples of the utterance have really been sent to the wire."""

    CODE: ClassVar[int] = 12
    leg_id: int
    utterance_id: int
    kind: MarkKind
    played: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Dtmf:
    """One key press, reported once, at its end (RFC 4733 or INFO)."""

    CODE: ClassVar[int] = 13
    leg_id: int
    digit: str
    """One of ``0123456789*#ABCD``."""
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The far end put the leg on hold, or took it back."""

    CODE: ClassVar[int] = 14
    leg_id: int
    held: bool


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Progress of a transfer asked for by the agent; ``final`` closes it.

    ``status`` is the SIP status of the sipfrag (RFC 3515 §2.4.5) or of the refused REFER itself;
    408 when nothing was heard in time. A final 2xx is followed by :class:`LegEnded`.
    """

    CODE: ClassVar[int] = 15
    leg_id: int
    status: int
    final: bool


@dataclass(frozen=True, slots=True)
class LegStatistics:
    """Counters of a leg's media."""

    packets_received: int = 0
    packets_sent: int = 0
    packets_lost: int = 0
    packets_late: int = 0
    packets_rejected: int = 0
    jitter_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The leg is gone; nothing more is said about it."""

    CODE: ClassVar[int] = 16
    leg_id: int
    cause: LegEndCause
    statistics: LegStatistics


@dataclass(frozen=True, slots=True)
class ResyncedLeg:
    """One leg that was up when this agent connected."""

    offer: Offer
    offset: int
    """Sample clock now."""
    utterance_id: int
    """Largest utterance id of the leg so far; 0 for none. New ids must be larger."""
    played: int
    """Samples of it that were sent."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Follows the door's :class:`Hello`: the legs that this agent has to take over now (may be none).

    Sent again when another agent is lost whose legs this one takes over.
    """

    CODE: ClassVar[int] = 17
    legs: tuple[ResyncedLeg, ...]


# ── agent to door ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer the call."""

    CODE: ClassVar[int] = 30
    leg_id: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the call with a SIP status."""

    CODE: ClassVar[int] = 31
    leg_id: int
    status: int
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Play:
    """Append audio to an utterance. Utterances play in the order in which their first chunk came."""

    CODE: ClassVar[int] = 32
    leg_id: int
    utterance_id: int
    pcm: bytes
    final: bool
    """No further chunk follows; :attr:`MarkKind.FINISHED` is sent when the last sample was."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop sending at once, keep what is queued."""

    CODE: ClassVar[int] = 33
    leg_id: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on where :class:`Pause` stopped."""

    CODE: ClassVar[int] = 34
    leg_id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Drop everything queued; each unfinished utterance gets a STOPPED mark (0 played if not begun). Ends a pause."""

    CODE: ClassVar[int] = 35
    leg_id: int


@dataclass(frozen=True, slots=True)
class SendDtmf:
    """Send key presses (RFC 4733)."""

    CODE: ClassVar[int] = 36
    leg_id: int
    digits: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Blind transfer (REFER) to a SIP URI once everything queued has been played."""

    CODE: ClassVar[int] = 37
    leg_id: int
    target: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call once everything queued has been played."""

    CODE: ClassVar[int] = 38
    leg_id: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """A pre-rendered phrase the door keeps for when no agent can speak.

    Names in use: ``one_moment`` (agent lost), ``handing_over`` (no agent came back),
    ``shutting_down`` (the owner stops Landline).
    """

    CODE: ClassVar[int] = 39
    name: str
    rate_hz: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many calls this agent can carry from now on; the door answers 503 beyond it."""

    CODE: ClassVar[int] = 40
    calls: int


type_of_json = (
    Hello, Heartbeat, Offer, Mark, Dtmf, Hold, TransferProgress, LegEnded, Resync,
    Accept, Refuse, Pause, Resume, Stop, SendDtmf, Transfer, HangUp, Capacity,
)  # fmt: skip

DoorMessage = (
    Hello | Heartbeat | Offer | AudioBatch | Mark | Dtmf | Hold | TransferProgress | LegEnded | Resync
)
AgentMessage = (
    Hello | Heartbeat | Accept | Refuse | Play | Pause | Resume | Stop
    | SendDtmf | Transfer | HangUp | Phrase | Capacity
)  # fmt: skip
Message = DoorMessage | AgentMessage

_JSON_TYPES: Final[Mapping[int, type[Any]]] = {kind.CODE: kind for kind in type_of_json}


def encode(message: Message) -> bytes:
    """Return the frame of one message."""
    match message:
        case AudioBatch(tick=tick, sent_at_ns=sent_at_ns, legs=legs):
            parts = [_BATCH_HEAD.pack(tick, sent_at_ns, len(legs))]
            for leg in legs:
                parts.append(
                    _LEG_HEAD.pack(leg.leg_id, leg.offset, len(leg.pcm), leg.utterance_id, leg.played)
                )
                parts.append(leg.pcm)
            body = b"".join(parts)
        case Play(leg_id=leg_id, utterance_id=utterance_id, pcm=pcm, final=final):
            body = _PLAY_HEAD.pack(leg_id, utterance_id, final) + pcm
        case Phrase(name=name, rate_hz=rate_hz, pcm=pcm):
            body = struct.pack(">IB", rate_hz, len(name.encode())) + name.encode() + pcm
        case _:
            body = json.dumps(asdict(message), separators=(",", ":")).encode()
    return _HEAD.pack(len(body) + 1, message.CODE) + body


class Decoder:
    """Bytes in, messages out; keeps what is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages completed by ``data``.

        Raises :class:`sip.errors.LegProtocolError` on a frame that is too long, of unknown type or
        malformed; the connection is then to be closed.
        """
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _HEAD.size:
            length, code = _HEAD.unpack_from(self._buffer)
            if not 1 <= length <= MAX_FRAME_BYTES:
                raise LegProtocolError(f"frame of {length} bytes; expected 1 to {MAX_FRAME_BYTES}")
            end = _HEAD.size + length - 1
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            messages.append(_decode(code, body))
        return messages


def _decode(code: int, body: bytes) -> Message:
    try:
        if code == AudioBatch.CODE:
            return _decode_batch(body)
        if code == Play.CODE:
            leg_id, utterance_id, final = _PLAY_HEAD.unpack_from(body)
            return Play(leg_id, utterance_id, body[_PLAY_HEAD.size :], bool(final))
        if code == Phrase.CODE:
            rate_hz, length = struct.unpack_from(">IB", body)
            return Phrase(body[5 : 5 + length].decode(), rate_hz, body[5 + length :])
        return _from_json(_JSON_TYPES[code], json.loads(body))
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise LegProtocolError(f"malformed message of type {code}: {error}") from error


def _decode_batch(body: bytes) -> AudioBatch:
    tick, sent_at_ns, count = _BATCH_HEAD.unpack_from(body)
    legs = []
    position = _BATCH_HEAD.size
    for _ in range(count):
        leg_id, offset, length, utterance_id, played = _LEG_HEAD.unpack_from(body, position)
        position += _LEG_HEAD.size
        pcm = body[position : position + length]
        if len(pcm) != length:
            raise ValueError("audio shorter than its head says")
        legs.append(LegAudio(leg_id, offset, pcm, utterance_id, played))
        position += length
    return AudioBatch(tick, sent_at_ns, tuple(legs))


def _from_json(kind: type[Any], fields: dict[str, Any]) -> Message:
    if kind is Mark:
        fields["kind"] = MarkKind(fields["kind"])
    elif kind is LegEnded:
        fields["cause"] = LegEndCause(fields["cause"])
        fields["statistics"] = LegStatistics(**fields["statistics"])
    elif kind is Resync:
        fields["legs"] = tuple(
            ResyncedLeg(**{**leg, "offer": Offer(**leg["offer"])}) for leg in fields["legs"]
        )
    message: Message = kind(**fields)
    return message
