"""One leg, that is, one call as the user agent keeps it, and the table of its life (RFC 3261 §13, §15). Sans-I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from sip.address import Address
from sip.dialog import Dialog
from sip.message import Request, Response
from sip.transaction_tables import LIFETIME_NS, MS, T1_NS
from sip.transactions import TransactionKey
from sip.user_agent_events import SendDatagram

RING_LIMIT_NS: Final = 180_000 * MS
"""How long an INVITE may stay without a final response, either way."""
REOFFER_LIMIT_NS: Final = 4_000 * MS
NOTIFY_LIMIT_NS: Final = LIFETIME_NS
"""Wait for the first NOTIFY of a transfer."""
TRANSFER_LIMIT_NS: Final = 180_000 * MS
"""Wait for the last one, while the target rings."""


class LegState(enum.Enum):
    """Where a call stands."""

    INCOMING = enum.auto()
    """INVITE received, no final response sent."""
    ANSWERED = enum.auto()
    """2xx sent, no ACK yet."""
    CALLING = enum.auto()
    """INVITE sent, nothing heard."""
    EARLY = enum.auto()
    """A provisional response has come."""
    ABANDONED = enum.auto()
    """Hung up while CALLING: CANCEL has to wait for a provisional response (§9.1)."""
    CANCELLING = enum.auto()
    """CANCEL sent, the final response to INVITE is awaited."""
    CONFIRMED = enum.auto()
    CLOSING = enum.auto()
    """Hung up while ANSWERED: BYE has to wait for the ACK (§15)."""
    ENDING = enum.auto()
    """BYE sent."""
    ENDED = enum.auto()


class LegInput(enum.Enum):
    """What can happen to a leg: a command of ours, something received (R_), or a wait that is over."""

    ANSWER = enum.auto()
    REJECT = enum.auto()
    HANG_UP = enum.auto()
    R_ACK = enum.auto()
    R_CANCEL = enum.auto()
    R_BYE = enum.auto()
    R_1XX = enum.auto()
    R_2XX = enum.auto()
    R_REFUSAL = enum.auto()
    NO_ACK = enum.auto()
    NO_RESPONSE = enum.auto()
    EXPIRED = enum.auto()
    """The ring limit has passed, or the wait for what CANCEL brings."""
    BYE_DONE = enum.auto()


class LegAction(enum.Enum):
    """What to do at a step."""

    NOTHING = enum.auto()
    SEND_OK = enum.auto()
    SEND_REFUSAL = enum.auto()
    """Refuse the INVITE with the status given."""
    REFUSE_AND_REPORT = enum.auto()
    SEND_CANCEL = enum.auto()
    SEND_BYE = enum.auto()
    BYE_AND_REPORT = enum.auto()
    ACK_AND_REPORT = enum.auto()
    ACK_BYE_AND_REPORT = enum.auto()
    REPORT_CONFIRMED = enum.auto()
    REPORT_RINGING = enum.auto()
    REPORT_FAILED = enum.auto()
    REPORT_ENDED = enum.auto()


S, I, A = LegState, LegInput, LegAction  # noqa: E741

TABLE: Final = {
    # We are called.
    (S.INCOMING, I.ANSWER): (S.ANSWERED, A.SEND_OK),
    (S.INCOMING, I.REJECT): (S.ENDED, A.SEND_REFUSAL),
    (S.INCOMING, I.HANG_UP): (S.ENDED, A.REFUSE_AND_REPORT),
    (S.INCOMING, I.R_CANCEL): (S.ENDED, A.REFUSE_AND_REPORT),
    (S.INCOMING, I.R_BYE): (S.ENDED, A.REFUSE_AND_REPORT),
    (S.INCOMING, I.EXPIRED): (S.ENDED, A.REFUSE_AND_REPORT),
    (S.ANSWERED, I.R_ACK): (S.CONFIRMED, A.REPORT_CONFIRMED),
    (S.ANSWERED, I.R_BYE): (S.ENDED, A.REPORT_ENDED),
    (S.ANSWERED, I.NO_ACK): (S.ENDING, A.BYE_AND_REPORT),
    (S.ANSWERED, I.HANG_UP): (S.CLOSING, A.REPORT_ENDED),
    (S.CLOSING, I.R_ACK): (S.ENDING, A.SEND_BYE),
    (S.CLOSING, I.NO_ACK): (S.ENDING, A.SEND_BYE),
    (S.CLOSING, I.R_BYE): (S.ENDED, A.NOTHING),
    # We call.
    (S.CALLING, I.R_1XX): (S.EARLY, A.REPORT_RINGING),
    (S.CALLING, I.R_2XX): (S.CONFIRMED, A.ACK_AND_REPORT),
    (S.CALLING, I.R_REFUSAL): (S.ENDED, A.REPORT_FAILED),
    (S.CALLING, I.NO_RESPONSE): (S.ENDED, A.REPORT_FAILED),
    (S.CALLING, I.EXPIRED): (S.ENDED, A.REPORT_FAILED),
    (S.CALLING, I.HANG_UP): (S.ABANDONED, A.NOTHING),
    (S.EARLY, I.R_1XX): (S.EARLY, A.REPORT_RINGING),
    (S.EARLY, I.R_2XX): (S.CONFIRMED, A.ACK_AND_REPORT),
    (S.EARLY, I.R_REFUSAL): (S.ENDED, A.REPORT_FAILED),
    (S.EARLY, I.EXPIRED): (S.CANCELLING, A.SEND_CANCEL),
    (S.EARLY, I.HANG_UP): (S.CANCELLING, A.SEND_CANCEL),
    (S.ABANDONED, I.R_1XX): (S.CANCELLING, A.SEND_CANCEL),
    (S.ABANDONED, I.R_2XX): (S.ENDING, A.ACK_BYE_AND_REPORT),
    (S.ABANDONED, I.R_REFUSAL): (S.ENDED, A.REPORT_ENDED),
    (S.ABANDONED, I.NO_RESPONSE): (S.ENDED, A.REPORT_ENDED),
    (S.ABANDONED, I.EXPIRED): (S.ENDED, A.REPORT_ENDED),
    (S.CANCELLING, I.R_2XX): (S.ENDING, A.ACK_BYE_AND_REPORT),
    (S.CANCELLING, I.R_REFUSAL): (S.ENDED, A.REPORT_ENDED),
    (S.CANCELLING, I.EXPIRED): (S.ENDED, A.REPORT_ENDED),
    # Both.
    (S.CONFIRMED, I.HANG_UP): (S.ENDING, A.BYE_AND_REPORT),
    (S.CONFIRMED, I.R_BYE): (S.ENDED, A.REPORT_ENDED),
    (S.CONFIRMED, I.NO_ACK): (S.ENDING, A.BYE_AND_REPORT),
    (S.ENDING, I.R_BYE): (S.ENDING, A.NOTHING),
    (S.ENDING, I.BYE_DONE): (S.ENDED, A.NOTHING),
}

# The shell has been told that these are over, and commands on them do nothing.
OVER: Final = frozenset({S.ABANDONED, S.CANCELLING, S.CLOSING, S.ENDING, S.ENDED})


class LegTimer(enum.Enum):
    """Waits of a leg, each with a limit."""

    RING = "final response to INVITE"
    REPEAT_OK = "retransmission of our 2xx"
    ACK = "ACK of our 2xx"
    REOFFER = "the shell's answer to a re-INVITE or UPDATE"
    NOTIFY = "NOTIFY of a transfer"


@dataclass(slots=True)
class PendingOk:
    """A 2xx of ours to an INVITE that is not yet acknowledged (§13.3.1.4)."""

    key: TransactionKey
    response: Response
    number: int
    late_offer: bool
    interval_ns: int = T1_NS


@dataclass(slots=True)
class PendingReoffer:
    """A re-INVITE or UPDATE that the shell has to answer."""

    key: TransactionKey
    request: Request
    late_offer: bool


class TransferState(enum.Enum):
    """The implicit subscription of a REFER (RFC 3515 §2.4)."""

    NONE = enum.auto()
    REFERRED = enum.auto()
    """REFER sent."""
    ACCEPTED = enum.auto()
    """2xx to it, or a first NOTIFY."""


@dataclass(slots=True)
class Leg:
    """One call. ``dialog`` is None until our INVITE got a tag back."""

    leg_id: int
    state: LegState
    invite: Request
    """Received or sent; what responses, CANCEL and ACK are made from."""
    invite_key: TransactionKey
    local_tag: str
    peer: Address
    dialog: Dialog | None = None
    early_sdp: str | None = None
    ok: PendingOk | None = None
    reoffer: PendingReoffer | None = None
    ack: SendDatagram | None = None
    """Our last ACK, for a 2xx that comes again."""
    transfer: TransferState = TransferState.NONE
    reason: str = field(default="")
    """Of our hanging up, for BYE."""
