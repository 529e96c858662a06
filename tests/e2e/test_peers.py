"""Telephones that are not ours: baresip and sipp ring the clinic."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import time
import wave
from pathlib import Path

import pytest

from models.speech_client import PiperClient, SpeechWorkerClient
from scripts.caller import RATE_HZ, trim
from scripts.stack import Stack, free_port
from server.agent.phrases import synthesise_whole
from sip import codecs
from sip.offer_answer import Codec
from tests.e2e.conversation import newest_call

pytestmark = [pytest.mark.e2e, pytest.mark.interop]


def spoken(stack: Stack, line: str) -> bytes:
    """Return a line as PCM16 at 8 kHz."""

    async def speak() -> bytes:
        tts = PiperClient(stack.run_directory / "tts.sock")
        return trim(await synthesise_whole(tts, line, "", RATE_HZ))

    return asyncio.run(speak())


def transcribed(stack: Stack, pcm: bytes) -> str:
    """Return the words in PCM16 at 8 kHz."""

    async def listen() -> str:
        stt = SpeechWorkerClient(stack.run_directory / "speech.sock")
        window = 2 * RATE_HZ * 20
        pieces = [pcm[start : start + window] for start in range(0, len(pcm), window)]
        return " ".join([(await stt.transcribe(piece, RATE_HZ)).text for piece in pieces])

    return asyncio.run(listen()).lower()


def write_wav(path: Path, pcm: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm)


def test_baresip_asks_for_the_saturday_hours_and_hears_them(stack: Stack, tmp_path: Path) -> None:
    baresip = shutil.which("baresip")
    assert baresip, "expected the Debian package baresip-core"
    question = spoken(stack, "What are your hours on Saturday?")
    silence_s = 11
    write_wav(tmp_path / "caller.wav", bytes(2 * RATE_HZ * silence_s) + question + bytes(2 * RATE_HZ * 30))
    (tmp_path / "config").write_text(
        f"""sip_listen 127.0.0.1:{free_port(socket.SOCK_DGRAM)}
net_interface lo
audio_player aubridge,nil
audio_source aufile,{tmp_path}/caller.wav
audio_alert aubridge,nil
module_path {_module_path()}
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
snd_path {tmp_path}
rtp_ports 40000-40100
""",
    )
    (tmp_path / "accounts").write_text('"Caller" <sip:caller@127.0.0.1>;regint=0;audio_codecs=PCMU\n')
    (tmp_path / "contacts").write_text("")
    seconds = silence_s + 12
    done = subprocess.run(
        [baresip, "-f", str(tmp_path), "-t", str(seconds), "-e", f"d {stack.uri}"],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    recordings = sorted(tmp_path.glob("dump-*-dec.wav"))
    assert recordings, done.stdout[-3000:]
    with wave.open(str(recordings[0])) as file:
        pcm = file.readframes(file.getnframes())
    answer = pcm[2 * RATE_HZ * (silence_s + 1) :]
    words = transcribed(stack, answer)
    assert "nine" in words or "9" in words, words
    assert "one" in words or "1" in words, words


def _module_path() -> str:
    listed = subprocess.run(
        ["dpkg", "-L", "baresip-core"], capture_output=True, text=True, timeout=20, check=True
    )
    (path,) = {str(Path(line).parent) for line in listed.stdout.splitlines() if line.endswith("/g711.so")}
    return path


SIPP_PERSON = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="asks for a person">
  <send retrans="500"><![CDATA[
INVITE sip:clinic@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "sipp" <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:clinic@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: "sipp" <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:clinic@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <nop><action><exec rtp_stream="SPEECH,1,0"/></action></nop>
  <recv request="REFER" timeout="45000">
    <action><ereg regexp="sip:desk@.*" search_in="hdr" header="Refer-To:" check_it="true" assign_to="1"/></action>
  </recv>
  <send><![CDATA[
SIP/2.0 202 Accepted
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:sipp@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
NOTIFY [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "sipp" <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:clinic@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 NOTIFY
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Event: refer
Subscription-State: terminated;reason=noresource
Content-Type: message/sipfrag
Content-Length: [len]

SIP/2.0 200 OK
]]></send>
  <recv response="200"/>
  <recv request="BYE" timeout="10000"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
  <Reference variables="1"/>
</scenario>
"""


def _mu_law(pcm: bytes) -> bytes:
    return codecs.encode(Codec.PCMU, pcm)


def test_sipp_asks_for_a_person_and_is_transferred(stack: Stack, tmp_path: Path) -> None:
    sipp = shutil.which("sipp")
    assert sipp, "expected the Debian package sip-tester"
    question = spoken(stack, "I would like to speak to a person, please.")
    # The greeting is heard out first; what follows is the silence of somebody who waits.
    speech = bytes(2 * RATE_HZ * 11) + question + bytes(2 * RATE_HZ * 40)
    (tmp_path / "speech.ulaw").write_bytes(_mu_law(speech))
    (tmp_path / "person.xml").write_text(SIPP_PERSON.replace("SPEECH", f"{tmp_path}/speech.ulaw"))
    done = subprocess.run(
        [
            sipp, f"127.0.0.1:{stack.sip_port}", "-sf", str(tmp_path / "person.xml"), "-m", "1",
            "-i", "127.0.0.1", "-p", str(free_port(socket.SOCK_DGRAM)), "-timeout", "70s", "-timeout_error",
            "-min_rtp_port", "41000", "-max_rtp_port", "41100", "-nostdin", "-trace_err",
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
