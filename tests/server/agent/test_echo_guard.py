"""The guard on lines with and without echo, with recorded speech and the real canceller; speech is told by its level."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.echo_canceller import WebRtcEchoCanceller
from models.protocols import EchoCanceller
from scripts.echo_line import Echo, Heard, run
from server.agent.echo_guard import EchoGuard, EchoGuards
from server.agent.echo_matcher import MAX_LAG_MS, WINDOW_MS, match
from server.agent.voice_activity import Judgement
from sip.leg_protocol import AgentMessage, LegAudio, Pause, Play
from tests.e2e.caller_lines import recorded

AGENT = recorded("I would like to book an appointment next Friday at quarter past nine.") + recorded(
    "I am a little nervous about coming to see you."
)
CALLER = recorded("Sorry, are you open on Sunday?")


class LevelVad:
    """Takes whatever is louder than -45 dBFS for speech."""

    window_samples = 256

    def initial_state(self) -> NDArray[np.float32]:
        return np.zeros(1, np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        levels = 10 * np.log10(np.mean(np.square(windows), axis=1) + 1e-12)
        return np.where(levels > -45, 0.9, 0.01).astype(np.float32), states


def never(rate_hz: int) -> EchoCanceller:
    raise AssertionError(f"no canceller is needed at {rate_hz} Hz")


def line(
    caller: bytes = b"", *, echo: Echo | None, at_ms: int = 0, guarded: bool = True, agent: bytes = AGENT
) -> Heard:
    make = WebRtcEchoCanceller if echo is not None else never
    return run(
        agent,
        caller,
        echo=echo,
        vad=LevelVad(),
        make_canceller=make,
        caller_at_ms=at_ms,
        guarded=guarded,
        closed=False,
    )


PATHS = [Echo(-6, 0), Echo(-6, 300), Echo(-12, 60), Echo(-20, 150)]


@pytest.mark.parametrize("echo", PATHS, ids=str)
def test_the_first_words_of_a_call_that_come_back_are_no_speech(echo: Echo) -> None:
    assert line(echo=echo, guarded=False).starts_ms, "the line has no echo that could be mistaken"
    heard = line(echo=echo)
    assert heard.starts_ms == []
    assert heard.active_ms is not None
    assert heard.active_ms <= echo.delay_ms + 200


@pytest.mark.parametrize("echo", PATHS, ids=str)
def test_a_caller_who_speaks_over_the_echo_is_heard(echo: Echo) -> None:
    heard = line(CALLER, echo=echo, at_ms=2500)
    assert 0 < heard.starts_ms[0] - 2500 <= 500


@pytest.mark.parametrize("at_ms", [0, 300, 1700, 3100])
def test_without_echo_a_caller_is_heard_as_soon_as_without_the_guard(at_ms: int) -> None:
    heard, plain = line(CALLER, echo=None, at_ms=at_ms), line(CALLER, echo=None, at_ms=at_ms, guarded=False)
    assert heard.starts_ms == plain.starts_ms
    assert heard.clean == plain.raw


def test_once_known_echo_is_quieter_by_12_db() -> None:
    heard = line(echo=Echo(-6, 150))
    raw, clean = (np.frombuffer(pcm, "<i2").astype(float)[8000:] for pcm in (heard.raw, heard.clean))
    assert 10 * np.log10(np.mean(raw[: len(clean)] ** 2) / np.mean(clean**2)) > 12


def test_the_canceller_rests_when_nothing_comes_back_for_long() -> None:
    made: list[int] = []

    def make(rate_hz: int) -> EchoCanceller:
        made.append(rate_hz)
        return WebRtcEchoCanceller(rate_hz)

    guard = EchoGuard(8000, make)
    speech = (AGENT * 6)[: 2 * 8000 * 25]
    guard.play(Play(1, 1, speech, True))
    frame = 320
    for tick in range(25 * 50):
        echo = speech[(tick - 3) * frame : (tick - 2) * frame] if 3 <= tick < 100 else b""
        guard.hear(tick, LegAudio(1, tick * 160, echo.ljust(frame, b"\0"), 1, (tick + 1) * 160))
        if tick == 60:
            assert guard.believe(tick * 160 - 96, 0.9) == 0.0
            assert guard.active
    assert made == [8000]
    assert not guard.active


def test_audio_keeps_its_place_however_it_is_cut() -> None:
    """Packets of 30 ms do not fill frames of 10 ms in pairs; a leg's clock must not show it."""
    guard = EchoGuard(8000, WebRtcEchoCanceller)
    speech = AGENT[: 2 * 8000 * 4]
    guard.play(Play(1, 1, speech, True))
    sizes, offset, end = (0, 240, 200, 33, 160, 327, 160), 0, 0
    for tick in range(150):
        size = sizes[tick % len(sizes)]
        pcm = speech[2 * max(0, offset - 480) : 2 * max(0, offset - 480) + 2 * size].ljust(2 * size, b"\0")
        heard = guard.hear(tick, LegAudio(1, offset, pcm, 1, (tick + 1) * 160))
        offset += size
        if heard.pcm:
            assert heard.offset == end
            end = heard.offset + len(heard.pcm) // 2
            assert 0 <= offset - end < 80
        if tick == 40:
            guard.believe(offset - 256, 0.9)
            assert guard.active


def test_a_likeness_tells_the_delay() -> None:
    sent = np.frombuffer(AGENT, "<i2")
    window, most = 8 * WINDOW_MS, 8 * MAX_LAG_MS
    found = match(sent[12_000 : 12_000 + window], sent[12_000 + 1200 - most : 12_000 + 1200 + window], 8000)
    assert found.likeness > 0.99
    assert found.lag_ms == 150.0


def test_another_voice_is_unlike() -> None:
    sent, other = np.frombuffer(AGENT, "<i2"), np.frombuffer(CALLER, "<i2")
    window, most = 8 * WINDOW_MS, 8 * MAX_LAG_MS
    assert match(other[2000 : 2000 + window], sent[8000 : 8000 + most + window], 8000).likeness < 0.4


def test_silence_is_like_nothing() -> None:
    sent = np.frombuffer(AGENT, "<i2")
    nothing = np.zeros(2048, np.int16)
    assert match(nothing, sent[: 2048 + 3840], 8000).likeness == 0
    assert match(sent[:2048], np.zeros(2048 + 3840, np.int16), 8000).likeness == 0


def test_legs_of_a_process_are_kept_apart_and_forgotten() -> None:
    guards, sent = EchoGuards(never), list[AgentMessage]()
    send = guards.open(("sip", 1), 8000, sent.append)
    guards.open(("websocket", 1), 16_000, sent.append)
    send(Play(1, 1, bytes(320), True))
    send(Pause(1))
    assert sent == [Play(1, 1, bytes(320), True), Pause(1)]
    audio, judgement = LegAudio(1, 0, bytes(320)), Judgement(("sip", 1), 0, 0.9)
    assert guards.hear(("sip", 1), 1, audio) == audio
    assert guards.believe(judgement) == judgement
    guards.close(("sip", 1))
    assert guards.hear(("sip", 1), 2, audio) is audio


def test_switched_off_nothing_is_touched() -> None:
    sent: list[AgentMessage] = []
    guards = EchoGuards(None)
    assert guards.open(("sip", 1), 8000, sent.append) == sent.append
    audio = LegAudio(1, 0, bytes(320))
    assert guards.hear(("sip", 1), 1, audio) is audio


def test_a_leg_of_16_khz_is_guarded_as_well() -> None:
    samples = np.repeat(np.frombuffer(AGENT, "<i2"), 2).astype("<i2")[: 16_000 * 4]
    speech, frame = samples.tobytes(), 640
    guard = EchoGuard(16_000, WebRtcEchoCanceller)
    guard.play(Play(1, 1, speech, True))
    raw, clean = b"", b""
    for tick in range(199):
        lag = 7
        echo = speech[(tick - lag) * frame : (tick - lag + 1) * frame] if tick >= lag else b""
        pcm = (np.frombuffer(echo.ljust(frame, b"\0"), "<i2") // 3).astype("<i2").tobytes()
        heard = guard.hear(tick, LegAudio(1, tick * 320, pcm, 1, (tick + 1) * 320))
        if tick == 40:
            assert guard.believe((tick + 1) * 320 - 512, 0.9) == 0.0
            assert guard.active
        if tick > 100:
            raw, clean = raw + pcm, clean + heard.pcm
    before, after = (np.mean(np.square(np.frombuffer(pcm, "<i2").astype(float))) for pcm in (raw, clean))
    assert 10 * np.log10(before / after) > 12
