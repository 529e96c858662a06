"""The four SIP transaction machines as literal tables, in the order of the figures of RFC 3261 §17.

INVITE client (figure 5) and INVITE server (figure 7) hold the Accepted state of RFC 6026; the non-INVITE server
(figure 8) sends no provisional response, and no 408 is ever made for one (RFC 4320). UDP only: the reliable
transports' zero timers come with those transports. Sans-I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MS: Final = 1_000_000
"""Nanoseconds."""

T1_NS: Final = 500 * MS
"""Round-trip time estimate (RFC 3261 §17.1.1.1)."""
T2_NS: Final = 4_000 * MS
"""Longest interval between retransmissions of non-INVITE requests and INVITE responses."""
T4_NS: Final = 5_000 * MS
"""How long a message stays in the network."""
LIFETIME_NS: Final = 64 * T1_NS


class Timer(enum.Enum):
    """Timers by the letters of RFC 3261 appendix A and RFC 6026; C is a proxy's."""

    A = "INVITE request retransmission"
    B = "INVITE transaction timeout"
    D = "wait for response retransmissions to INVITE"
    E = "non-INVITE request retransmission"
    F = "non-INVITE transaction timeout"
    G = "INVITE response retransmission"
    H = "wait for ACK"
    I = "wait for ACK retransmissions"  # noqa: E741
    J = "wait for non-INVITE request retransmissions"
    K = "wait for response retransmissions to non-INVITE"
    L = "wait for accepted INVITE request retransmissions"
    M = "wait for retransmission of 2xx to INVITE"


INITIAL_NS: Final[Mapping[Timer, int]] = {
    Timer.A: T1_NS,
    Timer.B: LIFETIME_NS,
    Timer.D: 32_000 * MS,
    Timer.E: T1_NS,
    Timer.F: LIFETIME_NS,
    Timer.G: T1_NS,
    Timer.H: LIFETIME_NS,
    Timer.I: T4_NS,
    Timer.J: LIFETIME_NS,
    Timer.K: T4_NS,
    Timer.L: LIFETIME_NS,
    Timer.M: LIFETIME_NS,
}

# Interval of a repeating timer: doubled at each firing, up to this.
LONGEST_NS: Final[Mapping[Timer, int]] = {Timer.A: LIFETIME_NS, Timer.E: T2_NS, Timer.G: T2_NS}


class State(enum.Enum):
    """States of all four machines."""

    CALLING = enum.auto()
    TRYING = enum.auto()
    PROCEEDING = enum.auto()
    ACCEPTED = enum.auto()
    COMPLETED = enum.auto()
    CONFIRMED = enum.auto()
    TERMINATED = enum.auto()


class Input(enum.Enum):
    """What can happen: received (R_), sent by the user (S_), a timer, the transport."""

    R_REQUEST = enum.auto()
    R_ACK = enum.auto()
    R_1XX = enum.auto()
    R_2XX = enum.auto()
    R_3XX_TO_6XX = enum.auto()
    S_1XX = enum.auto()
    S_2XX = enum.auto()
    S_3XX_TO_6XX = enum.auto()
    TIMER_A = enum.auto()
    TIMER_B = enum.auto()
    TIMER_D = enum.auto()
    TIMER_E = enum.auto()
    TIMER_F = enum.auto()
    TIMER_G = enum.auto()
    TIMER_H = enum.auto()
    TIMER_I = enum.auto()
    TIMER_J = enum.auto()
    TIMER_K = enum.auto()
    TIMER_L = enum.auto()
    TIMER_M = enum.auto()


class Action(enum.Enum):
    """What to do; the timers follow from the state entered (``TIMERS``)."""

    NOTHING = enum.auto()
    SEND = enum.auto()
    """Client: send the request. Server: send the response given, and keep it."""
    RESEND = enum.auto()
    """Send again what was last sent."""
    RESEND_AND_BACK_OFF = enum.auto()
    """The same, and re-arm the timer that fired with twice its interval."""
    RESEND_AT_T2 = enum.auto()
    """The same, at the longest interval at once (RFC 3261 §17.1.2.2, Proceeding)."""
    PASS = enum.auto()
    """Hand the message to the transaction user."""
    SEND_ACK = enum.auto()
    PASS_AND_SEND_ACK = enum.auto()
    REPORT_TIMEOUT = enum.auto()


S, I, A = State, Input, Action  # noqa: E741


@dataclass(frozen=True)
class Machine:
    """One figure. What its table does not hold does not happen, or is ignored."""

    initial: State
    table: Mapping[tuple[State, Input], tuple[State, Action]]
    timers: Mapping[State, tuple[Timer, ...]]
    """Timers that run in a state. One already running goes on where the next state has it too."""


INVITE_CLIENT_TABLE: Final = {
    (S.CALLING, I.TIMER_A): (S.CALLING, A.RESEND_AND_BACK_OFF),
    (S.CALLING, I.TIMER_B): (S.TERMINATED, A.REPORT_TIMEOUT),
    (S.CALLING, I.R_1XX): (S.PROCEEDING, A.PASS),
    (S.CALLING, I.R_2XX): (S.ACCEPTED, A.PASS),
    (S.CALLING, I.R_3XX_TO_6XX): (S.COMPLETED, A.PASS_AND_SEND_ACK),
    (S.PROCEEDING, I.R_1XX): (S.PROCEEDING, A.PASS),
    (S.PROCEEDING, I.R_2XX): (S.ACCEPTED, A.PASS),
    (S.PROCEEDING, I.R_3XX_TO_6XX): (S.COMPLETED, A.PASS_AND_SEND_ACK),
    (S.ACCEPTED, I.R_2XX): (S.ACCEPTED, A.PASS),
    (S.ACCEPTED, I.TIMER_M): (S.TERMINATED, A.NOTHING),
    (S.COMPLETED, I.R_3XX_TO_6XX): (S.COMPLETED, A.SEND_ACK),
    (S.COMPLETED, I.TIMER_D): (S.TERMINATED, A.NOTHING),
}

NON_INVITE_CLIENT_TABLE: Final = {
    (S.TRYING, I.TIMER_E): (S.TRYING, A.RESEND_AND_BACK_OFF),
    (S.TRYING, I.TIMER_F): (S.TERMINATED, A.REPORT_TIMEOUT),
    (S.TRYING, I.R_1XX): (S.PROCEEDING, A.PASS),
    (S.TRYING, I.R_2XX): (S.COMPLETED, A.PASS),
    (S.TRYING, I.R_3XX_TO_6XX): (S.COMPLETED, A.PASS),
    (S.PROCEEDING, I.TIMER_E): (S.PROCEEDING, A.RESEND_AT_T2),
    (S.PROCEEDING, I.TIMER_F): (S.TERMINATED, A.REPORT_TIMEOUT),
    (S.PROCEEDING, I.R_1XX): (S.PROCEEDING, A.PASS),
    (S.PROCEEDING, I.R_2XX): (S.COMPLETED, A.PASS),
    (S.PROCEEDING, I.R_3XX_TO_6XX): (S.COMPLETED, A.PASS),
    (S.COMPLETED, I.TIMER_K): (S.TERMINATED, A.NOTHING),
}

INVITE_SERVER_TABLE: Final = {
    (S.PROCEEDING, I.R_REQUEST): (S.PROCEEDING, A.RESEND),
    (S.PROCEEDING, I.S_1XX): (S.PROCEEDING, A.SEND),
    (S.PROCEEDING, I.S_2XX): (S.ACCEPTED, A.SEND),
    (S.PROCEEDING, I.S_3XX_TO_6XX): (S.COMPLETED, A.SEND),
    # RFC 6026 §7.1: a retransmitted INVITE is absorbed, and the user sends its 2xx again through here.
    (S.ACCEPTED, I.R_REQUEST): (S.ACCEPTED, A.NOTHING),
    (S.ACCEPTED, I.S_2XX): (S.ACCEPTED, A.SEND),
    (S.ACCEPTED, I.R_ACK): (S.ACCEPTED, A.PASS),
    (S.ACCEPTED, I.TIMER_L): (S.TERMINATED, A.NOTHING),
    (S.COMPLETED, I.R_REQUEST): (S.COMPLETED, A.RESEND),
    (S.COMPLETED, I.TIMER_G): (S.COMPLETED, A.RESEND_AND_BACK_OFF),
    (S.COMPLETED, I.TIMER_H): (S.TERMINATED, A.REPORT_TIMEOUT),
    (S.COMPLETED, I.R_ACK): (S.CONFIRMED, A.NOTHING),
    (S.CONFIRMED, I.R_ACK): (S.CONFIRMED, A.NOTHING),
    (S.CONFIRMED, I.R_REQUEST): (S.CONFIRMED, A.NOTHING),
    (S.CONFIRMED, I.TIMER_I): (S.TERMINATED, A.NOTHING),
}

NON_INVITE_SERVER_TABLE: Final = {
    (S.TRYING, I.R_REQUEST): (S.TRYING, A.NOTHING),
    (S.TRYING, I.S_2XX): (S.COMPLETED, A.SEND),
    (S.TRYING, I.S_3XX_TO_6XX): (S.COMPLETED, A.SEND),
    (S.COMPLETED, I.R_REQUEST): (S.COMPLETED, A.RESEND),
    (S.COMPLETED, I.TIMER_J): (S.TERMINATED, A.NOTHING),
}

INVITE_CLIENT: Final = Machine(
    S.CALLING,
    INVITE_CLIENT_TABLE,
    {S.CALLING: (Timer.A, Timer.B), S.ACCEPTED: (Timer.M,), S.COMPLETED: (Timer.D,)},
)
NON_INVITE_CLIENT: Final = Machine(
    S.TRYING,
    NON_INVITE_CLIENT_TABLE,
    {S.TRYING: (Timer.E, Timer.F), S.PROCEEDING: (Timer.E, Timer.F), S.COMPLETED: (Timer.K,)},
)
INVITE_SERVER: Final = Machine(
    S.PROCEEDING,
    INVITE_SERVER_TABLE,
    {S.ACCEPTED: (Timer.L,), S.COMPLETED: (Timer.G, Timer.H), S.CONFIRMED: (Timer.I,)},
)
NON_INVITE_SERVER: Final = Machine(
    S.TRYING,
    NON_INVITE_SERVER_TABLE,
    {S.COMPLETED: (Timer.J,)},
)
