"""A softphone's side of a blind transfer: REFER accepted with NOTIFY 100 and 200, or refused (RFC 3515 §2.4).

The user agent of the sip room declines REFER, as Landline is never told whom to call. A telephone is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sip.address import Address
from sip.header_fields import NameAddress, stamp_via
from sip.message import Request, parse
from sip.responses import respond_to
from sip.user_agent import UserAgent


@dataclass(frozen=True, slots=True)
class ReferPolicy:
    """What is done with REFER."""

    status: int = 202
    """Of the answer; 202 accepts."""
    outcome: int = 200
    """Final status of the NOTIFY after an acceptance; 0 sends none."""


@dataclass(slots=True)
class TransferTarget:
    """Answers REFER in front of a user agent."""

    user_agent: UserAgent
    policy: ReferPolicy
    targets: list[str] = field(default_factory=list)
    """Refer-To of each REFER."""
    _answers: dict[str, bytes] = field(default_factory=dict)

    def receive(self, data: bytes, source: Address, now: int) -> bytes | None:
        """Return the answer to a REFER in a dialog of ours; None leaves the datagram to the user agent."""
        if not data.startswith(b"REFER "):
            return None
        request = parse(data)
        if not isinstance(request, Request) or request.defect is not None:
            return None
        via = request.headers.all("Via")[0]
        if via in self._answers:
            return self._answers[via]
        core = self.user_agent._core
        leg = core.by_tag(NameAddress.parse(request.headers.get("To") or "").tag)
        if leg is None or leg.dialog is None:
            return None
        request.headers.replace_first("Via", stamp_via(via, source))
        response = respond_to(request, self.policy.status, leg.local_tag)
        response.headers.add("Contact", core.contact())
        answer = self._answers[via] = bytes(response)
        self.targets.append((request.headers.get("Refer-To") or "").strip("<>"))
        leg.dialog.note_request(request)
        if self.policy.status // 100 == 2:
            self._notify(leg.leg_id, 100, now)
            if self.policy.outcome:
                self._notify(leg.leg_id, self.policy.outcome, now)
        return answer

    def _notify(self, leg_id: int, status: int, now: int) -> None:
        core = self.user_agent._core
        dialog = core.legs[leg_id].dialog
        assert dialog is not None
        notify = core.dialog_request(dialog, "NOTIFY")
        notify.headers.add("Contact", core.contact())
        notify.headers.add("Event", "refer")
        ended = status >= 200
        notify.headers.add(
            "Subscription-State", "terminated;reason=noresource" if ended else "active;expires=60"
        )
        notify.headers.add("Content-Type", "message/sipfrag;version=2.0")
        notify.body = f"SIP/2.0 {status} {'OK' if status == 200 else 'Status'}\r\n".encode()
        core.layer.send_request(notify, dialog.next_hop(), now)
