"""The adapter with the real SDK against the simulator: the two were written apart and meet over HTTP only."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from foundation import clock
from gateway.adapters.alipay import AlipayAdapter, AlipayConfig
from gateway.ports import (
    BillInvalid,
    BillKind,
    BillRowKind,
    BillState,
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

TIMEOUT_SECONDS = 0.8
PATIENCE_SECONDS = 10.0
PAYEE = "2088622190161234"
EXPIRES_AT = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=28)
"""The same for all: a repeated prepay must be the same request."""


@dataclass
class Receiver:
    """Our /notify/ address: keeps what arrives and answers `success`."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    answer: bytes = b"success"
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/notify/alipay"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int) -> list[bytes]:
        """The first `count` notices."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.bodies) < count:
            assert time.monotonic() < deadline, f"{len(self.bodies)} of {count} notices came"
            time.sleep(0.02)
        return self.bodies[:count]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, server.Handle]]:
    directory = tmp_path_factory.mktemp("simulator")
    credentials.initialise(directory=directory)
    handle = server.start(directory=directory, port=0, refund_delay_seconds=0.2)
    yield directory, handle
    handle.stop()


@pytest.fixture
def base_url(running: tuple[Path, server.Handle]) -> str:
    set_faults(running[1].url)
    return running[1].url


@pytest.fixture
def adapter(running: tuple[Path, server.Handle], base_url: str) -> AlipayAdapter:
    return AlipayAdapter(
        AlipayConfig(
            gateway_url=f"{base_url}/gateway.do",
            credentials_file=str(running[0] / "alipay.json"),
            timeout_seconds=TIMEOUT_SECONDS,
        )
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


def set_faults(base_url: str, *rules: dict[str, Any]) -> None:
    response = requests.put(f"{base_url}/_sim/faults", json={"rules": list(rules), "seed": "1"}, timeout=5)
    assert response.status_code == 200, response.text


def control(base_url: str, path: str, body: Any, status: int = 200) -> Any:
    response = requests.post(f"{base_url}/_sim/{path}", json=body, timeout=5)
    assert response.status_code == status, response.text
    return response.json()


def pay(base_url: str, result: Result, amount_fen: int | None = None, status: int = 200) -> Any:
    assert result.payment is not None
    more = {} if amount_fen is None else {"amount_fen": amount_fen}
    return control(base_url, "pay", {"payment": dict(result.payment), **more}, status)


def fresh_number(prefix: str = "RC") -> str:
    return prefix + secrets.token_hex(15)


def prepay_request(attempt_no: str, receiver: Receiver, **changes: Any) -> PrepayRequest:
    values: dict[str, Any] = {
        "attempt_no": attempt_no,
        "amount_fen": 8888,
        "subject": "充值 + 88.88 元",
        "scene": "native",
        "expires_at": EXPIRES_AT,
        "notify_url": receiver.url,
        **changes,
    }
    return PrepayRequest(**values)


def refund_request(attempt_no: str, refund_no: str, amount_fen: int) -> RefundRequest:
    return RefundRequest(
        refund_no=refund_no,
        attempt_no=attempt_no,
        amount_fen=amount_fen,
        paid_fen=8888,
        reason="红包未领完",
        notify_url="https://pay.example.com/not/used",
    )


def payout_request(payout_no: str, **changes: Any) -> PayoutRequest:
    values: dict[str, Any] = {
        "payout_no": payout_no,
        "amount_fen": 5000,
        "payee_account": PAYEE,
        "payee_name": "",
        "remark": "员工提现",
        "notify_url": "",
        **changes,
    }
    return PayoutRequest(**values)


def fact(adapter: AlipayAdapter, body: bytes) -> NoticeFact:
    return adapter.read_notice(headers={}, body=body, now=clock.now())


def paid(adapter: AlipayAdapter, base_url: str, receiver: Receiver) -> str:
    attempt_no = fresh_number()
    pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)))
    receiver.wait(len(receiver.bodies) or 1)
    return attempt_no


# --- payments ---


def test_a_scanned_code_from_prepay_to_notice_and_query(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver
) -> None:
    attempt_no = fresh_number()
    prepared = adapter.prepay(prepay_request(attempt_no, receiver))
    assert prepared.payment is not None
    assert prepared.payment["kind"] == "code_url"
    assert adapter.prepay(prepay_request(attempt_no, receiver)).payment == prepared.payment, "the same answer again"
    assert adapter.query(attempt_no=attempt_no).code == "not_found", "nobody has scanned it"
    page = requests.get(f"{base_url}/pay", params={"code_url": prepared.payment["code_url"]}, timeout=5)
    assert "确认支付" in page.text
    assert adapter.query(attempt_no=attempt_no) == Result(outcome=Outcome.PENDING, code="wait_buyer_pay")
    pay(base_url, prepared)
    (body,) = receiver.wait(1)
    said = fact(adapter, body)
    assert (said.kind, said.number) == (NoticeKind.PAYMENT, attempt_no)
    assert (said.result.outcome, said.result.amount_fen) == (Outcome.SUCCESS, 8888)
    queried = adapter.query(attempt_no=attempt_no)
    assert (queried.outcome, queried.amount_fen) == (Outcome.SUCCESS, 8888)
    assert (queried.provider_no, queried.happened_at) == (said.result.provider_no, said.result.happened_at)
    assert adapter.prepay(prepay_request(attempt_no, receiver)).code == "already_paid"


@pytest.mark.parametrize("scene", ["page", "h5"])
def test_a_page_is_opened_paid_and_left(adapter: AlipayAdapter, base_url: str, receiver: Receiver, scene: str) -> None:
    attempt_no = fresh_number()
    request = prepay_request(attempt_no, receiver, scene=scene, return_url="https://shop.example.com/back?order=1")
    prepared = adapter.prepay(request)
    payment = dict(prepared.payment or {})
    assert adapter.query(attempt_no=attempt_no).code == "not_found"
    if scene == "page":
        page = requests.post(payment["action"], data=payment["fields"], timeout=5)
    else:
        page = requests.get(payment["url"], timeout=5)
    assert "确认支付" in page.text
    assert "shop.example.com" not in page.text
    assert adapter.query(attempt_no=attempt_no).outcome is Outcome.PENDING
    code = page.url.partition("code_url=")[2]
    done = requests.post(f"{base_url}/pay", data=f"code_url={code}&action=pay", timeout=5, headers=FORM)
    assert "https://shop.example.com/back?order=1&amp;app_id=" in done.text
    assert "trade_status" not in done.text.partition("shop.example.com")[2]
    assert fact(adapter, receiver.wait(1)[0]).result.amount_fen == 8888
    assert adapter.query(attempt_no=attempt_no).outcome is Outcome.SUCCESS


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("scene", ["native", "page", "h5"])
def test_the_control_interface_pays_every_scene_once(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, scene: str
) -> None:
    attempt_no = fresh_number()
    prepared = adapter.prepay(prepay_request(attempt_no, receiver, scene=scene))
    pay(base_url, prepared)
    pay(base_url, prepared, status=409)
    assert adapter.query(attempt_no=attempt_no).amount_fen == 8888
    receiver.wait(1)
    time.sleep(0.1)
    assert len(receiver.bodies) == 1


def test_a_closed_trade_cannot_be_paid(adapter: AlipayAdapter, base_url: str, receiver: Receiver) -> None:
    attempt_no = fresh_number()
    prepared = adapter.prepay(prepay_request(attempt_no, receiver))
    assert adapter.close(attempt_no=attempt_no).code == "not_found"
    requests.get(f"{base_url}/pay", params={"code_url": dict(prepared.payment or {})["code_url"]}, timeout=5)
    assert adapter.close(attempt_no=attempt_no) == Result(outcome=Outcome.SUCCESS, code="closed")
    pay(base_url, prepared, status=409)
    assert adapter.query(attempt_no=attempt_no) == Result(outcome=Outcome.FAILED, code="trade_closed")
    assert adapter.prepay(prepay_request(attempt_no, receiver)).outcome is Outcome.FAILED
    assert adapter.close(attempt_no=attempt_no).outcome is Outcome.UNKNOWN
    assert adapter.query(attempt_no=fresh_number()).code == "not_found"


def test_the_same_number_with_another_amount_is_no_refusal(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver
) -> None:
    attempt_no = fresh_number()
    adapter.prepay(prepay_request(attempt_no, receiver))
    result = adapter.prepay(prepay_request(attempt_no, receiver, amount_fen=8889))
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "acq.context_inconsistent")


def test_another_amount_than_asked_for_is_reported_as_it_is(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver
) -> None:
    attempt_no = fresh_number()
    pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)), amount_fen=1)
    assert fact(adapter, receiver.wait(1)[0]).result.amount_fen == 1
    assert adapter.query(attempt_no=attempt_no).amount_fen == 1


# --- refunds ---


def test_partial_refunds_until_nothing_is_left(adapter: AlipayAdapter, base_url: str, receiver: Receiver) -> None:
    attempt_no = paid(adapter, base_url, receiver)
    first, second = fresh_number("RX"), fresh_number("RX")
    assert adapter.query_refund(refund_no=first, attempt_no=attempt_no).code == "not_found"
    done = adapter.refund(refund_request(attempt_no, first, 3000))
    assert (done.outcome, done.amount_fen) == (Outcome.SUCCESS, None)
    again = adapter.refund(refund_request(attempt_no, first, 3000))
    assert (again.outcome, again.code) == (Outcome.PENDING, "fund_unchanged"), "the same number refunds once"
    queried = adapter.query_refund(refund_no=first, attempt_no=attempt_no)
    assert (queried.outcome, queried.amount_fen) == (Outcome.SUCCESS, 3000)
    assert adapter.query(attempt_no=attempt_no).outcome is Outcome.SUCCESS, "partly refunded is still paid"
    too_much = adapter.refund(refund_request(attempt_no, second, 5889))
    assert (too_much.outcome, too_much.code) == (Outcome.UNKNOWN, "acq.refund_amt_not_equal_total")
    assert adapter.refund(refund_request(attempt_no, second, 5888)).outcome is Outcome.SUCCESS
    result = adapter.query(attempt_no=attempt_no)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "refunded"), "closed, and yet it was paid"
    facts = [fact(adapter, body) for body in receiver.wait(3)]
    assert [(said.kind, said.number) for said in facts] == [
        (NoticeKind.PAYMENT, attempt_no),
        (NoticeKind.REFUND, first),
        (NoticeKind.REFUND, second),
    ]
    assert b"trade_status=TRADE_SUCCESS" in receiver.bodies[1]
    assert b"trade_status=TRADE_CLOSED" in receiver.bodies[2]
    assert [said.result.amount_fen for said in facts] == [8888, None, None]
    assert len({said.event_id for said in facts}) == 3


@pytest.mark.parametrize("fault", ["refund_closed", "refund_abnormal"])
def test_a_refund_that_is_not_made_is_never_a_success(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, fault: str
) -> None:
    attempt_no, refund_no = paid(adapter, base_url, receiver), fresh_number("RX")
    set_faults(base_url, {"fault": fault, "channel": "alipay"})
    for _ in range(2):
        assert adapter.refund(refund_request(attempt_no, refund_no, 3000)).code == "fund_unchanged"
        assert adapter.query_refund(refund_no=refund_no, attempt_no=attempt_no).code == "not_found"
        time.sleep(0.3)
    assert len(receiver.bodies) == 1


# --- faults of answers ---


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("system_error_not_done", "isp.unknow-error"),
        ("system_error_but_done", "acq.system_error"),
        ("response_bad_signature", "answer_unverified"),
        ("response_malformed", "call_failed"),
        ("timeout_after_effect", "timeout"),
        ("timeout_before_effect", "timeout"),
        ("unknown_code_but_done", "acq.simulated"),
        ("unknown_code_not_done", "acq.simulated"),
    ],
)
def test_a_refund_without_a_certain_answer_is_unknown_and_repeating_it_refunds_once(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, fault: str, code: str
) -> None:
    attempt_no, refund_no = paid(adapter, base_url, receiver), fresh_number("RX")
    rule = {"fault": fault, "channel": "alipay", "operation": "refund", "times": 1}
    set_faults(base_url, rule | ({"delay_seconds": 1.5} if "timeout" in fault else {}))
    result = adapter.refund(refund_request(attempt_no, refund_no, 3000))
    assert result.outcome is Outcome.UNKNOWN
    assert result.code.startswith(code)
    is_done = fault not in ("system_error_not_done", "timeout_before_effect", "unknown_code_not_done")
    queried = adapter.query_refund(refund_no=refund_no, attempt_no=attempt_no)
    assert (queried.outcome, queried.code) == ((Outcome.SUCCESS, "") if is_done else (Outcome.UNKNOWN, "not_found"))
    repeated = adapter.refund(refund_request(attempt_no, refund_no, 3000))
    assert repeated.outcome is (Outcome.PENDING if is_done else Outcome.SUCCESS)
    assert adapter.query_refund(refund_no=refund_no, attempt_no=attempt_no).amount_fen == 3000
    books = requests.get(f"{base_url}/_sim/books", timeout=5).json()
    assert [row["amount_fen"] for row in books["refunds"] if row["attempt_no"] == attempt_no] == [3000]


def test_a_prepay_without_a_certain_answer_is_repeated_with_the_same_number(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver
) -> None:
    attempt_no = fresh_number()
    set_faults(base_url, {"fault": "system_error_but_done", "channel": "alipay", "operation": "precreate", "times": 1})
    assert adapter.prepay(prepay_request(attempt_no, receiver)).outcome is Outcome.UNKNOWN
    pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)))
    assert adapter.query(attempt_no=attempt_no).amount_fen == 8888


# --- faults of notices ---


@pytest.mark.parametrize(
    ("tamper", "reason"), [("signature", "signature_invalid"), ("stale", "stale"), ("truncate", None)]
)
def test_a_tampered_notice_is_refused_and_the_genuine_one_believed(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, tamper: str, reason: str | None
) -> None:
    rule = {"fault": "notice_tampered", "channel": "alipay", "tamper": tamper}
    set_faults(base_url, rule, {"fault": "notice_duplicate", "channel": "alipay"})
    attempt_no = fresh_number()
    pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)))
    bodies = receiver.wait(3)
    (bad,) = (body for body in bodies if fact_or_none(adapter, body) is None)
    good = [fact(adapter, body) for body in bodies if body is not bad]
    with pytest.raises(NoticeInvalid) as caught:
        fact(adapter, bad)
    assert reason in (None, caught.value.reason)
    assert {(said.number, said.result.amount_fen) for said in good} == {(attempt_no, 8888)}
    assert len({said.event_id for said in good}) == 1, "the same event, delivered twice"


def fact_or_none(adapter: AlipayAdapter, body: bytes) -> NoticeFact | None:
    try:
        return fact(adapter, body)
    except NoticeInvalid:
        return None


def test_a_wrong_amount_under_a_right_signature_is_the_same_event(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver
) -> None:
    attempt_no = paid(adapter, base_url, receiver)
    control(base_url, "notices/resend", {"attempt_no": attempt_no, "tamper": "amount"})
    genuine, changed = (fact(adapter, body) for body in receiver.wait(2))
    assert (genuine.result.amount_fen, changed.result.amount_fen) == (8888, 8889)
    assert genuine.event_id == changed.event_id


def test_only_the_exact_answer_ends_the_tries(adapter: AlipayAdapter, base_url: str, receiver: Receiver) -> None:
    attempt_no = paid(adapter, base_url, receiver)
    for answer in (b"success", b"success\n", b"SUCCESS", b"<html>success</html>", b"fail"):
        receiver.answer = answer
        said = control(base_url, "notices/resend", {"attempt_no": attempt_no})["deliveries"]
        assert said == [{"status": 200, "body": answer.decode()}]


# --- payouts ---


def test_a_payout_is_made_once_and_found_again(adapter: AlipayAdapter, base_url: str) -> None:
    payout_no = fresh_number("WD")
    assert adapter.query_payout(payout_no=payout_no).code == "not_found"
    made = adapter.pay_out(payout_request(payout_no))
    assert (made.outcome, made.code) == (Outcome.SUCCESS, "")
    again = adapter.pay_out(payout_request(payout_no))
    assert (again.outcome, again.provider_no) == (Outcome.SUCCESS, made.provider_no)
    queried = adapter.query_payout(payout_no=payout_no)
    assert (queried.outcome, queried.amount_fen, queried.provider_no) == (Outcome.SUCCESS, 5000, made.provider_no)
    assert adapter.pay_out(payout_request(payout_no, amount_fen=5001)).outcome is Outcome.UNKNOWN
    books = requests.get(f"{base_url}/_sim/books", timeout=5).json()
    assert [row["amount_fen"] for row in books["payouts"] if row["payout_no"] == payout_no] == [5000]


@pytest.mark.parametrize(
    ("fault", "outcome", "code"),
    [
        ("payout_refused", Outcome.FAILED, "payee_not_exist"),
        ("payout_not_enough", Outcome.UNKNOWN, "payer_balance_not_enough"),
    ],
)
def test_a_payout_that_is_not_taken(
    adapter: AlipayAdapter, base_url: str, fault: str, outcome: Outcome, code: str
) -> None:
    payout_no = fresh_number("WD")
    set_faults(base_url, {"fault": fault, "channel": "alipay", "times": 1})
    result = adapter.pay_out(payout_request(payout_no))
    assert (result.outcome, result.code) == (outcome, code)
    assert adapter.query_payout(payout_no=payout_no).code == "not_found"


@pytest.mark.parametrize(
    ("fault", "code"), [("payout_failed", "payee_account_abnormal"), ("payout_returned", "returned")]
)
def test_a_payout_that_ends_badly_later(adapter: AlipayAdapter, base_url: str, fault: str, code: str) -> None:
    payout_no = fresh_number("WD")
    set_faults(base_url, {"fault": fault, "channel": "alipay", "times": 1})
    result = adapter.pay_out(payout_request(payout_no))
    assert (result.outcome, result.code) == (Outcome.PENDING, "dealing")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (result := adapter.query_payout(payout_no=payout_no)).outcome is not Outcome.FAILED:
        assert time.monotonic() < deadline, result
        time.sleep(0.05)
    assert (result.code, result.amount_fen) == (code, 5000)


@pytest.mark.parametrize("fault", ["system_error_but_done", "response_bad_signature", "timeout_after_effect"])
def test_a_payout_without_a_certain_answer_is_unknown_and_was_made(
    adapter: AlipayAdapter, base_url: str, fault: str
) -> None:
    payout_no = fresh_number("WD")
    rule = {"fault": fault, "channel": "alipay", "operation": "transfer", "times": 1}
    set_faults(base_url, rule | ({"delay_seconds": 1.5} if "timeout" in fault else {}))
    assert adapter.pay_out(payout_request(payout_no)).outcome is Outcome.UNKNOWN
    assert adapter.query_payout(payout_no=payout_no).outcome is Outcome.SUCCESS
    assert adapter.pay_out(payout_request(payout_no)).outcome is Outcome.SUCCESS


# --- bills ---


@pytest.fixture
def bill_day(base_url: str) -> Iterator[dt.date]:
    """Today, with the bill office two days ahead."""
    control(base_url, "clock", {"bill_offset_seconds": 2 * 86_400})
    yield clock.business_date(clock.now())
    control(base_url, "clock", {"bill_offset_seconds": 0})


def test_bills_hold_the_days_payments_refunds_and_payouts(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, bill_day: dt.date
) -> None:
    attempt_no, refund_no, payout_no = paid(adapter, base_url, receiver), fresh_number("RX"), fresh_number("WD")
    adapter.refund(refund_request(attempt_no, refund_no, 3000))
    adapter.pay_out(payout_request(payout_no))
    trade_no = adapter.query(attempt_no=attempt_no).provider_no

    bill = adapter.download_bill(day=bill_day, kind=BillKind.TRADE)
    assert (bill.state, bill.provider_hash, bill.is_checked) == (BillState.READY, "", False)
    content = adapter.read_bill(kind=BillKind.TRADE, content=bill.content)
    assert content.problems == ()
    payment, refund = (row for row in content.rows if attempt_no in (row.number, row.payment_no))
    assert (payment.kind, payment.number, payment.provider_no) == (BillRowKind.PAYMENT, attempt_no, trade_no)
    assert (payment.amount_fen, payment.is_incoming, payment.outcome) == (8888, True, Outcome.SUCCESS)
    assert (refund.kind, refund.number, refund.payment_no) == (BillRowKind.REFUND, refund_no, attempt_no)
    assert (refund.amount_fen, refund.is_incoming, refund.provider_payment_no) == (3000, False, trade_no)
    assert not [row for row in content.rows if row.number == payout_no], "payouts are in the account flow only"

    flow = adapter.download_bill(day=bill_day, kind=BillKind.FUND_FLOW)
    rows = adapter.read_bill(kind=BillKind.FUND_FLOW, content=flow.content)
    assert rows.problems == ()
    ours = [row for row in rows.rows if {attempt_no, payout_no} & {row.number, row.payment_no}]
    assert [(row.kind, row.number, row.amount_fen, row.is_incoming) for row in ours] == [
        (BillRowKind.PAYMENT, attempt_no, 8888, True),
        (BillRowKind.REFUND, "", 3000, False),
        (BillRowKind.PAYOUT, payout_no, 5000, False),
    ]
    balances = [row.balance_fen for row in rows.rows]
    steps = [row.amount_fen if row.is_incoming else -row.amount_fen for row in rows.rows]
    assert all(
        after is not None and before is not None and after - before == step
        for before, after, step in zip(balances, balances[1:], steps[1:], strict=False)
    )


def test_not_ready_and_no_rows_are_said_alike(adapter: AlipayAdapter, base_url: str, receiver: Receiver) -> None:
    today = clock.business_date(clock.now())
    for day in (today, today - dt.timedelta(days=30)):
        bill = adapter.download_bill(day=day, kind=BillKind.TRADE)
        assert (bill.state, bill.code, bill.content) == (BillState.NO_BILL, "bill_not_exist", b"")


@pytest.mark.parametrize("fault", ["bill_not_ready", "bill_empty"])
def test_a_missing_bill_is_no_bill(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, bill_day: dt.date, fault: str
) -> None:
    paid(adapter, base_url, receiver)
    set_faults(base_url, {"fault": fault, "channel": "alipay", "attempt_no": bill_day.isoformat(), "times": 1})
    assert adapter.download_bill(day=bill_day, kind=BillKind.TRADE).state is BillState.NO_BILL
    assert adapter.download_bill(day=bill_day, kind=BillKind.TRADE).state is BillState.READY


@pytest.mark.parametrize("kind", [BillKind.TRADE, BillKind.FUND_FLOW])
@pytest.mark.parametrize(
    ("fault", "more_rows", "problems"),
    [
        ("bill_extra_row", 1, 0),
        ("bill_missing_row", -1, 0),
        ("bill_changed_row", 0, 0),
        ("bill_wrong_summary", 0, 1),
    ],
)
def test_spoilt_bills_are_read_as_they_are(
    adapter: AlipayAdapter,
    base_url: str,
    receiver: Receiver,
    bill_day: dt.date,
    kind: BillKind,
    fault: str,
    more_rows: int,
    problems: int,
) -> None:
    paid(adapter, base_url, receiver)
    right = adapter.read_bill(kind=kind, content=adapter.download_bill(day=bill_day, kind=kind).content)
    set_faults(base_url, {"fault": fault, "channel": "alipay"})
    spoilt = adapter.read_bill(kind=kind, content=adapter.download_bill(day=bill_day, kind=kind).content)
    assert len(spoilt.rows) == len(right.rows) + more_rows
    assert len(spoilt.problems) == problems
    if fault == "bill_changed_row":
        assert spoilt.rows[0].amount_fen == right.rows[0].amount_fen + 1


def test_a_cut_bill_is_refused_whole(
    adapter: AlipayAdapter, base_url: str, receiver: Receiver, bill_day: dt.date
) -> None:
    paid(adapter, base_url, receiver)
    set_faults(base_url, {"fault": "bill_cut", "channel": "alipay"})
    bill = adapter.download_bill(day=bill_day, kind=BillKind.TRADE)
    with pytest.raises(BillInvalid):
        adapter.read_bill(kind=BillKind.TRADE, content=bill.content)
