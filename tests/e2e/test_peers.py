"""Telephones that are not ours: baresip and sipp ring the clinic."""

from __future__ import annotations

import asyncio
import datetime
import re
import socket
import subprocess
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from models.speech_client import SpeechWorkerClient
from scripts.caller import RATE_HZ
from scripts.stack import Stack, free_port
from sip import codecs
from sip.offer_answer import Codec
from tests.e2e.caller_lines import recorded
from tests.e2e.conversation import newest_call
from tests.interop.test_baresip import heard, ring, write_configuration
from tests.interop.test_sipp import SCENARIOS

pytestmark = [pytest.mark.e2e, pytest.mark.interop]


def transcribed(stack: Stack, pcm: bytes) -> str:
    """Return the words in PCM16 at 8 kHz."""

    async def listen() -> str:
        stt = SpeechWorkerClient(stack.run_directory / "speech.sock")
        window = 2 * RATE_HZ * 20
        pieces = [pcm[start : start + window] for start in range(0, len(pcm), window)]
        return " ".join([(await stt.transcribe(piece, RATE_HZ)).text for piece in pieces])

    return asyncio.run(listen()).lower()


def pause(seconds: float) -> bytes:
    """Return the silence of somebody who listens."""
    return bytes(2 * int(RATE_HZ * seconds))


def baresip_says(
    stack: Stack, folder: Path, timeline: list[bytes], during: Awaitable[None] | None = None
) -> bytes:
    """Have baresip ring and say the timeline; return what it heard, from the answer on."""
    seconds = round(sum(len(piece) for piece in timeline) / 2 / RATE_HZ)
    write_configuration(folder, b"".join(timeline) + pause(30), "PCMU")

    async def call() -> str:
        side = asyncio.ensure_future(during) if during is not None else None
        output = await ring(folder, stack.uri, seconds)
        if side is not None:
            await side
        return output

    assert "Call established" in asyncio.run(call())
    return heard(folder)


GREETING_S = 9
"""The greeting takes about six seconds; a caller hears it out."""


@pytest.mark.package("baresip-core")
def test_baresip_asks_for_the_saturday_hours_and_hears_them(stack: Stack, tmp_path: Path) -> None:
    question = recorded("What are your hours on Saturday?")
    pcm = baresip_says(stack, tmp_path / "baresip", [pause(GREETING_S), question, pause(10)])
    words = transcribed(stack, pcm[len(pause(GREETING_S)) + len(question) :])
    assert "nine" in words or "9" in words, words
    assert "one" in words or "1" in words, words


@pytest.mark.package("baresip-core")
def test_baresip_books_an_appointment(stack: Stack, tmp_path: Path) -> None:
    wish = recorded("I would like to book an appointment next Friday at quarter past nine.")
    name = recorded("My name is Peter Miller.")
    yes = recorded("Yes, please.")
    timeline = [pause(GREETING_S), wish, pause(6), name, pause(11), yes, pause(14)]
    baresip_says(stack, tmp_path / "baresip", timeline)
    call_id = newest_call(stack)
    attempts = [row for row in stack.rows("tool_attempt", call_id) if row["tool"] == "book_appointment"]
    assert [row["outcome"] for row in attempts] == ["ok"], stack.rows("turn", call_id)
    reference = attempts[0]["result"]["reference"]
    with stack.agent_database() as database:
        query = "SELECT * FROM appointment WHERE reference = ?"
        (row,) = [dict(row) for row in database.execute(query, (reference,))]
    assert row["time"] == "09:15"
    assert row["status"] == "booked"
    assert datetime.date.fromisoformat(row["day"]).strftime("%A") == "Friday"


@pytest.mark.package("baresip-core")
def test_baresip_interrupts_the_greeting(stack: Stack, tmp_path: Path) -> None:
    question = recorded("Sorry, are you open on Sunday?")
    pcm = baresip_says(stack, tmp_path / "baresip", [pause(2.5), question, pause(8)])
    words = transcribed(stack, pcm[len(pause(3.5)) :])
    assert "close" in words, words
    greeting = stack.wait_rows("turn", newest_call(stack), 2)[0]
    assert greeting["interrupted"]
    assert "how can i help" not in greeting["said"].lower()


@pytest.mark.package("baresip-core")
def test_baresip_keeps_its_call_when_the_agent_is_killed(stack: Stack, tmp_path: Path) -> None:
    async def kill() -> None:
        await asyncio.sleep(GREETING_S)
        stack.active_agent().kill()

    question = recorded("What are your hours on Saturday?")
    pcm = baresip_says(stack, tmp_path / "baresip", [pause(GREETING_S + 5), question, pause(10)], kill())
    call_id = newest_call(stack)
    assert any(row["name"] == "takeover" for row in stack.wait_rows("transition", call_id, 1))
    told = transcribed(stack, pcm[len(pause(GREETING_S)) : len(pause(GREETING_S + 5))])
    assert "sorry" in told, told
    words = transcribed(stack, pcm[len(pause(GREETING_S + 5)) + len(question) :])
    assert "nine" in words or "9" in words, words


@pytest.mark.package("sip-tester")
def test_sipp_asks_for_a_person_and_is_transferred(stack: Stack, tmp_path: Path) -> None:
    question = recorded("I would like to speak to a person, please.")
    # The greeting is heard out first; what follows is the silence of somebody who waits.
    speech = bytes(2 * RATE_HZ * 11) + question + bytes(2 * RATE_HZ * 40)
    (tmp_path / "speech.ulaw").write_bytes(codecs.encode(Codec.PCMU, speech))
    scenario = (SCENARIOS / "person.xml").read_text().replace("[speech]", f"{tmp_path}/speech.ulaw")
    (tmp_path / "person.xml").write_text(scenario)
    done = subprocess.run(
        [
            "sipp", f"127.0.0.1:{stack.sip_port}", "-sf", str(tmp_path / "person.xml"), "-m", "1",
            "-i", "127.0.0.1", "-p", str(free_port(socket.SOCK_DGRAM)), "-timeout", "70s", "-timeout_error",
            "-nostdin", "-trace_err",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip
    errors = "".join(path.read_text(errors="replace") for path in tmp_path.glob("*errors.log"))
    assert done.returncode == 0, errors[-3000:] + done.stdout[-1500:]
    assert stack.wait_ended(newest_call(stack))["end_reason"] == "transferred"


def test_what_nobody_can_decode_is_refused_with_488(stack: Stack) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        port = peer.getsockname()[1]
        sdp = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port + 2} RTP/AVP 18\r\n"
        head = (
            f"INVITE sip:clinic@127.0.0.1:{stack.sip_port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-g729;rport\r\n"
            f"From: <sip:peer@127.0.0.1:{port}>;tag=1\r\nTo: <sip:clinic@127.0.0.1>\r\n"
            f"Call-ID: g729-{time.time_ns()}\r\nCSeq: 1 INVITE\r\nContact: <sip:peer@127.0.0.1:{port}>\r\n"
            f"Max-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n"
        )
        peer.sendto((head + sdp).encode(), ("127.0.0.1", stack.sip_port))
        statuses: list[int] = []
        while not statuses or statuses[-1] < 200:
            match = re.match(rb"SIP/2.0 (\d+)", peer.recv(65535))
            assert match
            statuses.append(int(match[1]))
    assert statuses[-1] == 488


def test_a_third_call_is_refused_with_503_and_a_time_to_come_back(stack: Stack) -> None:
    from scripts.caller import Telephone
    from scripts.softphone import CallRefused

    async def scenario() -> None:
        telephone = await Telephone.start(stack.run_directory)
        try:
            first = await telephone.ring(stack.uri)
            second = await telephone.ring(stack.uri)
            with pytest.raises(CallRefused) as refused:
                await telephone.ring(stack.uri)
            assert refused.value.status == 503
            assert refused.value.retry_after
            await first.call.hang_up()
            await second.call.hang_up()
        finally:
            await telephone.close()

    asyncio.run(scenario())
