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
from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.ports import NoticeInvalid, NoticeKind, Outcome, PrepayRequest, RefundRequest, Result
from simulator import credentials, server

READ_TIMEOUT_SECONDS = 0.8
PATIENCE_SECONDS = 10.0
"""How long a test waits for a notice or a refund of the simulator; both take less than a second."""

Message = tuple[dict[str, str], bytes]


@dataclass
class Receiver:
    """Our /notify/ address: keeps what arrives and acknowledges it."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                receiver.messages.append((dict(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/notify/wechat"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int) -> list[Message]:
        """The first `count` messages."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.messages) < count:
            assert time.monotonic() < deadline, f"{len(self.messages)} of {count} notices came"
            time.sleep(0.02)
        return self.messages[:count]


@dataclass(frozen=True)
class Simulator:
    """A running simulator and the directory that its credentials are in."""

    directory: Path
    handle: server.Handle

    @property
    def url(self) -> str:
        return self.handle.url

    @classmethod
    def start(cls, directory: Path) -> Simulator:
        credentials.initialise(directory=directory)
        return cls(directory, server.start(directory=directory, port=0, refund_delay_seconds=0.2))

    def adapter(self) -> WechatAdapter:
        return WechatAdapter(
            WechatConfig(
                base_url=self.url,
                credentials_file=str(self.directory / "credentials.json"),
                connect_timeout_seconds=1.0,
                read_timeout_seconds=READ_TIMEOUT_SECONDS,
            )
        )


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator.start(tmp_path_factory.mktemp("simulator"))
    yield running
    running.handle.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def base_url(simulator: Simulator) -> str:
    set_faults(simulator.url)
    return simulator.url


@pytest.fixture
def adapter(simulator: Simulator, base_url: str) -> WechatAdapter:
    return simulator.adapter()


def set_faults(base_url: str, *rules: dict[str, Any]) -> None:
    response = requests.put(f"{base_url}/_sim/faults", json={"rules": list(rules), "seed": "1"}, timeout=5)
    assert response.status_code == 200, response.text


def pay(base_url: str, result: Result, amount_fen: int | None = None) -> None:
    assert result.payment is not None
    content: dict[str, Any] = {"payment": dict(result.payment)}
    if amount_fen is not None:
        content["amount_fen"] = amount_fen
    response = requests.post(f"{base_url}/_sim/pay", json=content, timeout=5)
    assert response.status_code == 200, response.text


def fresh_number(prefix: str = "RC") -> str:
    return prefix + secrets.token_hex(15)


def prepay_request(attempt_no: str, receiver: Receiver, **changes: Any) -> PrepayRequest:
    values: dict[str, Any] = {
        "attempt_no": attempt_no,
        "amount_fen": 8888,
        "subject": "充值 88.88 元",
        "scene": "native",
        "expires_at": dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=28),
        "notify_url": receiver.url,
        **changes,
    }
    return PrepayRequest(**values)


def refund_request(attempt_no: str, refund_no: str, receiver: Receiver, amount_fen: int = 3000) -> RefundRequest:
    return RefundRequest(
        refund_no=refund_no,
        attempt_no=attempt_no,
        amount_fen=amount_fen,
        paid_fen=8888,
        reason="红包未领完，退回余额",
        notify_url=receiver.url,
    )


def paid_attempt(adapter: WechatAdapter, base_url: str, receiver: Receiver) -> str:
    attempt_no = fresh_number()
    pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)))
    receiver.wait(1)
    return attempt_no


def settled_refund(adapter: WechatAdapter, refund_no: str) -> Result:
    """The refund once the simulator has ended it; PROCESSING lasts half a second there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = adapter.query_refund(refund_no=refund_no)
        if (result.outcome, result.code) != (Outcome.PENDING, ""):
            return result
        assert time.monotonic() < deadline, "the refund stays PROCESSING"
        time.sleep(0.05)


class TestCalls:
    def test_a_payment_from_prepay_to_paid(self, adapter: WechatAdapter, base_url: str, receiver: Receiver) -> None:
        attempt_no = fresh_number()
        prepared = adapter.prepay(prepay_request(attempt_no, receiver, subject="红包" * 60))
        assert prepared.outcome is Outcome.SUCCESS
        assert prepared.payment is not None
        assert prepared.payment["code_url"].startswith("weixin://wxpay/bizpayurl?pr=")
        waiting = adapter.query(attempt_no=attempt_no)
        assert (waiting.outcome, waiting.code, waiting.amount_fen) == (Outcome.PENDING, "notpay", None)
        pay(base_url, prepared)
        paid = adapter.query(attempt_no=attempt_no)
        assert (paid.outcome, paid.amount_fen, paid.message) == (Outcome.SUCCESS, 8888, "支付成功")
        assert paid.provider_no.startswith("4200")
        assert paid.happened_at is not None
        assert abs(paid.happened_at - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=30)

    def test_prepay_repeated_with_the_same_number_is_the_same_payment(
        self, adapter: WechatAdapter, receiver: Receiver
    ) -> None:
        request = prepay_request(fresh_number(), receiver)
        assert adapter.prepay(request) == adapter.prepay(request)

    def test_a_number_taken_by_another_amount_is_unknown_not_failed(
        self, adapter: WechatAdapter, receiver: Receiver
    ) -> None:
        attempt_no = fresh_number()
        adapter.prepay(prepay_request(attempt_no, receiver))
        again = adapter.prepay(prepay_request(attempt_no, receiver, amount_fen=9999))
        assert (again.outcome, again.code, again.payment) == (Outcome.UNKNOWN, "invalid_request", None)

    def test_a_provider_that_refuses_the_request_fails_the_prepay(
        self, adapter: WechatAdapter, receiver: Receiver
    ) -> None:
        request = prepay_request(fresh_number(), receiver, notify_url=f"{receiver.url}?query=1")
        declined = adapter.prepay(request)
        assert (declined.outcome, declined.code) == (Outcome.FAILED, "param_error")

    @pytest.mark.parametrize(
        ("scene", "more", "kind"),
        [
            ("jsapi", {"payer_id": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}, "jsapi"),
            ("h5", {"payer_ip": "192.0.2.7"}, "redirect"),
        ],
    )
    def test_other_scenes_are_prepared_and_paid(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, scene: str, more: dict[str, Any], kind: str
    ) -> None:
        number = fresh_number()
        prepared = adapter.prepay(prepay_request(number, receiver, scene=scene, **more))
        assert prepared.outcome is Outcome.SUCCESS
        assert prepared.payment is not None
        assert prepared.payment["kind"] == kind
        pay(base_url, prepared)
        fact = adapter.read_notice(headers=receiver.wait(1)[0][0], body=receiver.wait(1)[0][1], now=clock.now())
        assert (fact.kind, fact.number, fact.result.outcome) == (NoticeKind.PAYMENT, number, Outcome.SUCCESS)

    def test_the_client_of_jsapi_refuses_parameters_with_another_signature(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        number = fresh_number()
        prepared = adapter.prepay(prepay_request(number, receiver, scene="jsapi", payer_id="oUpF8uMuAJO_M2pxb1Q9z"))
        assert prepared.payment is not None
        falsified = {**prepared.payment, "nonceStr": "another"}
        answer = requests.post(f"{base_url}/_sim/pay", json={"payment": falsified}, timeout=5)
        assert answer.status_code == 400
        assert adapter.query(attempt_no=number).outcome is Outcome.PENDING

    def test_close_then_query_says_closed_for_ever(self, adapter: WechatAdapter, receiver: Receiver) -> None:
        attempt_no = fresh_number()
        request = prepay_request(attempt_no, receiver)
        adapter.prepay(request)
        assert adapter.close(attempt_no=attempt_no) == Result(outcome=Outcome.SUCCESS, code="closed")
        closed = adapter.query(attempt_no=attempt_no)
        assert (closed.outcome, closed.code) == (Outcome.FAILED, "closed")
        again = adapter.close(attempt_no=attempt_no)
        assert (again.outcome, again.code) == (Outcome.UNKNOWN, "order_closed")
        prepared = adapter.prepay(request)
        assert (prepared.outcome, prepared.code, prepared.payment) == (Outcome.FAILED, "order_closed", None)

    def test_a_paid_order_cannot_be_closed(self, adapter: WechatAdapter, base_url: str, receiver: Receiver) -> None:
        attempt_no = paid_attempt(adapter, base_url, receiver)
        result = adapter.close(attempt_no=attempt_no)
        assert (result.outcome, result.code) == (Outcome.FAILED, "already_paid")
        assert adapter.query(attempt_no=attempt_no).outcome is Outcome.SUCCESS

    def test_numbers_the_provider_does_not_know_are_unknown(self, adapter: WechatAdapter, receiver: Receiver) -> None:
        attempt_no, refund_no = fresh_number(), fresh_number("RX")
        for result in (
            adapter.query(attempt_no=attempt_no),
            adapter.close(attempt_no=attempt_no),
            adapter.refund(refund_request(attempt_no, refund_no, receiver)),
            adapter.query_refund(refund_no=refund_no),
        ):
            assert (result.outcome, result.code) == (Outcome.UNKNOWN, "not_found")

    def test_a_refund_from_accepted_to_done(self, adapter: WechatAdapter, base_url: str, receiver: Receiver) -> None:
        attempt_no, refund_no = paid_attempt(adapter, base_url, receiver), fresh_number("RX")
        request = refund_request(attempt_no, refund_no, receiver)
        accepted = adapter.refund(request)
        assert (accepted.outcome, accepted.code, accepted.amount_fen) == (Outcome.PENDING, "", 3000)
        assert adapter.refund(request).provider_no == accepted.provider_no, "the same number refunds once"
        done = settled_refund(adapter, refund_no)
        assert (done.outcome, done.amount_fen, done.provider_no) == (Outcome.SUCCESS, 3000, accepted.provider_no)
        assert done.happened_at is not None

    def test_more_than_was_paid_is_not_refunded(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no = paid_attempt(adapter, base_url, receiver)
        adapter.refund(refund_request(attempt_no, fresh_number("RX"), receiver, amount_fen=8000))
        result = adapter.refund(refund_request(attempt_no, fresh_number("RX"), receiver, amount_fen=1000))
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, "invalid_request")

    @pytest.mark.parametrize(
        ("fault", "outcome", "code"),
        [("refund_closed", Outcome.FAILED, "closed"), ("refund_abnormal", Outcome.PENDING, "abnormal")],
    )
    def test_a_refund_may_end_otherwise(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, fault: str, outcome: Outcome, code: str
    ) -> None:
        attempt_no, refund_no = paid_attempt(adapter, base_url, receiver), fresh_number("RX")
        set_faults(base_url, {"fault": fault})
        adapter.refund(refund_request(attempt_no, refund_no, receiver))
        ended = settled_refund(adapter, refund_no)
        assert (ended.outcome, ended.code) == (outcome, code)
        headers, body = receiver.wait(2)[1]
        fact = adapter.read_notice(headers=headers, body=body, now=clock.now())
        assert (fact.kind, fact.number) == (NoticeKind.REFUND, refund_no)
        assert (fact.result.outcome, fact.result.code) == (outcome, code)


class TestFaultyAnswers:
    """Whatever is wrong with an answer, it is UNKNOWN, and the query finds what really happened."""

    @pytest.mark.parametrize(
        ("rule", "code", "is_done"),
        [
            ({"fault": "response_bad_signature"}, "answer_unverified", True),
            ({"fault": "timeout_after_effect", "delay_seconds": 1.5}, "timeout", True),
            ({"fault": "system_error_but_done"}, "system_error", True),
            ({"fault": "system_error_not_done"}, "system_error", False),
        ],
    )
    def test_a_prepay(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, rule: dict[str, Any], code: str, is_done: bool
    ) -> None:
        request = prepay_request(fresh_number(), receiver)
        set_faults(base_url, {**rule, "operation": "native"})
        result = adapter.prepay(request)
        assert (result.outcome, result.code, result.payment) == (Outcome.UNKNOWN, code, None)
        set_faults(base_url)
        found = adapter.query(attempt_no=request.attempt_no)
        expected = (Outcome.PENDING, "notpay") if is_done else (Outcome.UNKNOWN, "not_found")
        assert (found.outcome, found.code) == expected
        assert adapter.prepay(request).outcome is Outcome.SUCCESS, "the same number goes on"

    @pytest.mark.parametrize(
        ("rule", "code", "is_done"),
        [
            ({"fault": "response_bad_signature"}, "answer_unverified", True),
            ({"fault": "timeout_after_effect", "delay_seconds": 1.5}, "timeout", True),
            ({"fault": "system_error_but_done"}, "system_error", True),
            ({"fault": "system_error_not_done"}, "system_error", False),
        ],
    )
    def test_a_close_and_a_refund(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, rule: dict[str, Any], code: str, is_done: bool
    ) -> None:
        paid_no, refund_no, open_no = paid_attempt(adapter, base_url, receiver), fresh_number("RX"), fresh_number()
        adapter.prepay(prepay_request(open_no, receiver))
        set_faults(base_url, {**rule, "operation": "close"}, {**rule, "operation": "refund"})
        refund = refund_request(paid_no, refund_no, receiver)
        for result in (adapter.close(attempt_no=open_no), adapter.refund(refund)):
            assert (result.outcome, result.code, result.amount_fen) == (Outcome.UNKNOWN, code, None)
        set_faults(base_url)
        assert adapter.query(attempt_no=open_no).outcome is (Outcome.FAILED if is_done else Outcome.PENDING)
        if not is_done:
            assert adapter.query_refund(refund_no=refund_no).code == "not_found"
            assert adapter.refund(refund).outcome is Outcome.PENDING
        assert settled_refund(adapter, refund_no).outcome is Outcome.SUCCESS

    def test_a_query_of_a_paid_order_whose_answer_is_not_signed_credits_nothing(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no = paid_attempt(adapter, base_url, receiver)
        set_faults(base_url, {"fault": "response_bad_signature", "operation": "query"})
        result = adapter.query(attempt_no=attempt_no)
        assert (result.outcome, result.code, result.amount_fen) == (Outcome.UNKNOWN, "answer_unverified", None)

    def test_a_request_outside_of_the_providers_clock_window_fails_the_prepay_only(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no = fresh_number()
        shift = {"offset_seconds": 3600}
        assert requests.post(f"{base_url}/_sim/clock", json=shift, timeout=5).status_code == 200
        try:
            prepared = adapter.prepay(prepay_request(attempt_no, receiver))
            found = adapter.query(attempt_no=attempt_no)
        finally:
            requests.post(f"{base_url}/_sim/clock", json={"offset_seconds": 0}, timeout=5)
        assert (prepared.outcome, prepared.code) == (Outcome.FAILED, "sign_error")
        assert (found.outcome, found.code) == (Outcome.UNKNOWN, "sign_error")


class TestNotices:
    def test_a_payment_notice_says_what_the_query_says(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no = paid_attempt(adapter, base_url, receiver)
        headers, body = receiver.wait(1)[0]
        fact = adapter.read_notice(headers=headers, body=body, now=clock.now())
        assert (fact.kind, fact.number) == (NoticeKind.PAYMENT, attempt_no)
        assert fact.result == adapter.query(attempt_no=attempt_no)
        assert fact.result.amount_fen == 8888

    def test_another_amount_paid_is_told_as_it_is(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no = fresh_number()
        pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)), amount_fen=1)
        headers, body = receiver.wait(1)[0]
        fact = adapter.read_notice(headers=headers, body=body, now=clock.now())
        assert fact.result.amount_fen == adapter.query(attempt_no=attempt_no).amount_fen == 1

    def test_a_refund_notice_says_what_the_query_says(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        attempt_no, refund_no = paid_attempt(adapter, base_url, receiver), fresh_number("RX")
        adapter.refund(refund_request(attempt_no, refund_no, receiver))
        headers, body = receiver.wait(2)[1]
        fact = adapter.read_notice(headers=headers, body=body, now=clock.now())
        assert (fact.kind, fact.number) == (NoticeKind.REFUND, refund_no)
        assert fact.result == settled_refund(adapter, refund_no)
        assert fact.result.amount_fen == 3000

    @pytest.mark.parametrize(
        ("rule", "reason"),
        [
            ({"fault": "notice_signtest"}, "signature_probe"),
            ({"fault": "notice_stale"}, "stale"),
            ({"fault": "notice_tampered", "tamper": "signature"}, "signature_invalid"),
            ({"fault": "notice_tampered", "tamper": "stale"}, "stale"),
            ({"fault": "notice_tampered", "tamper": "truncate"}, "signature_invalid"),
        ],
    )
    def test_a_bad_message_is_refused_and_the_genuine_one_behind_it_is_not(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, rule: dict[str, Any], reason: str
    ) -> None:
        set_faults(base_url, rule)
        attempt_no = fresh_number()
        pay(base_url, adapter.prepay(prepay_request(attempt_no, receiver)))
        bad, genuine = receiver.wait(2)
        with pytest.raises(NoticeInvalid) as caught:
            adapter.read_notice(headers=bad[0], body=bad[1], now=clock.now())
        assert (caught.value.reason, caught.value.is_signed) == (reason, False)
        assert adapter.read_notice(headers=genuine[0], body=genuine[1], now=clock.now()).number == attempt_no

    def test_a_rightly_signed_other_amount_is_told_for_the_caller_to_refuse(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        set_faults(base_url, {"fault": "notice_tampered", "tamper": "amount"})
        pay(base_url, adapter.prepay(prepay_request(fresh_number(), receiver)))
        wrong, genuine = (
            adapter.read_notice(headers=headers, body=body, now=clock.now()) for headers, body in receiver.wait(2)
        )
        assert (wrong.result.amount_fen, genuine.result.amount_fen) == (8889, 8888)
        assert wrong.event_id == genuine.event_id

    def test_duplicates_are_the_same_event_signed_anew(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver
    ) -> None:
        set_faults(base_url, {"fault": "notice_duplicate", "copies": 2})
        pay(base_url, adapter.prepay(prepay_request(fresh_number(), receiver)))
        messages = receiver.wait(3)
        facts = [adapter.read_notice(headers=headers, body=body, now=clock.now()) for headers, body in messages]
        assert facts[0] == facts[1] == facts[2]
        assert len({headers["Wechatpay-Signature"] for headers, _ in messages}) == 3

    def test_a_notice_of_another_provider_is_refused_by_its_key(
        self, adapter: WechatAdapter, base_url: str, receiver: Receiver, tmp_path: Path
    ) -> None:
        pay(base_url, adapter.prepay(prepay_request(fresh_number(), receiver)))
        headers, body = receiver.wait(1)[0]
        other = Simulator.start(tmp_path)
        try:
            with pytest.raises(NoticeInvalid, match="serial_unknown"):
                other.adapter().read_notice(headers=headers, body=body, now=clock.now())
        finally:
            other.handle.stop()
