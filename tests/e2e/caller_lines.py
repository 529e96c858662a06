"""What the caller of the end-to-end tests says, as recordings, so that a test hears the same words every time.

Piper draws new noise for every sentence, and a small recogniser now and then mishears one; what is tested is Landline,
not the luck of a draw. ``python -m tests.e2e.caller_lines`` records them anew with the voice ``joe`` (public domain),
keeping the first take of each line that the recogniser understands at 8 kHz.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import wave
from pathlib import Path

from models.speech_client import PiperClient, SpeechWorkerClient
from scripts.caller import RATE_HZ, trim
from scripts.stack import running
from server.agent.phrases import synthesise_whole

DIRECTORY = Path(__file__).parents[1] / "data" / "caller"

LINES = (
    "Can I speak to a person, please?",
    "How much is a train ticket to London?",
    "I am a little nervous about coming to see you.",
    "I would like to book an appointment next Friday at quarter past nine.",
    "I would like to book an appointment next Thursday at half past two.",
    "I would like to book an appointment next Thursday at quarter past three.",
    "I would like to book an appointment next Wednesday at half past ten.",
    "I would like to speak to a person, please.",
    "My name is Peter Miller.",
    "My name is Susan Baker.",
    "Sorry, are you open on Sunday?",
    "That is all, thank you. Goodbye.",
    "What are your hours on Saturday?",
    "Where can I park?",
    "Yes, please.",
)
_TAKES = 12


def path_of(line: str) -> Path:
    """Return where a line's recording is kept."""
    return DIRECTORY / (re.sub(r"[^a-z]+", "_", line.lower()).strip("_") + ".wav")


def recorded(line: str) -> bytes:
    """Return a line as PCM16 mono at 8 kHz."""
    with wave.open(str(path_of(line))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        frames: bytes = file.readframes(file.getnframes())
    return frames


def _same(line: str, heard: str) -> bool:
    numbers = {"10": "ten", "2": "two", "3": "three", "9": "nine", "10:30": "half past ten"}

    def plain(text: str) -> list[str]:
        return [numbers.get(word, word) for word in re.findall(r"[a-z0-9:]+", text.lower())]

    return plain(line) == plain(heard)


async def _record(run_directory: Path) -> None:
    tts = PiperClient(run_directory / "tts.sock")
    stt = SpeechWorkerClient(run_directory / "speech.sock")
    pause = bytes(2 * RATE_HZ // 5)
    for line in LINES:
        for _ in range(_TAKES):
            pcm = trim(await synthesise_whole(tts, line, "", RATE_HZ))
            heard = (await stt.transcribe(pause + pcm + pause, RATE_HZ)).text
            if _same(line, heard):
                break
        print(f"{'ok ' if _same(line, heard) else 'NOT'} {line} -> {heard}")
        with wave.open(str(path_of(line)), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(pcm)


def main() -> None:
    """Record all lines."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="landline-lines-") as directory,
        running(Path(directory)) as stack,
    ):
        asyncio.run(_record(stack.run_directory))


if __name__ == "__main__":
    main()
