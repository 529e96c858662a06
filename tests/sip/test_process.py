"""The sip process as it is started: real UDP, real unix sockets, a real telephone, a scripted agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from scripts.softphone import CallRefused, NetworkConditions, ReferPolicy, Softphone
from sip.leg_protocol import (
    Dtmf,
    HangUp,
    Heartbeat,
    Hello,
    LegEndCause,
    LegEnded,
    Play,
    Resync,
    TransferProgress,
)
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent, obey_keys, tone
from tests.fakes.sip_process import Process, running, strongest_hz

pytestmark = pytest.mark.loopback

PHRASES = {"one_moment": tone(1000, 300), "handing_over": tone(1500, 300), "shutting_down": tone(2000, 300)}


@contextlib.asynccontextmanager
async def _agent(process: Process, behaviour: Behaviour, **options: object) -> AsyncIterator[ScriptedAgent]:
    agent = ScriptedAgent(behaviour, phrases=PHRASES, **options)  # type: ignore[arg-type]
    await agent.connect(process.leg_socket)
    await agent.wait_for(Resync)
    try:
        yield agent
    finally:
        await agent.close()


def _run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(limited())


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_a_caller_hears_the_agent_and_the_agent_the_caller(tmp_path: Path, codec: str) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.TONE) as agent:
            phone = await Softphone.start(codec=codec)
            call = await phone.dial(process.uri)
            await call.say(tone(700, 600))
            await call.wait_for_audio()
            await call.hang_up()
            await agent.wait_for(LegEnded)
            assert strongest_hz(call.received_pcm()) == pytest.approx(440, abs=5)
            assert strongest_hz(bytes(agent.heard[1])) == pytest.approx(700, abs=5)
            await phone.close()

    _run(test)


def test_speech_over_a_bad_network_reaches_the_agent_gaplessly(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT) as agent:
            phone = await Softphone.start(
                network=NetworkConditions(seed=3, loss=0.05, reorder=0.05, jitter_ms=15)
            )
            call = await phone.dial(process.uri)
            await call.say(tone(700, 1500))
            await call.hang_up()
            ended = await agent.wait_for(LegEnded)
            assert isinstance(ended, LegEnded)
            assert ended.statistics.packets_lost > 0
            assert strongest_hz(bytes(agent.heard[1])) == pytest.approx(700, abs=5)
            position = 0
            for offset, samples in agent.offsets[1]:
                assert offset == position
                position += samples
            await phone.close()

    _run(test)


def test_keys_transfer_and_hang_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT, on_key=obey_keys) as agent,
        ):
            phone = await Softphone.start()
            call = await phone.dial(process.uri)
            call.press("0")
            await asyncio.wait_for(call.ended.wait(), 10)
            assert phone.refer_targets == ["sip:desk@127.0.0.1:5999"]
            ended = await agent.wait_for(LegEnded)
            assert isinstance(ended, LegEnded)
            assert ended.cause is LegEndCause.TRANSFERRED
            other = await phone.dial(process.uri)
            other.press("5#")
            await asyncio.wait_for(other.ended.wait(), 10)
            keys = [message.digit for message in agent.messages if isinstance(message, Dtmf)]
            assert keys == ["0", "5", "#"]
            await phone.close()

    _run(test)


def test_a_refused_transfer_leaves_the_call_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT, on_key=obey_keys) as agent,
        ):
            phone = await Softphone.start(refer_policy=ReferPolicy(status=403))
            call = await phone.dial(process.uri)
            call.press("0")
            progress = await agent.wait_for(TransferProgress)
            assert isinstance(progress, TransferProgress)
            assert (progress.status, progress.final) == (403, True)
            now = call.received[-1].at_ns
            agent.send(Play(1, 1, tone(900, 300), True))
            await call.wait_for_audio(since_ns=now)
            await phone.close()

    _run(test)


def test_beyond_the_limit_callers_are_told_when_to_ring_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path, call_limit=1, retry_after_s=9) as process:
            phone = await Softphone.start()
            with pytest.raises(CallRefused) as nobody_there:
                await phone.dial(process.uri)
            assert (nobody_there.value.status, nobody_there.value.retry_after) == (503, 9)
            async with _agent(process, Behaviour.SILENT):
                await phone.dial(process.uri)
                with pytest.raises(CallRefused) as busy:
                    await phone.dial(process.uri)
                assert busy.value.status == 503
            await phone.close()

    _run(test)


@pytest.mark.parametrize("how", ["closed", "hung"])
def test_an_agent_that_is_lost_is_replaced_and_the_caller_told(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT) as agent:
            phone = await Softphone.start()
            call = await phone.dial(process.uri)
            if how == "closed":
                await agent.close()
            else:
                agent.stop_heartbeat()
                await asyncio.wait_for(agent.wait_closed(), 10)
            heard_ns = await call.wait_for_audio(timeout_s=10)
            await call.wait_for_quiet(200)
            assert strongest_hz(call.received_pcm(heard_ns)) == pytest.approx(1000, abs=20)
            async with _agent(process, Behaviour.TONE) as other:
                resync = await other.wait_for(Resync)
                assert isinstance(resync, Resync)
                assert [leg.offer.leg_id for leg in resync.legs] == [1]
                heard_ns = await call.wait_for_audio(since_ns=call.received[-1].at_ns)
                await asyncio.sleep(0.3)
                assert strongest_hz(call.received_pcm(heard_ns)) == pytest.approx(440, abs=20)
                assert not call.ended.is_set()
            await phone.close()

    _run(test)


@pytest.mark.parametrize("how", ["lifeline", "SIGTERM"])
def test_callers_are_told_before_the_process_ends_in_order(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT):
            phone = await Softphone.start()
            call = await phone.dial(process.uri)
            if how == "lifeline":
                process.let_go()
            else:
                process.child.terminate()
            assert await asyncio.wait_for(process.child.wait(), 10) == 0
            assert call.ended.is_set()
            assert strongest_hz(call.received_pcm()) == pytest.approx(2000, abs=20)
            assert not process.leg_socket.exists()
            await phone.close()

    _run(test)


def test_the_status_socket_tells_numbers_and_sockets_are_private(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT):
            phone = await Softphone.start()
            call = await phone.dial(process.uri)
            await call.say(tone(500, 100))
            status = await process.status()
            assert (status["legs"], status["agents"], status["pid"]) == (1, 1, process.child.pid)
            lateness = status["lateness_ms"]
            assert isinstance(lateness, dict)
            assert set(lateness) == {"p50", "p99", "p999", "max"}
            for name in ("leg.sock", "sip-status.sock"):
                assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600
            await phone.close()

    _run(test)


def test_noise_on_every_socket_leaves_the_process_serving(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process:
            phone = await Softphone.start()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                target = ("127.0.0.1", int(process.uri.rpartition(":")[2]))
                for data in (b"", b"\0" * 2000, b"INVITE", b"INVITE sip:x SIP/2.0\r\n\r\n", os.urandom(1200)):
                    sock.sendto(data, target)
            _, writer = await asyncio.open_unix_connection(str(process.leg_socket))
            writer.write(b"\xff" * 100)
            await writer.drain()
            writer.close()
            async with _agent(process, Behaviour.SILENT):
                call = await phone.dial(process.uri)
                await call.hang_up()
            await phone.close()

    _run(test)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            path = tmp_path / "sip.json"
            path.write_text(json.dumps({"run_directory": str(tmp_path), "host": "127.0.0.1", "port": port}))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sip", str(path), stderr=asyncio.subprocess.PIPE
            )
            _, error = await asyncio.wait_for(child.communicate(), 20)
        assert child.returncode == 2
        assert f"UDP port {port} on 127.0.0.1 is taken; expected a free one" in error.decode()

    _run(test)


def test_the_socket_of_a_killed_process_does_not_keep_the_next_from_starting(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as first:
            first.child.kill()
            await first.child.wait()
            assert first.leg_socket.exists()
            async with running(tmp_path) as second, _agent(second, Behaviour.SILENT) as agent:
                assert isinstance(await agent.wait_for(Hello), Hello)
                agent.send(Heartbeat(1))
                agent.send(HangUp(99))

    _run(test)
