"""What a WebSocket client and the door say to each other: the opening request, frames and events. Sans-I/O.

Binary messages are PCM16 mono little endian, text messages are JSON objects with an ``event``. A message that is none of
this raises :class:`WireError`, which carries the close code of RFC 6455 §7.4.1.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from sip.errors import SipError
from sip.leg_protocol import Mark
from sip.telephone_event import DIGITS

PATH: Final = "/v1/call"
RATES_HZ: Final = (8_000, 16_000)
DEFAULT_RATE_HZ: Final = 16_000
FRAME_MS: Final = 20
MAX_AUDIO_BYTES: Final = 65_536
"""Two seconds at 16 kHz."""
MAX_TEXT_BYTES: Final = 4_096

UNSUPPORTED_DATA: Final = 1003
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009


class WireError(SipError):
    """A client's message breaks the rules; the connection is closed with ``close_code``."""

    def __init__(self, close_code: int, code: str, text: str) -> None:
        """``code`` is for programs, ``text`` says what was expected."""
        super().__init__(text)
        self.close_code = close_code
        self.code = code


class RequestRefused(SipError):
    """The opening request cannot be served; answered by HTTP before the upgrade."""

    def __init__(self, status: int, text: str) -> None:
        """``text`` says what was expected."""
        super().__init__(text)
        self.status = status


# ── the opening request ──────────────────────────────────────────────────────────────────────────


def read_request(target: str, headers: Mapping[str, str], token: str) -> int:
    """Return the rate of the call that is asked for, in Hz; raises :class:`RequestRefused`.

    ``headers`` has lower-case names. Without a token a web page must not be able to ring from a browser on this
    machine: a foreign ``Origin`` is refused.
    """
    try:
        parts = urlsplit(target)
    except ValueError:
        raise RequestRefused(400, "the request target cannot be read") from None
    if parts.path != PATH:
        raise RequestRefused(404, f"nothing here; expected {PATH}?rate=8000 or {PATH}?rate=16000")
    if token:
        shown = headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(errors="replace"), f"Bearer {token}".encode()):
            raise RequestRefused(401, "expected Authorization: Bearer and the token of this server")
    elif not _is_local(headers.get("origin", "")):
        raise RequestRefused(403, "web pages may ring only where a token is asked for")
    rate = parse_qs(parts.query).get("rate", [str(DEFAULT_RATE_HZ)])[-1]
    if rate not in {str(known) for known in RATES_HZ}:
        raise RequestRefused(400, "rate is not known; expected 8000 or 16000")
    return int(rate)


def _is_local(origin: str) -> bool:
    if not origin:
        return True
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ── from the client ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Pressed:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller hangs up."""


@dataclass(frozen=True, slots=True)
class Played:
    """``samples`` of what we sent have been played since the call began, not counting what was cleared."""

    samples: int


ClientEvent = Pressed | HungUp | Played


def read_audio(data: bytes) -> bytes:
    """Return the PCM16 of a binary message; raises :class:`WireError`."""
    if len(data) > MAX_AUDIO_BYTES:
        raise WireError(
            TOO_BIG, "too_large", f"{len(data)} bytes of audio; expected at most {MAX_AUDIO_BYTES}"
        )
    if len(data) % 2:
        raise WireError(
            INVALID_DATA, "odd_size", f"{len(data)} bytes of audio; expected whole 16-bit samples"
        )
    return data


def read_event(text: str) -> ClientEvent:
    """Return the event of a text message; raises :class:`WireError`."""
    if len(text) > MAX_TEXT_BYTES:
        raise WireError(TOO_BIG, "too_large", f"{len(text)} characters; expected at most {MAX_TEXT_BYTES}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError(INVALID_DATA, "not_json", "text that is not JSON; expected an object") from None
    if not isinstance(fields, dict):
        raise WireError(INVALID_DATA, "not_json", "JSON that is no object; expected one with an event")
    match fields.get("event"):
        case "dtmf":
            digit = fields.get("digit")
            if not isinstance(digit, str) or len(digit) != 1 or digit not in DIGITS:
                raise WireError(INVALID_DATA, "bad_digit", f"digit is not a key; expected one of {DIGITS}")
            return Pressed(digit)
        case "hangup":
            return HungUp()
        case "played":
            samples = fields.get("samples")
            if not isinstance(samples, int) or isinstance(samples, bool) or samples < 0:
                raise WireError(INVALID_DATA, "bad_samples", "samples is no count; expected a whole number")
            return Played(samples)
    raise WireError(UNSUPPORTED_DATA, "unknown_event", "event is not known; expected dtmf, hangup or played")


# ── to the client ────────────────────────────────────────────────────────────────────────────────


def start_event(call_id: str, rate_hz: int) -> str:
    """The call is answered."""
    return _event("start", call_id=call_id, rate_hz=rate_hz, frame_ms=FRAME_MS)


def clear_event() -> str:
    """Drop what is buffered: the agent has stopped speaking."""
    return _event("clear")


def mark_event(mark: Mark) -> str:
    """What happened to an utterance; ``samples`` of it had been sent or played by then."""
    return _event("mark", utterance=mark.utterance_id, kind=mark.kind.value, samples=mark.played)


def dtmf_event(digits: str) -> str:
    """The agent presses keys."""
    return _event("dtmf", digits=digits)


def error_event(error: WireError) -> str:
    """The client's message was wrong; the connection is closed after this."""
    return _event("error", code=error.code, message=str(error))


def end_event(reason: str) -> str:
    """The call is over; the connection is closed after this."""
    return _event("end", reason=reason)


def _event(name: str, **fields: object) -> str:
    return json.dumps({"event": name, **fields}, separators=(",", ":"))
