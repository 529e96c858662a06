"""pyVoIP rings the sip process, from an environment and a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from sip.leg_protocol import LegEndCause, LegEnded, Resync
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent
from tests.fakes.sip_process import free_port, running, strongest_hz

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-pyvoip" / "bin" / "python"
RING = Path(__file__).parent / "pyvoip" / "ring.py"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="no .venv-pyvoip with tests/interop/pyvoip/requirements.txt"
    ),
]


def test_pyvoip_is_answered_heard_and_ends_its_call(tmp_path: Path) -> None:
    async def test() -> None:
        heard = tmp_path / "heard.raw"
        async with running(tmp_path) as process:
            agent = ScriptedAgent(Behaviour.TONE)
            await agent.connect(process.leg_socket)
            await agent.wait_for(Resync)
            port = process.uri.rpartition(":")[2]
            child = await asyncio.create_subprocess_exec(
                str(PYTHON), "-W", "ignore", str(RING), "127.0.0.1", port, str(free_port()), "3", str(heard)
            )
            try:
                assert await asyncio.wait_for(child.wait(), 40) == 0
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
            ended = await agent.wait_for(LegEnded)
            await agent.close()
        assert isinstance(ended, LegEnded)
        assert ended.cause is LegEndCause.REMOTE_HANGUP
        # It works in unsigned 8-bit audio.
        samples = (np.frombuffer(heard.read_bytes(), np.uint8).astype(np.int16) - 128) * 256
        spoken = samples[np.flatnonzero(np.abs(samples) > 4000)[0] :][:16_000]
        assert strongest_hz(spoken.astype("<i2").tobytes()) == pytest.approx(440, abs=10)
        assert strongest_hz(bytes(agent.heard[1])) == pytest.approx(700, abs=10)

    asyncio.run(test())
