"""Transport address of a SIP or RTP peer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Numeric host (IPv4 or IPv6, without brackets) and UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the hostport of RFC 3261 §25.1, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
