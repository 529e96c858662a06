"""Latency ledger of one turn: every millisecond between the caller's last word and ours has a name.

``gap`` is the sum of ``silence``, ``stt_wait``, ``words``, ``voice`` and ``playout``, as the agent sees
it: from the arrival of the last speech to the sending of the first content.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.agent.speech_output import Utterance
from server.dialogue.replies import Role

_NS_PER_MS = 1_000_000


def ledger(
    *, speech_stop_at: int, silence_over_at: int, committed_at: int, utterances: Iterable[Utterance]
) -> dict[str, int]:
    """Return name → milliseconds; empty when no content was heard.

    ``silence_over_at`` is when the silence had lasted long enough; what the transcript came later than
    that is ``stt_wait``.
    """
    spoken = [utterance for utterance in utterances if utterance.started_at]
    content = next((u for u in spoken if u.role is Role.CONTENT), None)
    if content is None:
        return {}
    silence_over_at = min(silence_over_at, committed_at)
    stages = {
        "silence": silence_over_at - speech_stop_at,
        "stt_wait": committed_at - silence_over_at,
        "words": content.said_at - committed_at,
        "voice": content.first_audio_at - content.said_at,
        "playout": content.started_at - content.first_audio_at,
        "gap": content.started_at - speech_stop_at,
    }
    filler = next((u for u in spoken if u.role is Role.FILLER), None)
    if filler is not None and filler.started_at < content.started_at:
        stages["filler_gap"] = filler.started_at - speech_stop_at
    return {name: round(value / _NS_PER_MS) for name, value in stages.items()}
