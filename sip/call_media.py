"""What the door knows of a call's media: its rate, its description's version, key presses from two ways. Sans-I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from sip.address import Address
from sip.call import Call
from sip.codecs import RATE_HZ
from sip.offer_answer import LocalMedia, NegotiatedMedia
from sip.telephone_event import DIGITS, Press

__all__ = ["RATE_HZ", "MediaPacket", "NegotiatedMedia", "describe", "is_new_press", "press_of_info"]

MediaPacket = tuple[int, bytes, Address]
"""Leg, datagram, destination."""

SAME_PRESS_NS: Final = 1_000_000_000


def describe(call: Call, write: Callable[[LocalMedia], str]) -> None:
    """Write the call's next description; its version rises only where it differs (RFC 3264 §8)."""
    sdp = write(call.local)
    if sdp != call.sdp:
        call.local = dataclasses.replace(call.local, version=call.local.version + 1)
        sdp = write(call.local)
    call.sdp = sdp


def press_of_info(content_type: str, body: bytes) -> Press | None:
    """Return the key of an INFO: ``application/dtmf-relay`` or ``application/dtmf``, as phones send it."""
    kind = content_type.partition(";")[0].strip().lower()
    text = body.decode("ascii", "replace")
    if kind == "application/dtmf":
        return _press(text, "")
    if kind != "application/dtmf-relay":
        return None
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
    return _press(fields.get("signal", ""), fields.get("duration", ""))


def _press(digit: str, duration: str) -> Press | None:
    digit = digit.strip().upper()
    if len(digit) != 1 or digit not in DIGITS:
        return None
    known = duration.isascii() and duration.isdigit() and len(duration) <= 6
    return Press(digit, int(duration) if known else 0)


def is_new_press(call: Call, press: Press, way: str, now: int) -> bool:
    """Return whether a key was pressed anew, rather than told by the other way as well."""
    digit, last_way, last_ns = call.last_press
    if digit == press.digit and way != last_way and now - last_ns < SAME_PRESS_NS:
        return False
    call.last_press = (press.digit, way, now)
    return True
