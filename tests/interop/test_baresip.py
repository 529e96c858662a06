"""A real baresip rings the sip process. It says an address that it does not send from, so the latch is tried as well."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import pytest

from sip.leg_protocol import LegEndCause, LegEnded, Resync
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent, tone
from tests.fakes.sip_process import RATE_HZ, running, strongest_hz

pytestmark = [pytest.mark.interop, pytest.mark.package("baresip-core")]

MODULES = Path("/usr/lib/baresip/modules")


def write_configuration(directory: Path, spoken: bytes, codec: str) -> None:
    """Make a baresip that says ``spoken`` (PCM16, 8 kHz) and writes what it hears into ``directory``."""
    directory.mkdir()
    with wave.open(str(directory / "spoken.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(spoken)
    lines = (
        "sip_listen 0.0.0.0:0",
        f"audio_source aufile,{directory}/spoken.wav",
        "audio_alert none",
        "ausrc_srate 8000",
        "auplay_srate 8000",
        "ausrc_channels 1",
        "auplay_channels 1",
        f"module_path {MODULES}",
        "module g711.so",
        "module aufile.so",
        "module sndfile.so",
        "module_app account.so",
        "module_app menu.so",
        f"snd_path {directory}",
    )
    (directory / "config").write_text("\n".join(lines) + "\n")
    (directory / "accounts").write_text(f"<sip:caller@127.0.0.1>;regint=0;audio_codecs={codec}\n")
    (directory / "contacts").write_text("")


async def ring(directory: Path, uri: str, seconds: int) -> str:
    """Ring ``uri`` for so long and return what baresip printed."""
    child = await asyncio.create_subprocess_exec(
        "baresip", "-f", str(directory), "-t", str(seconds), "-e", f"d {uri}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(child.communicate(), seconds + 20)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return output.decode(errors="replace")


def heard(directory: Path) -> bytes:
    """Return what baresip received."""
    (path,) = directory.glob("dump-*-dec.wav")
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE_HZ
        frames: bytes = file.readframes(file.getnframes())
    return frames


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_baresip_hears_the_agent_and_is_heard(tmp_path: Path, codec: str) -> None:
    async def test() -> None:
        run = tmp_path / "run"
        run.mkdir()
        write_configuration(tmp_path / "baresip", tone(700, 2500), codec)
        async with running(run) as process:
            agent = ScriptedAgent(Behaviour.TONE)
            await agent.connect(process.leg_socket)
            await agent.wait_for(Resync)
            output = await ring(tmp_path / "baresip", process.uri, 5)
            ended = await agent.wait_for(LegEnded)
            await agent.close()
        assert "Call established" in output
        assert isinstance(ended, LegEnded)
        assert ended.cause is LegEndCause.REMOTE_HANGUP
        assert strongest_hz(heard(tmp_path / "baresip")) == pytest.approx(440, abs=5)
        assert strongest_hz(bytes(agent.heard[1])) == pytest.approx(700, abs=5)

    asyncio.run(test())


def test_baresip_is_told_that_nobody_is_there(tmp_path: Path) -> None:
    async def test() -> None:
        run = tmp_path / "run"
        run.mkdir()
        write_configuration(tmp_path / "baresip", tone(700, 500), "PCMU")
        async with running(run) as process:
            output = await ring(tmp_path / "baresip", process.uri, 2)
        assert "503" in output
        assert "Call established" not in output

    asyncio.run(test())
