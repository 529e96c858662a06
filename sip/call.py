"""One call of the SIP door: its dialog's description and its RTP beside what the switchboard knows. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass

from sip.attended_call import AttendedCall, Phase
from sip.leg_protocol import LegStatistics
from sip.media_leg import MediaLeg
from sip.offer_answer import Answer, LocalMedia
from sip.playout import Playout


@dataclass(slots=True, kw_only=True)
class Call(AttendedCall):
    """A leg's signalling and media."""

    local: LocalMedia
    answer: Answer | None
    """None where the INVITE had no offer: ours goes into the 200."""
    sdp: str
    """What we last sent, or will send in the 200."""
    signalling_host: str
    leg: MediaLeg
    signalled_ns: int
    last_press: tuple[str, str, int] = ("", "", 0)
    """Digit, way it came, and when: some phones send a key both in RTP and as INFO."""

    @property
    def playout(self) -> Playout:
        """What is still to be said to the caller."""
        return self.leg.playout

    @property
    def offset(self) -> int:
        """Sample clock of the caller's audio."""
        return self.leg.offset

    @property
    def drained(self) -> bool:
        """Return whether everything queued was sent, or cannot be because the peer does not listen."""
        return self.leg.drained

    @property
    def up(self) -> bool:
        """Return whether media flows."""
        return self.phase in (Phase.TALKING, Phase.ENDING, Phase.TRANSFERRING) and self.leg.media is not None

    def statistics(self) -> LegStatistics:
        """Return the counters of its media."""
        return self.leg.statistics()
