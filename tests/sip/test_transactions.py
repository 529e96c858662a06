"""The four transaction machines against RFC 3261 §17, RFC 6026 and RFC 4320."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sip.address import Address
from sip.message import Request, Response, parse
from sip.responses import respond_to
from sip.transaction_tables import (
    INVITE_CLIENT,
    INVITE_SERVER,
    MS,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    Machine,
    State,
    Timer,
)
from sip.transactions import (
    Overload,
    RequestReceived,
    ResponseReceived,
    StrayResponse,
    TimedOut,
    TransactionKey,
    TransactionLayer,
    Upward,
)
from sip.user_agent_events import SendDatagram

PEER = Address("192.0.2.20", 5070)


def request(method: str, branch: str = "z9hG4bK1", number: int = 1, call_id: str = "c") -> Request:
    text = (
        f"{method} sip:x@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20:5070;branch={branch}\r\n"
        f"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {number} {method}\r\nRoute: <sip:proxy.example;lr>\r\n\r\n"
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    assert message.defect is None
    return message


@dataclass
class Bench:
    """A layer in virtual time; what it says is kept with its time in ms."""

    layer: TransactionLayer = field(default_factory=lambda: TransactionLayer(100))
    now: int = 0
    sent: list[tuple[int, str]] = field(default_factory=list)
    up: list[Upward] = field(default_factory=list)

    def collect(self) -> None:
        for output in self.layer.outputs():
            if isinstance(output, SendDatagram):
                assert output.destination == PEER
                self.sent.append(
                    (
                        self.now // MS,
                        output.data.split(b" ", 2)[0 if output.data[:3] != b"SIP" else 1].decode(),
                    )
                )
            else:
                self.up.append(output)

    def run_to(self, at_ms: int) -> None:
        while (deadline := self.layer.deadline()) is not None and deadline <= at_ms * MS:
            self.now = deadline
            self.layer.handle_timeout(self.now)
            self.collect()
        self.now = at_ms * MS

    def begin(self, method: str) -> tuple[Request, TransactionKey]:
        sent = request(method)
        key = self.layer.send_request(sent, PEER, self.now)
        self.collect()
        return sent, key

    def hear(self, sent: Request, status: int) -> None:
        self.layer.receive_response(respond_to(sent, status, "t"), self.now)
        self.collect()

    def serve(self, received: Request) -> TransactionKey:
        self.layer.receive_request(received, PEER, self.now)
        self.collect()
        last = self.up[-1]
        assert isinstance(last, RequestReceived)
        assert last.key is not None
        return last.key

    def again(self, received: Request) -> None:
        self.layer.receive_request(received, PEER, self.now)
        self.collect()

    def respond(self, key: TransactionKey, to: Request, status: int) -> bool:
        taken = self.layer.respond(key, respond_to(to, status, "t"), self.now)
        self.collect()
        return taken

    def times(self, what: str) -> list[int]:
        return [at for at, said in self.sent if said == what]

    def statuses_up(self) -> list[int]:
        return [event.response.status for event in self.up if isinstance(event, ResponseReceived)]


@pytest.mark.parametrize(
    ("machine", "states"),
    [
        (INVITE_CLIENT, {State.CALLING, State.PROCEEDING, State.ACCEPTED, State.COMPLETED}),
        (NON_INVITE_CLIENT, {State.TRYING, State.PROCEEDING, State.COMPLETED}),
        (INVITE_SERVER, {State.PROCEEDING, State.ACCEPTED, State.COMPLETED, State.CONFIRMED}),
        (NON_INVITE_SERVER, {State.TRYING, State.COMPLETED}),
    ],
    ids=["invite-client", "non-invite-client", "invite-server", "non-invite-server"],
)
def test_every_state_can_be_reached_and_left_and_every_timer_that_runs_is_heard(
    machine: Machine, states: set[State]
) -> None:
    assert {state for state, _ in machine.table} == states
    reached = {machine.initial}
    for _ in machine.table:
        reached |= {after for (before, _), (after, _) in machine.table.items() if before in reached}
    assert reached == states | {State.TERMINATED}
    heard = {
        (state, Timer[event.name[-1]]) for state, event in machine.table if event.name.startswith("TIMER_")
    }
    running = {(state, timer) for state, timers in machine.timers.items() for timer in timers}
    assert running == heard


def test_no_table_reports_a_timeout_and_goes_on() -> None:
    for machine in (INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER):
        for after, action in machine.table.values():
            assert action is not Action.REPORT_TIMEOUT or after is State.TERMINATED


def test_invite_is_repeated_at_doubling_intervals_until_timer_b() -> None:
    bench = Bench()
    bench.begin("INVITE")
    bench.run_to(60_000)
    assert bench.times("INVITE") == [0, 500, 1500, 3500, 7500, 15500, 31500]
    assert [type(event) for event in bench.up] == [TimedOut]
    assert len(bench.layer) == 0


def test_invite_is_not_repeated_after_a_provisional_response() -> None:
    bench = Bench()
    sent, _ = bench.begin("INVITE")
    bench.run_to(600)
    bench.hear(sent, 180)
    bench.hear(sent, 183)
    bench.run_to(120_000)
    assert bench.times("INVITE") == [0, 500]
    assert bench.statuses_up() == [180, 183]
    assert len(bench.layer) == 1


def test_refusal_is_acknowledged_each_time_and_reported_once() -> None:
    bench = Bench()
    sent, _ = bench.begin("INVITE")
    bench.hear(sent, 486)
    bench.run_to(4_000)
    bench.hear(sent, 486)
    bench.run_to(31_999)
    assert len(bench.layer) == 1
    bench.run_to(32_000)
    assert bench.times("ACK") == [0, 4_000]
    assert bench.statuses_up() == [486]
    assert len(bench.layer) == 0


def test_ack_of_a_refusal_takes_via_route_and_to_as_section_17_1_1_3_says() -> None:
    layer = TransactionLayer(10)
    sent = request("INVITE")
    layer.send_request(sent, PEER, 0)
    layer.outputs()
    layer.receive_response(respond_to(sent, 404, "theirs"), 0)
    [datagram] = [output for output in layer.outputs() if isinstance(output, SendDatagram)]
    ack = parse(datagram.data)
    assert isinstance(ack, Request)
    assert ack.method == "ACK"
    assert ack.uri == sent.uri
    assert ack.headers.all("Via") == sent.headers.all("Via")
    assert ack.headers.get("To") == "<sip:b@b.example>;tag=theirs"
    assert ack.headers.all("Route") == ["<sip:proxy.example;lr>"]
    assert str(ack.cseq) == "1 ACK"


def test_every_2xx_is_passed_up_until_timer_m_and_then_as_a_stray() -> None:
    bench = Bench()
    sent, _ = bench.begin("INVITE")
    bench.hear(sent, 200)
    bench.run_to(31_999)
    bench.hear(sent, 200)
    bench.run_to(32_000)
    assert len(bench.layer) == 0
    bench.hear(sent, 200)
    assert [type(event) for event in bench.up] == [ResponseReceived, ResponseReceived, StrayResponse]


def test_a_refusal_after_a_2xx_changes_nothing() -> None:
    bench = Bench()
    sent, _ = bench.begin("INVITE")
    bench.hear(sent, 200)
    bench.hear(sent, 486)
    assert bench.statuses_up() == [200]
    assert bench.times("ACK") == []


def test_non_invite_is_repeated_up_to_every_4_s_until_timer_f() -> None:
    bench = Bench()
    bench.begin("BYE")
    bench.run_to(60_000)
    assert bench.times("BYE") == [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    assert [type(event) for event in bench.up] == [TimedOut]


def test_non_invite_goes_on_at_4_s_after_a_provisional_and_timer_f_is_not_put_off() -> None:
    bench = Bench()
    sent, _ = bench.begin("BYE")
    bench.run_to(100)
    bench.hear(sent, 100)
    bench.run_to(60_000)
    assert bench.times("BYE") == [0, 500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]
    assert isinstance(bench.up[-1], TimedOut)


def test_non_invite_final_response_is_reported_once_and_absorbed_for_timer_k() -> None:
    bench = Bench()
    sent, _ = bench.begin("BYE")
    bench.hear(sent, 200)
    bench.hear(sent, 200)
    bench.run_to(4_999)
    assert len(bench.layer) == 1
    bench.run_to(5_000)
    assert len(bench.layer) == 0
    assert bench.statuses_up() == [200]


def test_repeated_invite_gets_the_last_provisional_and_is_passed_up_once() -> None:
    bench = Bench()
    received = request("INVITE")
    key = bench.serve(received)
    bench.again(received)
    assert bench.sent == []
    bench.respond(key, received, 100)
    bench.respond(key, received, 180)
    bench.again(received)
    assert [said for _, said in bench.sent] == ["100", "180", "180"]
    assert len(bench.up) == 1


def test_refusal_is_repeated_until_its_ack() -> None:
    bench = Bench()
    received = request("INVITE")
    key = bench.serve(received)
    bench.respond(key, received, 486)
    bench.run_to(10_000)
    assert bench.times("486") == [0, 500, 1500, 3500, 7500]
    bench.again(received)
    bench.again(request("ACK"))
    bench.run_to(14_999)
    assert len(bench.layer) == 1
    bench.again(received)
    bench.run_to(15_000)
    assert bench.times("486") == [0, 500, 1500, 3500, 7500, 10_000]
    assert len(bench.layer) == 0
    assert len(bench.up) == 1


def test_refusal_without_an_ack_is_given_up_at_timer_h() -> None:
    bench = Bench()
    received = request("INVITE")
    bench.respond(bench.serve(received), received, 486)
    bench.run_to(31_999)
    assert len(bench.layer) == 1
    bench.run_to(32_000)
    assert len(bench.layer) == 0
    assert isinstance(bench.up[-1], TimedOut)


def test_accepted_absorbs_invites_and_passes_an_ack_of_the_same_branch_up() -> None:
    bench = Bench()
    received = request("INVITE")
    key = bench.serve(received)
    bench.respond(key, received, 200)
    bench.again(received)
    bench.respond(key, received, 200)
    bench.again(request("ACK"))
    assert [said for _, said in bench.sent] == ["200", "200"]
    assert isinstance(bench.up[-1], RequestReceived)
    assert bench.up[-1].request.method == "ACK"
    assert not bench.respond(key, received, 486)
    bench.run_to(32_000)
    assert len(bench.layer) == 0


def test_non_invite_server_says_nothing_provisional_and_repeats_its_answer_until_timer_j() -> None:
    bench = Bench()
    received = request("OPTIONS")
    key = bench.serve(received)
    assert not bench.respond(key, received, 100)
    bench.again(received)
    bench.respond(key, received, 200)
    bench.again(received)
    assert [said for _, said in bench.sent] == ["200", "200"]
    bench.run_to(31_999)
    assert len(bench.layer) == 1
    bench.run_to(32_000)
    assert len(bench.layer) == 0


def test_requests_of_rfc_2543_without_a_branch_match_by_call_and_number() -> None:
    bench = Bench()
    first = request("INVITE", branch="1")
    key = bench.serve(first)
    bench.again(first)
    assert len(bench.up) == 1
    bench.respond(key, first, 486)
    bench.again(request("ACK", branch="1"))
    bench.run_to(5_000)
    assert len(bench.layer) == 0
    bench.serve(request("INVITE", branch="1", number=2))
    assert len(bench.up) == 2


def test_same_branch_of_another_method_or_sender_is_another_transaction() -> None:
    bench = Bench()
    bench.serve(request("INVITE"))
    bench.serve(request("OPTIONS"))
    other = request("INVITE")
    other.headers.replace_first("Via", "SIP/2.0/UDP 192.0.2.99:5070;branch=z9hG4bK1")
    bench.layer.receive_request(other, PEER, 0)
    assert len(bench.layer) == 3


def test_merged_request_is_found_only_while_its_twin_lives() -> None:
    bench = Bench()
    first = request("OPTIONS")
    key = bench.serve(first)
    twin = request("OPTIONS", branch="z9hG4bK2")
    assert bench.layer.merged_with(twin) == key
    bench.respond(key, first, 200)
    bench.run_to(32_000)
    assert bench.layer.merged_with(twin) is None


def test_server_transactions_are_bounded() -> None:
    bench = Bench(TransactionLayer(3))
    for index in range(5):
        bench.layer.receive_request(request("OPTIONS", f"z9hG4bK{index}", call_id=str(index)), PEER, 0)
    bench.collect()
    assert [type(event) for event in bench.up] == [RequestReceived] * 3 + [Overload] * 2
    assert len(bench.layer) == 3


def test_a_response_to_nothing_of_ours_is_dropped() -> None:
    bench = Bench()
    bench.hear(request("OPTIONS"), 200)
    bench.hear(request("INVITE"), 486)
    assert bench.up == []
    assert not isinstance(bench.layer.find(("client", "z9hG4bK1", "INVITE")), Response)
