"""The settings under which the peer is measured. Standard library only: read by the benchmark and by the peer's process.

Sources: Pipecat's documentation on speech input, smart turn and STT latency, and the source of 1.14.0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of settings. Durations in seconds, as the peer takes them."""

    name: str
    what: str
    vad_start_s: float = 0.2
    vad_stop_s: float = 0.2
    """The peer's recommended value; its turn detector was trained for it."""
    turn_stop_s: float = 3.0
    """Silence after which a turn ends although the turn detector said no."""
    output_10ms_chunks: int = 4
    """Packet of outgoing audio, in tens of milliseconds."""
    trailing_silence_s: float = 0.5
    greedy: bool = False
    """Whisper decodes greedily and without time stamps; the peer's service has no setting for it, so that its model is
    called with these arguments."""
    short_encoder: bool = False
    """Whisper encodes ten seconds instead of thirty: Landline's recogniser in the peer's pipeline."""

    def settings(self) -> dict[str, object]:
        """Return what is set, for the report."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "what")}


DEFAULTS: Final = Variant("defaults", "as it comes: nothing set but models, rates and prompt")
TUNED: Final = Variant(
    "tuned",
    "its documented settings for speed: 0.2 s of VAD silence before smart turn, 20 ms packets, greedy decoding",
    output_10ms_chunks=2,
    greedy=True,
)
TUNED_SHORT: Final = Variant(
    "tuned_short",
    "tuned, with Landline's short-encoder Whisper as its recogniser",
    output_10ms_chunks=2,
    greedy=True,
    short_encoder=True,
)
TUNED_SHORT_1S: Final = Variant(
    "tuned_short_1s",
    "tuned_short, and a turn that smart turn calls unfinished ends after 1 s instead of 3 s",
    turn_stop_s=1.0,
    output_10ms_chunks=2,
    greedy=True,
    short_encoder=True,
)
VARIANTS: Final = (DEFAULTS, TUNED, TUNED_SHORT, TUNED_SHORT_1S)


def variant(name: str) -> Variant:
    """Return a variant by its name. Raises KeyError."""
    return {one.name: one for one in VARIANTS}[name]
