"""Rings with pyVoIP (GPL-3.0), in an environment of its own; imports nothing of Landline.

``python ring.py HOST PORT OWN_PORT SECONDS``: says 700 Hz for so long and hangs up.
"""

import array
import math
import sys
import time

from pyVoIP.VoIP import CallState, VoIPPhone


def main() -> int:
    """Return 0 when the call was answered and stayed up for so long."""
    host, port, own_port, seconds = sys.argv[1:]
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
        if answered:
            call.hangup()
    phone.NSD = False
    phone.stop()
    return 0 if answered else 1


if __name__ == "__main__":
    sys.exit(main())
