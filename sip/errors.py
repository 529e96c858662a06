"""Errors of the telephone side.

::

    SipError
    ├── RemoteProtocolError   the peer did something wrong; carries the status code to answer with
    ├── LocalProtocolError    we asked for something the protocol does not allow now
    ├── LegProtocolError      a door or an agent sent something that is not leg protocol
    ├── RtpError              a datagram on a media port that is not RTP
    └── ConfigurationError    the process was given something it cannot start with
"""

from __future__ import annotations


class SipError(Exception):
    """Base of everything this room raises on purpose."""


class RemoteProtocolError(SipError):
    """The peer broke the protocol. ``status`` is the SIP status to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class LocalProtocolError(SipError):
    """Our own side asked for something that is not possible in the present state."""


class LegProtocolError(SipError):
    """Bytes on the leg socket that are not leg protocol."""


class RtpError(SipError):
    """A datagram on a media port that is not RTP, or a payload that is not what its type says."""


class ConfigurationError(SipError):
    """The configuration cannot be used; the message says what was expected instead."""
