"""A real sipp rings the sip process, with real RTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sip import codecs
from sip.leg_protocol import LegEndCause, LegEnded, Resync
from sip.offer_answer import Codec
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent, tone
from tests.fakes.sip_process import Process, running, strongest_hz

pytestmark = [pytest.mark.interop, pytest.mark.package("sip-tester")]

SCENARIOS = Path(__file__).parent / "sipp"


async def _sipp(directory: Path, process: Process, scenario: str, *, calls: int = 1) -> int:
    """Run a scenario and return sipp's exit status: 0 when every call went as it says."""
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    speech = directory / "speech.ulaw"
    speech.write_bytes(codecs.encode(Codec.PCMU, tone(700, 1800)))
    path = directory / f"{scenario}.xml"
    path.write_text(text.replace("[speech]", str(speech)))
    target = process.uri.partition("@")[2]
    child = await asyncio.create_subprocess_exec(
        "sipp", target, "-sf", str(path), "-i", "127.0.0.1", "-m", str(calls), "-l", str(calls), "-r", "10",
        "-timeout", "20s", "-timeout_error", "-nostdin",
        cwd=directory, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return await asyncio.wait_for(child.wait(), 40)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def test_sipp_is_heard_and_its_call_ends_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process:
            agent = ScriptedAgent(Behaviour.TONE)
            await agent.connect(process.leg_socket)
            await agent.wait_for(Resync)
            assert await _sipp(tmp_path, process, "speak") == 0
            ended = await agent.wait_for(LegEnded)
            await agent.close()
        assert isinstance(ended, LegEnded)
        assert ended.cause is LegEndCause.REMOTE_HANGUP
        assert ended.statistics.packets_received > 50
        assert strongest_hz(bytes(agent.heard[1])) == pytest.approx(700, abs=5)

    asyncio.run(test())


def test_sipp_rings_ten_times_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path, call_limit=10) as process:
            agent = ScriptedAgent(Behaviour.TONE)
            await agent.connect(process.leg_socket)
            await agent.wait_for(Resync)
            assert await _sipp(tmp_path, process, "speak", calls=10) == 0
            await agent.wait_for(LegEnded, 10)
            await agent.close()
        assert len({message.leg_id for message in agent.messages if isinstance(message, LegEnded)}) == 10
        for pcm in agent.heard.values():
            assert strongest_hz(bytes(pcm)) == pytest.approx(700, abs=5)

    asyncio.run(test())


def test_sipp_is_told_when_to_ring_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process:
            assert await _sipp(tmp_path, process, "busy") == 0

    asyncio.run(test())
