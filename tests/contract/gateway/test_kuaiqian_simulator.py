"""The adapter against the simulator: they share no code and meet over HTTP only. Every fault that concerns 99bill."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from foundation import clock
from gateway.adapters.kuaiqian import KuaiqianAdapter, KuaiqianConfig
from gateway.ports import (
    CardVerification,
    NoticeFact,
    NoticeInvalid,
    NoticeKind,
    Outcome,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
)
from simulator import credentials, server

READ_TIMEOUT_SECONDS = 0.8
PATIENCE_SECONDS = 10.0


@dataclass
class Receiver:
    """Our /notify/ addresses: reads what arrives with the adapter and answers as the platform would."""

    adapter: KuaiqianAdapter | None = None
    facts: list[NoticeFact] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver._take(self, self.path.partition("?")[2].encode("latin-1"))

            def do_POST(self) -> None:
                receiver._take(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/notify/kuaiqian"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        assert self.adapter is not None
        try:
            fact = self.adapter.read_notice(headers={}, body=body, now=clock.now())
            answer = fact.answer or self.adapter.success_answer()
            self.facts.append(fact)
        except NoticeInvalid as invalid:
            answer = self.adapter.failure_answer("")
            self.refusals.append(invalid.reason)
        handler.send_response(answer.status)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def of(self, number: str, count: int = 1) -> list[NoticeFact]:
        """The first `count` facts about a number."""
        wait_for(lambda: len([fact for fact in self.facts if fact.number == number]) >= count)
        return [fact for fact in self.facts if fact.number == number][:count]


@dataclass(frozen=True)
class World:
    url: str
    adapter: KuaiqianAdapter
    receiver: Receiver

    def faults(self, *rules: dict[str, Any]) -> None:
        answer = requests.put(f"{self.url}/_sim/faults", json={"rules": list(rules), "seed": 1}, timeout=5)
        assert answer.status_code == 200, answer.text

    def prepay(self, number: str, amount_fen: int = 8888, scene: str = "page") -> Result:
        return self.adapter.prepay(
            PrepayRequest(
                attempt_no=number,
                amount_fen=amount_fen,
                subject="充值 & + = 88.88 元",
                scene=scene,
                expires_at=clock.now() + dt.timedelta(minutes=10),
                notify_url=self.receiver.url,
            )
        )

    def pay(self, result: Result, status: int = 200) -> None:
        assert result.payment is not None
        answer = requests.post(f"{self.url}/_sim/pay", json={"payment": dict(result.payment)}, timeout=5)
        assert answer.status_code == status, answer.text

    def paid(self, amount_fen: int = 8888) -> str:
        number = fresh("AT")
        self.pay(self.prepay(number, amount_fen))
        return number

    def refund(self, refund_no: str, attempt_no: str, amount_fen: int) -> Result:
        return self.adapter.refund(
            RefundRequest(
                refund_no=refund_no,
                attempt_no=attempt_no,
                amount_fen=amount_fen,
                paid_fen=8888,
                reason="红包未领完",
                notify_url="",
            )
        )

    def pay_out(self, payout_no: str, amount_fen: int = 5000) -> Result:
        return self.adapter.pay_out(
            PayoutRequest(
                payout_no=payout_no,
                amount_fen=amount_fen,
                payee_account="6222020000000000000",
                payee_name="张<三>&",
                remark="提现",
                notify_url="",
                bank_name="工商银行",
                branch_name="上海分行",
            )
        )


def fresh(prefix: str) -> str:
    return prefix + secrets.token_hex(15)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module", params=["4", "1"], ids=["pki", "md5"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory: Path = tmp_path_factory.mktemp("kuaiqian")
    credentials.initialise(directory=directory)
    held = json.loads((directory / "kuaiqian.json").read_text())
    (directory / "kuaiqian.json").write_text(json.dumps({**held, "sign_type": request.param}))
    receiver = Receiver()
    receiver.start()
    handle = server.start(
        directory=directory,
        refund_delay_seconds=0.1,
        notice_retry_scale=0.01,
        kuaiqian_payout_notify_url=f"{receiver.url}/payout",
    )
    adapter = receiver.adapter = KuaiqianAdapter(
        KuaiqianConfig(
            base_url=handle.url,
            card_base_url=handle.url,
            credentials_file=str(directory / "kuaiqian.json"),
            redirect_url="http://127.0.0.1/done",
            connect_timeout_seconds=1.0,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
        )
    )
    yield World(url=handle.url, adapter=adapter, receiver=receiver)
    handle.stop()
    receiver.stop()


@pytest.fixture
def world(running: World) -> World:
    running.faults()
    running.receiver.refusals.clear()
    return running


# --- The plain story --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", ["page", "h5"])
def test_a_payment_from_prepay_to_notice(world: World, scene: str) -> None:
    number = fresh("AT")
    prepared = world.prepay(number, 12_345, scene)
    assert world.adapter.query(attempt_no=number).code == "not_found"
    world.pay(prepared)
    (fact,) = world.receiver.of(number)
    result = world.adapter.query(attempt_no=number)
    assert (fact.kind, fact.result.outcome, fact.result.amount_fen) == (NoticeKind.PAYMENT, Outcome.SUCCESS, 12_345)
    assert (fact.result.provider_no, fact.result.happened_at) == (result.provider_no, result.happened_at)
    assert (result.outcome, result.amount_fen) == (Outcome.SUCCESS, 12_345)
    assert world.adapter.close(attempt_no=number).code == "already_paid"
    world.pay(prepared, status=409)
    assert world.receiver.refusals == []


def test_an_order_that_arrived_is_unpaid_until_it_is_paid(world: World) -> None:
    number = fresh("AT")
    payment = world.prepay(number).payment
    assert payment is not None
    page = requests.post(payment["action"], data=payment["fields"], timeout=5)
    assert (page.status_code, "充值 ＆ + = 88.88 元" in page.text) == (200, True)
    assert world.adapter.query(attempt_no=number) == Result(outcome=Outcome.PENDING, code="unpaid")
    assert world.adapter.close(attempt_no=number).code == "no_close"


def test_refunds_in_parts(world: World) -> None:
    attempt_no, first, second, third = world.paid(), fresh("RF"), fresh("RF"), fresh("RF")
    assert world.refund(first, attempt_no, 3005).outcome is Outcome.PENDING
    assert world.refund(second, attempt_no, 5883).outcome is Outcome.PENDING
    assert world.refund(third, attempt_no, 1).code == "refund_refused"
    for number, amount_fen in ((first, 3005), (second, 5883)):
        wait_for(lambda number=number: refund_of(world, number, attempt_no).outcome is Outcome.SUCCESS)
        assert refund_of(world, number, attempt_no).amount_fen == amount_fen
    assert refund_of(world, third, attempt_no).code == "not_found"


def refund_of(world: World, refund_no: str, attempt_no: str) -> Result:
    return world.adapter.query_refund(refund_no=refund_no, attempt_no=attempt_no)


def test_a_repeated_refund_is_undecided_and_pays_back_once(world: World) -> None:
    attempt_no, number = world.paid(), fresh("RF")
    assert world.refund(number, attempt_no, 3000).outcome is Outcome.PENDING
    assert world.refund(number, attempt_no, 3000).outcome is Outcome.UNKNOWN
    wait_for(lambda: refund_of(world, number, attempt_no).outcome is Outcome.SUCCESS)
    books = requests.get(f"{world.url}/_sim/books", timeout=5).json()
    assert [row["amount_fen"] for row in books["refunds"] if row["attempt_no"] == attempt_no] == [3000]


def test_a_payout_from_order_to_notice(world: World) -> None:
    number = fresh("WD")
    assert world.pay_out(number) == Result(outcome=Outcome.PENDING, code="accepted", amount_fen=5000)
    (fact,) = world.receiver.of(number)
    result = world.adapter.query_payout(payout_no=number)
    assert (fact.kind, fact.result) == (NoticeKind.PAYOUT, result)
    assert (result.outcome, result.amount_fen) == (Outcome.SUCCESS, 5000)
    time.sleep(0.3)
    assert len([each for each in world.receiver.facts if each.number == number]) == 1


def test_a_repeated_payout_is_undecided_and_pays_once(world: World) -> None:
    number = fresh("WD")
    assert world.pay_out(number).outcome is Outcome.PENDING
    assert world.pay_out(number).outcome is Outcome.UNKNOWN
    wait_for(lambda: world.adapter.query_payout(payout_no=number).outcome is Outcome.SUCCESS)
    rows = requests.get(f"{world.url}/_sim/payouts", timeout=5).json()["payouts"]
    assert len([row for row in rows if row["payout_no"] == number]) == 1


def test_a_payout_that_succeeded_comes_back(world: World) -> None:
    """111, then 114."""
    number = fresh("WD")
    world.faults({"fault": "payout_returned", "channel": "kuaiqian"})
    world.pay_out(number)
    paid, returned = world.receiver.of(number, 2)
    assert (paid.result.outcome, paid.result.code) == (Outcome.SUCCESS, "")
    assert (returned.result.outcome, returned.result.code) == (Outcome.FAILED, "returned")
    assert paid.event_id != returned.event_id
    assert world.adapter.query_payout(payout_no=number).code == "returned"


@pytest.mark.parametrize(
    ("card_no", "outcome", "code"),
    [
        ("6222020000000000000", Outcome.SUCCESS, ""),
        ("6222020000000000117", Outcome.FAILED, "name_mismatch"),
        ("6222020000000000125", Outcome.FAILED, "identity_mismatch"),
        ("6222020000000000133", Outcome.FAILED, "mobile_mismatch"),
        ("6222020000000000141", Outcome.FAILED, "card_invalid"),
        ("6222020000000000158", Outcome.FAILED, "card_invalid"),
        ("6222020000000000166", Outcome.UNKNOWN, "card_c0"),
        ("6222020000000000174", Outcome.UNKNOWN, "card_96"),
    ],
)
def test_cards(world: World, card_no: str, outcome: Outcome, code: str) -> None:
    request = CardVerification(verification_no=fresh("V"), card_no=card_no, holder_name="张<三>&", mobile="13800000000")
    result = world.adapter.verify_card(request)
    assert (result.outcome, result.code) == (outcome, code)


# --- Faults -----------------------------------------------------------------------------------------------------------

ANSWER_FAULTS = {
    "response_bad_signature": True,
    "response_malformed": True,
    "system_error_but_done": True,
    "system_error_not_done": False,
    "timeout_after_effect": True,
    "timeout_before_effect": False,
    "unknown_code_but_done": True,
    "unknown_code_not_done": False,
}
"""Fault → whether the books have changed. The wait of the time-outs is longer than the client's patience."""


def rule(fault: str, operation: str) -> dict[str, Any]:
    delay = {"delay_seconds": 1.2} if fault.startswith("timeout") else {}
    return {"fault": fault, "channel": "kuaiqian", "operation": operation, "times": 1, **delay}


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_a_payout_whose_answer_is_lost_is_decided_by_the_query(world: World, fault: str) -> None:
    number = fresh("WD")
    world.faults(rule(fault, "payout"))
    assert world.pay_out(number).outcome is Outcome.UNKNOWN
    if ANSWER_FAULTS[fault]:
        wait_for(lambda: world.adapter.query_payout(payout_no=number).outcome is Outcome.SUCCESS)
        assert world.pay_out(number).outcome is Outcome.UNKNOWN
    else:
        assert world.adapter.query_payout(payout_no=number).code == "not_found"
        assert world.pay_out(number).outcome is Outcome.PENDING


@pytest.mark.parametrize("fault", [name for name in ANSWER_FAULTS if name != "response_bad_signature"])
def test_a_refund_whose_answer_is_lost_is_decided_by_the_query(world: World, fault: str) -> None:
    """The answer to a refund carries no signature that could be wrong."""
    attempt_no, number = world.paid(), fresh("RF")
    world.faults(rule(fault, "refund"))
    assert world.refund(number, attempt_no, 3000).outcome is Outcome.UNKNOWN
    if ANSWER_FAULTS[fault]:
        wait_for(lambda: refund_of(world, number, attempt_no).outcome is Outcome.SUCCESS)
    else:
        assert refund_of(world, number, attempt_no).code == "not_found"
        assert world.refund(number, attempt_no, 3000).outcome is Outcome.PENDING


QUESTIONS = [
    (operation, fault)
    for operation in ("query", "refund_query", "payout_query", "card")
    for fault in ANSWER_FAULTS
    if (operation, fault) != ("card", "response_bad_signature")  # that answer carries no signature
]


@pytest.mark.parametrize(("operation", "fault"), QUESTIONS)
def test_a_question_whose_answer_is_lost_is_unknown_and_may_be_asked_again(
    world: World, operation: str, fault: str
) -> None:
    attempt_no, refund_no, payout_no = world.paid(), fresh("RF"), fresh("WD")
    world.refund(refund_no, attempt_no, 100)
    world.pay_out(payout_no)
    card = CardVerification(verification_no=fresh("V"), card_no="6222020000000000000", holder_name="张三")
    asks: dict[str, Callable[[], Result]] = {
        "query": lambda: world.adapter.query(attempt_no=attempt_no),
        "refund_query": lambda: refund_of(world, refund_no, attempt_no),
        "payout_query": lambda: world.adapter.query_payout(payout_no=payout_no),
        "card": lambda: world.adapter.verify_card(card),
    }
    ask = asks[operation]
    wait_for(lambda: ask().outcome is Outcome.SUCCESS)
    world.faults(rule(fault, operation))
    assert ask().outcome is Outcome.UNKNOWN
    assert ask().outcome is Outcome.SUCCESS


@pytest.mark.parametrize("fault", ["payout_refused", "payout_not_enough"])
def test_a_payout_that_is_refused_is_undecided_and_not_known(world: World, fault: str) -> None:
    number = fresh("WD")
    world.faults({"fault": fault, "channel": "kuaiqian"})
    assert world.pay_out(number).outcome is Outcome.UNKNOWN
    assert world.adapter.query_payout(payout_no=number).code == "not_found"


def test_a_payout_that_fails(world: World) -> None:
    number = fresh("WD")
    world.faults({"fault": "payout_failed", "channel": "kuaiqian"})
    world.pay_out(number)
    assert world.receiver.of(number)[0].result.code == "payout_failed"
    assert world.adapter.query_payout(payout_no=number).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("fault", "outcome"), [("refund_closed", Outcome.FAILED), ("refund_abnormal", Outcome.PENDING)]
)
def test_refunds_that_end_otherwise(world: World, fault: str, outcome: Outcome) -> None:
    attempt_no, number = world.paid(), fresh("RF")
    world.faults({"fault": fault, "channel": "kuaiqian"})
    world.refund(number, attempt_no, 3000)

    def state() -> str:
        books = requests.get(f"{world.url}/_sim/books", timeout=5).json()
        return next(row["state"] for row in books["refunds"] if row["refund_no"] == number)

    wait_for(lambda: state() != "PROCESSING")
    assert refund_of(world, number, attempt_no).outcome is outcome


@pytest.mark.parametrize(
    ("given", "refusals"),
    [
        ({"fault": "notice_tampered", "tamper": "signature"}, ["signature_invalid"]),
        ({"fault": "notice_tampered", "tamper": "stale"}, ["stale"]),
        ({"fault": "notice_signtest"}, ["signature_invalid"]),
        ({"fault": "notice_stale"}, ["stale"]),
        ({"fault": "notice_late", "delay_seconds": 0.3}, []),
    ],
)
def test_bad_notices_of_payments_are_refused_and_the_genuine_one_is_taken(
    world: World, given: dict[str, Any], refusals: list[str]
) -> None:
    world.faults({**given, "channel": "kuaiqian"})
    number = world.paid()
    assert world.receiver.of(number)[0].result.amount_fen == 8888
    assert world.receiver.refusals == refusals


def test_a_cut_notice_is_refused(world: World) -> None:
    world.faults({"fault": "notice_tampered", "tamper": "truncate", "channel": "kuaiqian"})
    number = world.paid()
    assert world.receiver.of(number)[0].result.amount_fen == 8888
    assert len(world.receiver.refusals) == 1


def test_repeated_notices_tell_the_same_event(world: World) -> None:
    world.faults({"fault": "notice_duplicate", "copies": 3, "channel": "kuaiqian"})
    number = world.paid()
    assert len({(fact.event_id, fact.result) for fact in world.receiver.of(number, 4)}) == 1


def test_a_notice_of_another_amount_is_a_fact_for_the_caller_to_compare(world: World) -> None:
    world.faults({"fault": "notice_tampered", "tamper": "amount", "channel": "kuaiqian"})
    number = world.paid()
    facts = world.receiver.of(number, 2)
    assert [fact.result.amount_fen for fact in facts] == [8889, 8888]
    assert world.adapter.query(attempt_no=number).amount_fen == 8888


@pytest.mark.parametrize("tamper", ["signature", "truncate"])
def test_bad_notices_of_payouts_are_refused_and_the_genuine_one_is_taken(world: World, tamper: str) -> None:
    world.faults({"fault": "notice_tampered", "tamper": tamper, "channel": "kuaiqian"})
    number = fresh("WD")
    world.pay_out(number)
    assert world.receiver.of(number)[0].result.outcome is Outcome.SUCCESS
    assert world.receiver.refusals == ["signature_invalid" if tamper == "signature" else "xml_malformed"]
