"""The websocket process as it is started: a real WebSocket client, real unix sockets, a scripted agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from scripts.softphone import CallRefused
from scripts.websocket_phone import WebSocketPhoneCall, dial
from sip.leg_protocol import (
    Dtmf,
    HangUp,
    LegEndCause,
    LegEnded,
    Mark,
    MarkKind,
    Offer,
    Pause,
    Play,
    Resync,
    SendDtmf,
    Stop,
    Transfer,
    TransferProgress,
)
from tests.fakes.scripted_agent import Behaviour, ScriptedAgent, obey_keys, tone
from tests.fakes.websocket_process import Process, running

pytestmark = pytest.mark.loopback

PHRASES = {"one_moment": tone(1000, 300), "handing_over": tone(1500, 300), "shutting_down": tone(2000, 300)}


def sine(hertz: float, ms: int, rate_hz: int) -> bytes:
    time_s = np.arange(rate_hz * ms // 1000) / rate_hz
    return (np.sin(2 * np.pi * hertz * time_s) * 16_000).astype("<i2").tobytes()


def strongest_hz(pcm: bytes, rate_hz: int) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate_hz / len(samples)


@contextlib.asynccontextmanager
async def _agent(process: Process, behaviour: Behaviour, **options: object) -> AsyncIterator[ScriptedAgent]:
    agent = ScriptedAgent(behaviour, phrases=PHRASES, **options)  # type: ignore[arg-type]
    await agent.connect(process.leg_socket)
    await agent.wait_for(Resync)
    try:
        yield agent
    finally:
        await agent.close()


@contextlib.asynccontextmanager
async def _ringing(process: Process, **options: object) -> AsyncIterator[WebSocketPhoneCall]:
    call = await dial(process.url, **options)  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(call.started.wait(), 5)
        yield call
    finally:
        await call.close()


def _run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(limited())


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_a_caller_hears_the_agent_and_the_agent_the_caller(tmp_path: Path, rate_hz: int) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT) as agent,
            _ringing(process, rate_hz=rate_hz) as call,
        ):
            offer = await agent.wait_for(Offer)
            assert isinstance(offer, Offer)
            assert (offer.rate_hz, offer.call_id) == (rate_hz, call.call_id)
            agent.send(Play(1, 1, sine(440, 600, rate_hz), True))
            await call.say(sine(700, 600, rate_hz))
            await agent.wait_for(Mark, 2)
            assert strongest_hz(call.received_pcm(), rate_hz) == pytest.approx(440, abs=5)
            assert {len(packet.pcm) for packet in call.received} == {rate_hz // 25}
            await call.hang_up()
            ended = await agent.wait_for(LegEnded)
            assert isinstance(ended, LegEnded)
            assert ended.cause is LegEndCause.REMOTE_HANGUP
            assert (call.cause, call.close_code) == ("remote_hangup", 1000)
            assert strongest_hz(bytes(agent.heard[1]), rate_hz) == pytest.approx(700, abs=5)
            position = 0
            for offset, samples in agent.offsets[1]:
                assert offset == position
                position += samples

    _run(test)


def test_speech_is_paced_in_real_time_and_a_stop_clears_what_the_client_buffers(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT) as agent,
            _ringing(process) as call,
        ):
            agent.send(Play(1, 1, sine(440, 5_000, 16_000), True))
            began = await call.wait_for_audio()
            await asyncio.sleep(0.5)
            agent.send(Pause(1))
            cleared = await call.wait_for_event("clear")
            paused = await agent.wait_for(Mark, 2)
            assert isinstance(paused, Mark)
            assert paused.kind is MarkKind.PAUSED
            sent_ms = paused.played / 16
            assert sent_ms == pytest.approx((cleared - began) / 1e6, abs=250)
            received = len(call.received)
            await asyncio.sleep(0.2)
            assert len(call.received) == received
            # The client has dropped everything already.
            agent.send(Stop(1))
            await agent.wait_for(Mark, 3)
            assert len(call.events_named("clear")) == 1

    _run(test)


def test_keys_both_ways_a_transfer_that_cannot_be_and_a_hang_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT, on_key=obey_keys) as agent,
            _ringing(process) as call,
        ):
            agent.send(SendDtmf(1, "12"))
            await call.wait_for_event("dtmf")
            assert call.events_named("dtmf")[0][1]["digits"] == "12"
            agent.send(Transfer(1, "sip:desk@example.org"))
            progress = await agent.wait_for(TransferProgress)
            assert isinstance(progress, TransferProgress)
            assert (progress.status, progress.final) == (501, True)
            agent.send(Play(1, 1, sine(440, 100, 16_000), True))
            await call.wait_for_audio()
            call.press("5#")
            await asyncio.wait_for(call.ended.wait(), 10)
            assert (call.cause, call.close_code) == ("local_hangup", 1000)
            assert [message.digit for message in agent.messages if isinstance(message, Dtmf)] == ["5", "#"]

    _run(test)


def test_a_caller_who_cannot_be_served_is_told_before_the_upgrade(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path, call_limit=1, retry_after_s=9, offer_timeout_ms=300) as process:
            with pytest.raises(CallRefused) as nobody_there:
                await dial(process.url)
            assert (nobody_there.value.status, nobody_there.value.retry_after) == (503, 9)
            async with _agent(process, Behaviour.IGNORE):
                with pytest.raises(CallRefused) as silent:
                    await dial(process.url)
                assert silent.value.status == 503
            async with _agent(process, Behaviour.REFUSE):
                with pytest.raises(CallRefused) as refused:
                    await dial(process.url)
                assert refused.value.status == 503
            async with _agent(process, Behaviour.SILENT), _ringing(process):
                with pytest.raises(CallRefused) as busy:
                    await dial(process.url)
                assert (busy.value.status, busy.value.retry_after) == (503, 9)

    _run(test)


def test_a_token_is_asked_for_and_a_web_page_is_not_trusted_without(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path, token="tiger") as process, _agent(process, Behaviour.SILENT):
            for wrong in ("", "lion"):
                with pytest.raises(CallRefused) as refused:
                    await dial(process.url, token=wrong)
                assert refused.value.status == 401
            async with _ringing(process, token="tiger"):
                pass

    _run(test)


@pytest.mark.parametrize(
    ("message", "close_code", "code"),
    [
        (b"\0\0\0", 1007, "odd_size"),
        (bytes(70_000), 1009, "too_large"),
        ("hello", 1007, "not_json"),
        ('{"event":"sing"}', 1003, "unknown_event"),
        ('{"event":"dtmf","digit":"x"}', 1007, "bad_digit"),
        ('{"event":"played","samples":-1}', 1007, "bad_samples"),
    ],
    ids=["odd", "large", "text", "event", "digit", "samples"],
)
def test_what_is_not_the_protocol_is_named_and_ends_the_call(
    tmp_path: Path, message: bytes | str, close_code: int, code: str
) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT) as agent:
            async with connect(process.url, proxy=None) as client:
                await client.send(message)
                events = []
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        events.append(json.loads(await client.recv()))
            assert [event["event"] for event in events] == ["start", "error"]
            assert events[1]["code"] == code
            assert client.close_code == close_code
            ended = await agent.wait_for(LegEnded)
            assert isinstance(ended, LegEnded)
            assert ended.cause is LegEndCause.PROTOCOL_ERROR

    _run(test)


@pytest.mark.parametrize("how", ["closed", "hung"])
def test_an_agent_that_is_lost_is_replaced_and_the_caller_told(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as process,
            _agent(process, Behaviour.SILENT) as agent,
            _ringing(process, rate_hz=8_000) as call,
        ):
            if how == "closed":
                await agent.close()
            else:
                agent.stop_heartbeat()
                await asyncio.wait_for(agent.wait_closed(), 10)
            heard_ns = await call.wait_for_audio()
            await call.wait_for_quiet(300)
            assert strongest_hz(call.received_pcm(heard_ns), 8_000) == pytest.approx(1000, abs=20)
            async with _agent(process, Behaviour.TONE) as other:
                resync = await other.wait_for(Resync)
                assert isinstance(resync, Resync)
                assert [leg.offer.call_id for leg in resync.legs] == [call.call_id]
                await call.wait_for_audio(since_ns=call.heard[-1].at_ns + 1)
                assert not call.ended.is_set()

    _run(test)


def test_a_caller_whom_nobody_takes_back_is_let_go(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path, agent_wait_s=1.0) as process,
            _agent(process, Behaviour.SILENT) as agent,
            _ringing(process, rate_hz=8_000) as call,
        ):
            await agent.close()
            await asyncio.wait_for(call.ended.wait(), 10)
            assert (call.cause, call.close_code) == ("agent_lost", 1000)
            last = call.received_pcm(call.heard[-1].at_ns - 200_000_000)
            assert strongest_hz(last, 8_000) == pytest.approx(1500, abs=30)

    _run(test)


@pytest.mark.parametrize("how", ["lifeline", "SIGTERM"])
def test_callers_are_told_before_the_process_ends_in_order(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT):
            async with _ringing(process, rate_hz=8_000) as call:
                if how == "lifeline":
                    assert process.child.stdin is not None
                    process.child.stdin.close()
                else:
                    process.child.terminate()
                assert await asyncio.wait_for(process.child.wait(), 10) == 0
                await asyncio.wait_for(call.ended.wait(), 5)
                assert call.cause == "shutdown"
                assert strongest_hz(call.received_pcm(), 8_000) == pytest.approx(2000, abs=20)
            assert not process.leg_socket.exists()

    _run(test)


def test_a_client_that_does_not_read_is_dropped_and_nobody_else_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.SILENT) as agent:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", process.port))
                deaf.sendall(
                    b"GET /v1/call?rate=16000 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                await agent.wait_for(Offer)
                await asyncio.sleep(0.3)
                agent.send(Play(1, 1, sine(440, 30_000, 16_000), True))
                async with _ringing(process) as call:
                    agent.send(Play(2, 1, sine(440, 9_000, 16_000), True))
                    ended = await agent.wait_for(LegEnded, timeout_s=30)
                    assert isinstance(ended, LegEnded)
                    assert (ended.leg_id, ended.cause) == (1, LegEndCause.MEDIA_TIMEOUT)
                    since = [packet.at_ns for packet in call.received]
                    gaps = np.diff(since) / 1e6
                    assert np.median(gaps) == pytest.approx(20, abs=5)
            counters = (await process.status())["counters"]
            assert isinstance(counters, dict)
            assert counters["dropped_slow_reader"] == 1

    _run(test)


def test_a_client_that_says_nothing_at_all_times_out_but_one_that_only_pongs_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path, media_timeout_s=6.0) as process,
            _agent(process, Behaviour.SILENT) as agent,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
            writer.write(
                b"GET /v1/call HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            async with _ringing(process, suppress_silence=True) as call:
                ended = await agent.wait_for(LegEnded, timeout_s=12)
                assert isinstance(ended, LegEnded)
                assert (ended.leg_id, ended.cause) == (1, LegEndCause.MEDIA_TIMEOUT)
                assert not call.ended.is_set()
            said = await asyncio.wait_for(reader.read(), 5)
            assert b'{"event":"end","reason":"media_timeout"}' in said
            writer.close()

    _run(test)


def test_the_client_of_the_guide_talks_to_the_door(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "websocket.md").read_text()
    program = guide.partition("```python\n")[2].partition("```")[0]

    async def test() -> None:
        async with running(tmp_path) as process, _agent(process, Behaviour.ECHO) as agent:
            with wave.open(str(tmp_path / "said.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(sine(700, 600, 16_000))
            (tmp_path / "client.py").write_text(program.replace("8090", str(process.port)))
            client = await asyncio.create_subprocess_exec(
                sys.executable, "client.py", "said.wav", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            await agent.wait_for(Offer)
            await asyncio.sleep(1.5)
            agent.send(HangUp(1))
            printed, _ = await asyncio.wait_for(client.communicate(), 20)
        assert client.returncode == 0
        events = [json.loads(line)["event"] for line in printed.decode().splitlines()]
        assert (events[0], events[-1]) == ("start", "end")
        with wave.open(str(tmp_path / "heard.wav")) as file:
            heard = file.readframes(file.getnframes())
        assert strongest_hz(heard, 16_000) == pytest.approx(700, abs=20)

    _run(test)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            port = sock.getsockname()[1]
            path = tmp_path / "websocket.json"
            path.write_text(json.dumps({"run_directory": str(tmp_path), "port": port}))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sip.websocket", str(path), stderr=asyncio.subprocess.PIPE
            )
            _, error = await asyncio.wait_for(child.communicate(), 20)
        assert child.returncode == 2
        assert f"TCP port {port} on 127.0.0.1 is taken; expected a free one" in error.decode()

    _run(test)
