"""Rings with pyVoIP (GPL-3.0), in an environment of its own; imports nothing of Landline.

``python ring.py HOST PORT OWN_PORT SECONDS HEARD``: says 700 Hz for so long, writes what it heard, hangs up.
"""

import array
import math
import re
import sys
import time
from pathlib import Path

from pyVoIP.RTP import RTPClient, RTPMessage
from pyVoIP.VoIP import CallState, VoIPPhone

PARSE_PCMU = RTPClient.parse_pcmu
FIRST_TIMESTAMP: dict[int, int] = {}


def parse_from_zero(client: RTPClient, packet: RTPMessage) -> None:
    """Count timestamps from near zero.

    It keeps audio in memory at the position of its timestamp, which RFC 3550 §5.1 has begin at random: gigabytes.
    """
    packet.timestamp -= FIRST_TIMESTAMP.setdefault(id(client), packet.timestamp) - 10_000
    PARSE_PCMU(client, packet)


RTPClient.parse_pcmu = parse_from_zero


def main() -> int:
    """Return 0 when the call was answered and stayed up for so long."""
    host, port, own_port, seconds, heard = sys.argv[1:]
    phone = VoIPPhone(
        host,
        int(port),
        "caller",
        "none",
        myIP="127.0.0.1",
        sipPort=int(own_port),
        rtpPortLow=27_000,
        rtpPortHigh=27_200,
    )
    # It always registers; Landline is no registrar.
    phone.sip.register = lambda: True
    gen_ack = phone.sip.gen_ack
    # It makes up the tag of To in its ACK, so that the ACK belongs to no dialog (RFC 3261 §13.2.2.4).
    phone.sip.gen_ack = lambda answer: re.sub(
        r"(?m)^(To: .*;tag=)\w+", lambda found: found[1] + answer.headers["To"]["tag"], gen_ack(answer)
    )
    phone.start()
    time.sleep(1.5)
    call = phone.call("clinic")
    limit = time.monotonic() + 10
    while call.state is not CallState.ANSWERED and time.monotonic() < limit:
        time.sleep(0.05)
    answered = call.state is CallState.ANSWERED
    if answered:
        # It works in unsigned 8-bit audio.
        tone = array.array(
            "B", (int(128 + 100 * math.sin(2 * math.pi * 700 * n / 8000)) for n in range(8000 * int(seconds)))
        )
        call.write_audio(tone.tobytes())
        time.sleep(int(seconds))
        answered = call.state is CallState.ANSWERED
        Path(heard).write_bytes(call.read_audio(16_000 + 8000 * int(seconds), blocking=False))
        if answered:
            call.hangup()
    phone.NSD = False
    phone.stop()
    return 0 if answered else 1


if __name__ == "__main__":
    sys.exit(main())
