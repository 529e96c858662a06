"""What signalling costs: processor time a datagram and a call, and of the worst datagrams known.

``python -m scripts.bench_signalling [CALLS]`` prints it. No sockets: both ends are user agents in one process.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial

from sip.address import Address
from sip.transaction_tables import MS
from sip.user_agent import IncomingCall, SendDatagram, UserAgent, UserAgentConfig

CALLER = Address("192.0.2.1", 5060)
CALLED = Address("192.0.2.2", 5060)
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def user_agent(local: Address, seed: int) -> UserAgent:
    """Return a user agent with seeded tokens."""
    source = random.Random(seed)
    config = UserAgentConfig(local, max_legs=100_000, max_server_transactions=100_000)
    return UserAgent(config, lambda length: "".join(source.choices("0123456789abcdef", k=length)))


def timed(work: Callable[[], object]) -> float:
    """Return the processor time of ``work`` in microseconds."""
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / 1_000


def call_costs(calls: int) -> tuple[float, int]:
    """Place calls one after the other; return the called side's microseconds in all, and its datagrams."""
    caller, called = user_agent(CALLER, 1), user_agent(CALLED, 2)
    now, spent_us, datagrams = 0, 0.0, 0

    def exchange() -> None:
        nonlocal spent_us, datagrams
        busy = True
        while busy:
            busy = False
            for agent, other, source in ((caller, called, CALLER), (called, caller, CALLED)):
                for output in agent.outputs():
                    busy = True
                    if isinstance(output, SendDatagram):
                        cost_us = timed(partial(other.receive_datagram, output.data, source, now))
                        if other is called:
                            spent_us += cost_us
                            datagrams += 1
                    elif isinstance(output, IncomingCall):
                        spent_us += timed(partial(called.answer, output.leg_id, SDP, now))

    for _ in range(calls):
        leg_id = caller.invite(f"sip:x@{CALLED}", CALLED, SDP, now)
        exchange()
        caller.hang_up(leg_id, now)
        exchange()
        now += 10 * MS
    return spent_us, datagrams


def worst_datagrams() -> dict[str, bytes]:
    """Return datagrams made to cost as much as they can."""
    head = b"OPTIONS sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"
    return {
        "16,000 header lines": head + b"\r\na:" * 16_000 + b"\r\n\r\n",
        "20,000 folded lines": head + b"\r\n " * 20_000 + b"\r\n\r\n",
        "7,000 contacts": head + (b"\r\nm: " + b"a," * 3_500) * 2 + b"\r\n\r\n",
        "64 KB of line ends": b"\r\n" * 32_000,
    }


def main() -> None:
    """Print the figures."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    spent_us, datagrams = call_costs(calls)
    print(f"{calls} calls: {spent_us / calls:.0f} us a call, {spent_us / datagrams:.0f} us a datagram")
    for name, data in worst_datagrams().items():
        agent = user_agent(CALLED, 3)
        print(f"{name}: {timed(partial(agent.receive_datagram, data, CALLER, 0)):.0f} us")


if __name__ == "__main__":
    main()
