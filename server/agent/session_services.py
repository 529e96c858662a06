"""What every call of an agent process shares, handed to each session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from models.protocols import SpeechToText, TextToSpeech, TurnDetector
from server.agent.config import AgentProcessConfig
from server.agent.head_room import HeadRoom
from server.agent.journal import Journal
from server.agent.phrases import PhraseBook
from server.dialogue.agent_file import Agent
from server.dialogue.engine import Services
from sip import leg_protocol as leg


@dataclass(frozen=True, slots=True)
class SessionServices:
    """What every call of a process shares."""

    config: AgentProcessConfig
    door: str
    """Where the call came in."""
    agent: Agent
    dialogue: Services
    handoff_target: str
    """Empty: nobody."""
    voice: str
    stt: SpeechToText
    tts: TextToSpeech
    turn_detector: TurnDetector | None
    """None: the end of a turn is told from its words and its silence alone."""
    phrases: PhraseBook
    journal: Journal
    send: Callable[[leg.AgentMessage], None]
    clock: Callable[[], int]
    """CLOCK_MONOTONIC in ns, the clock of the door's marks."""
    today: Callable[[], datetime]
    on_turn: Callable[[str, dict[str, int], bool], None]
    """Told of each finished turn: class, ledger, interrupted (for the metrics)."""
    head_room: HeadRoom
    """Told of all model work; says what must be left out."""
