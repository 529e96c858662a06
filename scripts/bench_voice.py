"""``make bench-voice``: voicebench 0.2, a benchmark of others, against the raw audio WebSocket.

voicebench (Apache-2.0, wholly offline) plays a scripted conversation into a WebSocket, records both sides and derives
everything from that audio with an energy detector. It runs in an environment of its own, with its stock ``websocket``
adapter; only the scenario and the caller's audio are ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from models.speech_client import PiperClient
from scripts.bench_latency import websocket_url
from scripts.bench_lines import RATE_HZ, Line, Voices
from scripts.bench_statistics import OUT, MachineLoad, describe_load, end_in_order, machine, write_figures
from scripts.peer.processes import TREE
from scripts.stack import free_port, running

VOICEBENCH: Final = TREE / ".venv-voicebench" / "bin" / "voicebench"
_VERSION: Final = "0.2.0"
_AFTER_ANSWER: Final = {"after": "agent_speech_end", "delay_ms": 300, "timeout_ms": 12_000}
_OVER_ANSWER: Final = {"after": "agent_speech_start", "delay_ms": 900, "timeout_ms": 8_000}
_SESSION_MS: Final = 110_000

LONG_ANSWER: Final = Line("Can you tell me a little about the clinic?")
TURNS: Final = (
    ("hours", Line("What are your hours on Saturday?"), _AFTER_ANSWER, "respond"),
    ("nervous", Line("I am a little nervous about coming to see you."), _AFTER_ANSWER, "respond"),
    ("parking", Line("Where can I park?"), _AFTER_ANSWER, "respond"),
    ("pause", Line("I moved here last month, from another town.", 500), _AFTER_ANSWER, "respond"),
    ("about", LONG_ANSWER, _AFTER_ANSWER, "respond"),
    ("barge-in", Line("Sorry, are you open on Sunday?"), _OVER_ANSWER, "stop"),
    ("fasting", Line("Do I need to fast before a blood test?"), _AFTER_ANSWER, "respond"),
    ("about-again", LONG_ANSWER, _AFTER_ANSWER, "respond"),
    ("cough", None, _OVER_ANSWER, "ignore"),
    ("thanks", Line("Thank you very much."), _AFTER_ANSWER, "respond"),
)


def scenario(url: str) -> dict[str, Any]:
    """Return the conversation as voicebench reads it; a turn without a line is noise, a cough's stand-in."""
    turns = []
    for name, line, start, expect in TURNS:
        noise = {"synth": "noise", "duration_ms": 180, "level_db": -24, "seed": 1}
        turn = {
            "id": name,
            "audio": {"file": f"{name}.wav"} if line else noise,
            "start": dict(start),
            "expect": expect,
            "response_timeout_ms": 8_000,
            "max_stop_ms": 500,
        }
        turns.append(turn)
    return {
        "name": "landline-clinic",
        "sample_rate": RATE_HZ,
        "frame_ms": 20,
        "tail_ms": 4_000,
        "max_duration_ms": _SESSION_MS,
        # Two sentences of one answer lie up to half a second apart.
        "vad": {"agent": {"min_silence_ms": 650}},
        "adapter": {"type": "websocket", "options": {"url": url}},
        "turns": turns,
        "assert": {
            "p50_response_latency_ms": 1_000,
            "p90_response_latency_ms": 2_000,
            "max_barge_in_stop_ms": 500,
            "min_barge_in_success_rate": 1.0,
            "max_false_barge_ins": 0,
            "max_missed_responses": 0,
        },
    }


async def write_audio(directory: Path, tts_socket: Path, out: Path) -> None:
    """Write the caller's lines as WAV files."""
    voices = Voices(PiperClient(tts_socket), out / "voices")
    lines = {name: line for name, line, _, _ in TURNS if line is not None}
    await voices.prepare(lines.values())
    for name, line in lines.items():
        with wave.open(str(directory / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(voices.pcm(line, RATE_HZ))


def main() -> None:
    """Run voicebench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    end_in_order()
    console = Console(width=140)
    if not VOICEBENCH.is_file():
        raise SystemExit(f"{VOICEBENCH} is missing; run: make bench-voice")
    load = MachineLoad()
    settings = {
        "LANDLINE_WEBSOCKET__ENABLED": "true",
        "LANDLINE_WEBSOCKET__PORT": str(free_port(socket.SOCK_STREAM)),
    }
    with tempfile.TemporaryDirectory(prefix="landline-voice-") as name:
        directory = Path(name)
        console.print("starting Landline …")
        with running(directory / "landline", **settings) as stack:
            asyncio.run(write_audio(directory, stack.run_directory / "tts.sock", arguments.out))
            (directory / "scenario.yaml").write_text(
                yaml.safe_dump(scenario(f"{websocket_url(stack)}?rate={RATE_HZ}"))
            )
            console.print(
                f"voicebench {_VERSION}, {arguments.sessions} sessions of up to {_SESSION_MS // 1000} s …"
            )
            done = subprocess.run(
                [str(VOICEBENCH), "run", str(directory / "scenario.yaml"), "-n", str(arguments.sessions),
                 "--out", str(directory / "report")],
                timeout=60 + arguments.sessions * (_SESSION_MS / 1000 + 30), capture_output=True, text=True,
                check=False,
            )  # fmt: skip
        console.print(done.stdout + done.stderr, highlight=False)
        # 1: one of the limits was missed, which the report shows; anything else is a failure of the run.
        if done.returncode not in (0, 1):
            raise SystemExit(f"voicebench ended with {done.returncode}")
        report = json.loads((directory / "report" / "report.json").read_text())
        arguments.out.mkdir(parents=True, exist_ok=True)
        shutil.copy(directory / "report" / "report.html", arguments.out / "voicebench.html")
    figures = {
        "machine": machine(),
        "load": load.report(),
        "version": _VERSION,
        "sessions": arguments.sessions,
        "summary": report["summary"],
        "assertions": report.get("assertions", []),
        "printed": done.stdout,
    }
    console.print(describe_load(figures["load"]))
    console.print(f"figures: {write_figures('voice', figures, arguments.out)}")


if __name__ == "__main__":
    main()
