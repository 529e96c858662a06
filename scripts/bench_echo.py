"""Echo on the line: what is taken out, whether the agent interrupts itself, how soon a caller is heard, and what it costs.

``python -m scripts.bench_echo`` prints a table of echo paths and draws one of them to ``build/bench/echo.png``. Real
detector of speech, real canceller, recorded speech, in virtual time; CPU is the process's own.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.echo_canceller import WebRtcEchoCanceller
from models.model_store import model_path
from models.vad import SileroVad
from scripts.echo_line import FRAME, RATE_HZ, Echo, Heard, run
from server.agent.echo_guard import EchoGuard
from server.config import Settings
from sip.leg_protocol import LegAudio, Play
from tests.e2e.caller_lines import LINES, recorded

_PAUSE = bytes(2 * RATE_HZ * 3 // 10)
_AGENT = b"".join(
    recorded(line) + _PAUSE for line in LINES if "book" in line or "nervous" in line or "person" in line
)
_CALLER = ("Sorry, are you open on Sunday?", "What are your hours on Saturday?")
_AT_MS = (300, 1300, 2500, 4100, 5200, 7700, 9000)
_CALLS = 100
_COST_TICKS = 500


def _level_db(pcm: bytes, start_s: float, stop_s: float) -> float:
    samples = np.frombuffer(pcm, "<i2")[int(start_s * RATE_HZ) : int(stop_s * RATE_HZ)].astype(np.float64)
    return float(10 * np.log10(np.mean(samples**2) + 1e-3))


def _row(echo: Echo | None, vad: SileroVad) -> tuple[str, Heard]:
    line = partial(run, vad=vad, make_canceller=WebRtcEchoCanceller, echo=echo)
    plain = line(_AGENT, b"", guarded=False, closed=False)
    alone = line(_AGENT, b"", closed=False)
    delays = []
    for spoken in _CALLER:
        for at_ms in _AT_MS:
            heard = line(_AGENT, recorded(spoken), caller_at_ms=at_ms)
            delays.append(next((start - at_ms for start in heard.starts_ms if start > at_ms), 9999.0))
    erle = [
        _level_db(alone.raw, start, stop) - _level_db(alone.clean, start, stop)
        for start, stop in ((0.6, 2.0), (2.0, 5.0), (5.0, 20.0))
    ]
    name = "none" if echo is None else f"{echo.gain_db:.0f} dB, {echo.delay_ms:.0f} ms"
    known = f"{alone.active_ms:.0f}" if alone.active_ms is not None else "–"
    text = (
        f"| {name:>14} | {len(plain.starts_ms):>2} | {len(alone.starts_ms):>2} | {known:>4} "
        f"| {erle[0]:4.0f} / {erle[1]:3.0f} / {erle[2]:3.0f} "
        f"| {statistics.median(delays):4.0f} / {max(delays):4.0f} | {sum(alone.guard_us) / len(alone.guard_us) / 200:5.2f} |"
    )
    return text, alone


def _cost_of_calls(echoing: bool) -> float:
    """Return the share of a core that 100 guards take, all agents speaking."""
    import time

    guards = [EchoGuard(RATE_HZ, WebRtcEchoCanceller) for _ in range(_CALLS)]
    for guard in guards:
        guard.play(Play(1, 1, _AGENT, True))
    silence = bytes(2 * FRAME)
    spent = 0
    for tick in range(_COST_TICKS):
        delayed = _AGENT[2 * FRAME * (tick - 5) : 2 * FRAME * (tick - 4)] if tick >= 5 else silence
        pcm = delayed if echoing else silence
        begun = time.process_time_ns()
        for guard in guards:
            guard.hear(tick, LegAudio(1, tick * FRAME, pcm, 1, (tick + 1) * FRAME))
            if echoing and tick == 40:
                guard.believe(tick * FRAME - 96, 0.9)
        # The first second holds the learning of all of them at once, which calls do one by one.
        spent += time.process_time_ns() - begun if tick > 50 else 0
    assert all(guard.active == echoing for guard in guards)
    return spent / ((_COST_TICKS - 51) * 20e6)


def _draw(heard: Heard, echo: Echo, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    for pcm, label in ((heard.sent, "sent"), (heard.raw, "came in"), (heard.clean, "after the guard")):
        levels = _levels(pcm)
        axes.plot(np.arange(len(levels)) * 0.1, levels, label=label)
    if heard.active_ms is not None:
        axes.axvline(heard.active_ms / 1000, color="grey", linestyle=":", label="echo known")
    axes.set(
        xlabel="seconds", ylabel="dBFS, 100 ms", xlim=(0, 20), ylim=(-90, 0),
        title=f"The agent alone on a line with echo of {echo.gain_db:.0f} dB, {echo.delay_ms:.0f} ms late",
    )  # fmt: skip
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"drawn to {path}")


def _levels(pcm: bytes) -> NDArray[np.float64]:
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    blocks = samples[: len(samples) // 800 * 800].reshape(-1, 800)
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(blocks**2, axis=1) + 1e-9)
    return levels


def main() -> None:
    """Print the table, draw the picture."""
    vad = SileroVad(model_path("silero-vad", Settings().models_directory))
    print(
        "| echo | self-interruptions in 20 s without, with the guard | | known after, ms "
        "| ERLE, dB: 0.6-2 / 2-5 / 5-20 s | barge-in, ms: P50 / max | CPU while the agent speaks, % of a core |"
    )
    print("|---|---|---|---|---|---|---|")
    paths = [None, *(Echo(gain_db, delay_ms) for gain_db in (-20, -12, -6) for delay_ms in (0, 60, 150, 300))]
    shown: tuple[Heard, Echo] | None = None
    for echo in paths:
        text, alone = _row(echo, vad)
        print(text, flush=True)
        if echo is not None and (echo.gain_db, echo.delay_ms) == (-12, 150):
            shown = alone, echo
    for echoing in (False, True):
        share = _cost_of_calls(echoing)
        print(
            f"{_CALLS} calls at once {'with' if echoing else 'without'} echo, all agents speaking: {100 * share:.1f} % of a core"
        )
    assert shown is not None
    _draw(*shown, Path("build/bench/echo.png"))


if __name__ == "__main__":
    main()
