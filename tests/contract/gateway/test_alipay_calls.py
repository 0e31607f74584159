"""What the Alipay adapter sends, and what it makes of every kind of answer."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from foundation import clock
from gateway.adapters.alipay import AlipayAdapter, client
from gateway.adapters.alipay import adapter as calls
from gateway.ports import (
    BillSource,
    Outcome,
    PaymentChannel,
    Payout,
    PayoutQuery,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
)
from tests.contract.gateway.alipay_provider import (
    ATTEMPT_NO,
    DONE,
    NOW,
    PAYOUT_NO,
    REFUND_NO,
    TRADE_NO,
    AlipayProvider,
    Reply,
    failure_node,
    payout_node,
    refund_node,
    refund_query_node,
    trade_node,
)

EXPIRES_AT = dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)
PAID_AT = dt.datetime(2026, 11, 23, 2, 0, 5, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlipayProvider]:
    made = AlipayProvider.create(tmp_path_factory.mktemp("alipay"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(running_provider: AlipayProvider) -> AlipayProvider:
    running_provider.reply = Reply()
    running_provider.seen.clear()
    return running_provider


@pytest.fixture
def adapter(provider: AlipayProvider) -> AlipayAdapter:
    return provider.adapter()


def prepay_request(**changes: Any) -> PrepayRequest:
    values: dict[str, Any] = {
        "attempt_no": ATTEMPT_NO,
        "amount_fen": 8888,
        "subject": "充值 88.88 元",
        "scene": "native",
        "expires_at": EXPIRES_AT,
        "notify_url": "https://pay.example.com/notify/alipay",
        **changes,
    }
    return PrepayRequest(**values)


def refund_request(**changes: Any) -> RefundRequest:
    values: dict[str, Any] = {
        "refund_no": REFUND_NO,
        "attempt_no": ATTEMPT_NO,
        "amount_fen": 3000,
        "paid_fen": 8888,
        "reason": "红包未领完",
        "notify_url": "https://pay.example.com/notify/alipay/refund",
        **changes,
    }
    return RefundRequest(**values)


def payout_request(**changes: Any) -> PayoutRequest:
    values: dict[str, Any] = {
        "payout_no": PAYOUT_NO,
        "amount_fen": 5000,
        "payee_account": "2088622190161234",
        "payee_name": "",
        "remark": "员工提现",
        "notify_url": "https://pay.example.com/notify/alipay/payout",
        **changes,
    }
    return PayoutRequest(**values)


CALLS = ("prepay", "query", "close", "refund", "query_refund", "pay_out", "query_payout")


def call_everything(adapter: AlipayAdapter) -> list[Result]:
    """In the order of CALLS."""
    return [
        adapter.prepay(prepay_request()),
        adapter.query(attempt_no=ATTEMPT_NO),
        adapter.close(attempt_no=ATTEMPT_NO),
        adapter.refund(refund_request()),
        adapter.query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO),
        adapter.pay_out(payout_request()),
        adapter.query_payout(payout_no=PAYOUT_NO),
    ]


def test_the_adapter_offers_every_capability_it_should(adapter: AlipayAdapter) -> None:
    channel: PaymentChannel = adapter
    assert callable(channel.prepay)
    assert isinstance(adapter, Payout)
    assert isinstance(adapter, PayoutQuery)
    assert isinstance(adapter, BillSource)


# --- what is sent ---


def test_precreate_sends_the_documented_request_signed(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    provider.reply = Reply(node={**DONE, "out_trade_no": ATTEMPT_NO, "qr_code": "https://qr.alipay.com/bax1"})
    with clock.frozen(NOW):
        result = adapter.prepay(prepay_request())
    assert result == Result(
        outcome=Outcome.SUCCESS, payment={"kind": "code_url", "code_url": "https://qr.alipay.com/bax1"}
    )
    (seen,) = provider.seen
    common = dict(seen.parameters)
    assert seen.content == {
        "out_trade_no": ATTEMPT_NO,
        "total_amount": "88.88",
        "subject": "充值 88.88 元",
        "time_expire": "2026-11-23 10:30:00",
    }
    provider.assert_signed_by_app(common)
    for name in ("biz_content", "sign", "app_cert_sn", "alipay_root_cert_sn"):
        assert common.pop(name)
    assert common == {
        "app_id": provider.app_id,
        "method": "alipay.trade.precreate",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": "2026-11-23 10:00:10",
        "version": "1.0",
        "notify_url": "https://pay.example.com/notify/alipay",
    }


def test_the_time_stamp_is_beijings_whatever_the_zone_of_the_process(
    adapter: AlipayAdapter, provider: AlipayProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with clock.frozen(NOW):
            adapter.query(attempt_no=ATTEMPT_NO)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert provider.seen[0].parameters["timestamp"] == "2026-11-23 10:00:10"


def test_every_other_call_sends_the_documented_content(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    provider.reply = Reply(node=failure_node("40004", "ACQ.SYSTEM_ERROR"))
    call_everything(adapter)
    transfer = {"product_code": "TRANS_ACCOUNT_NO_PWD", "biz_scene": "DIRECT_TRANSFER"}
    assert [(seen.parameters["method"], seen.content) for seen in provider.seen[1:]] == [
        ("alipay.trade.query", {"out_trade_no": ATTEMPT_NO}),
        ("alipay.trade.close", {"out_trade_no": ATTEMPT_NO}),
        (
            "alipay.trade.refund",
            {
                "out_trade_no": ATTEMPT_NO,
                "refund_amount": "30.00",
                "out_request_no": REFUND_NO,
                "refund_reason": "红包未领完",
            },
        ),
        (
            "alipay.trade.fastpay.refund.query",
            {"out_trade_no": ATTEMPT_NO, "out_request_no": REFUND_NO, "query_options": ["gmt_refund_pay"]},
        ),
        (
            "alipay.fund.trans.uni.transfer",
            {
                **transfer,
                "out_biz_no": PAYOUT_NO,
                "trans_amount": "50.00",
                "order_title": "员工提现",
                "payee_info": {"identity": "2088622190161234", "identity_type": "ALIPAY_USER_ID"},
                "remark": "员工提现",
            },
        ),
        ("alipay.fund.trans.common.query", {**transfer, "out_biz_no": PAYOUT_NO}),
    ]
    for seen in provider.seen:
        provider.assert_signed_by_app(seen.parameters)


@pytest.mark.parametrize(
    ("scene", "method", "product", "kind"),
    [
        ("page", "alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY", "form"),
        ("h5", "alipay.trade.wap.pay", "QUICK_WAP_PAY", "redirect"),
    ],
)
def test_a_page_is_signed_here_and_nothing_is_sent(
    adapter: AlipayAdapter, provider: AlipayProvider, scene: str, method: str, product: str, kind: str
) -> None:
    with clock.frozen(NOW):
        result = adapter.prepay(prepay_request(scene=scene, return_url="https://shop.example.com/back?a=1&b=+"))
    assert (result.outcome, provider.seen) == (Outcome.SUCCESS, [])
    assert result.payment is not None
    assert result.payment["kind"] == kind
    url = result.payment["action"] if kind == "form" else result.payment["url"]
    assert url.startswith(f"{provider.url}/gateway.do?")
    parameters = dict(parse_qsl(urlsplit(url).query)) | dict(result.payment.get("fields", {}))
    provider.assert_signed_by_app(parameters)
    assert (parameters["method"], parameters["timestamp"]) == (method, "2026-11-23 10:00:10")
    assert parameters["return_url"] == "https://shop.example.com/back?a=1&b=+"
    assert parameters["notify_url"] == "https://pay.example.com/notify/alipay"
    assert f'"product_code":"{product}"' in parameters["biz_content"]
    assert ("biz_content" in urlsplit(url).query) is (kind == "redirect")


@pytest.mark.parametrize(
    ("request_changes", "code"),
    [({"scene": "jsapi"}, "scene_unsupported"), ({"amount_fen": 10_000_000_001}, "amount_too_large")],
)
def test_what_alipay_cannot_take_is_refused_before_it_is_sent(
    adapter: AlipayAdapter, provider: AlipayProvider, request_changes: dict[str, Any], code: str
) -> None:
    assert adapter.prepay(prepay_request(**request_changes)) == Result(outcome=Outcome.FAILED, code=code)
    assert provider.seen == []


@pytest.mark.parametrize(
    ("fen", "yuan"), [(1, "0.01"), (10, "0.10"), (100, "1.00"), (110, "1.10"), (10_000_000_000, "100000000.00")]
)
def test_fen_become_yuan_exactly(adapter: AlipayAdapter, provider: AlipayProvider, fen: int, yuan: str) -> None:
    provider.reply = Reply(node=trade_node(total_amount=yuan))
    adapter.prepay(prepay_request(amount_fen=fen))
    assert provider.seen[0].content["total_amount"] == yuan
    assert adapter.query(attempt_no=ATTEMPT_NO).amount_fen == fen


@pytest.mark.parametrize(
    ("subject", "sent"),
    [
        ("红" * 300, "红" * 256),
        ("a/b=c&d{e}f", "a b c d e f"),
        ('one, "two"\n', "one  two"),
        ("{}", ATTEMPT_NO),
        ("broken \ud800", "broken ?"),
        ("1 + 1", "1 + 1"),
    ],
)
def test_a_subject_is_made_acceptable(
    adapter: AlipayAdapter, provider: AlipayProvider, subject: str, sent: str
) -> None:
    adapter.prepay(prepay_request(subject=subject))
    assert provider.seen[0].content["subject"].split() == sent.split()


@pytest.mark.parametrize("number", ["", "x" * 65, "RC-1", "退款", "a b", "RC1\n"])
def test_a_number_alipay_cannot_take_is_our_own_bug(
    adapter: AlipayAdapter, provider: AlipayProvider, number: str
) -> None:
    with pytest.raises(ValueError, match="not a number"):
        adapter.query(attempt_no=number)
    with pytest.raises(ValueError, match="not a number"):
        adapter.query_refund(refund_no=REFUND_NO, attempt_no=number)
    assert provider.seen == []


# --- what is understood ---


@pytest.mark.parametrize("state", ["TRADE_SUCCESS", "TRADE_FINISHED"])
def test_a_paid_trade(adapter: AlipayAdapter, provider: AlipayProvider, state: str) -> None:
    provider.reply = Reply(node=trade_node(trade_status=state))
    assert adapter.query(attempt_no=ATTEMPT_NO) == Result(
        outcome=Outcome.SUCCESS, provider_no=TRADE_NO, amount_fen=8888, happened_at=PAID_AT
    )


@pytest.mark.parametrize(
    ("node", "outcome", "code"),
    [
        (trade_node(trade_status="WAIT_BUYER_PAY", send_pay_date=""), Outcome.PENDING, "wait_buyer_pay"),
        (trade_node(trade_status="TRADE_CLOSED", send_pay_date=""), Outcome.FAILED, "trade_closed"),
        (trade_node(trade_status="TRADE_CLOSED"), Outcome.UNKNOWN, "refunded"),
        (trade_node(trade_status="SOMETHING_NEW"), Outcome.UNKNOWN, "something_new"),
        (failure_node("40004", "ACQ.TRADE_NOT_EXIST"), Outcome.UNKNOWN, "not_found"),
        (failure_node("10003"), Outcome.PENDING, "code_10003"),
    ],
)
def test_every_other_state_of_a_trade(
    adapter: AlipayAdapter, provider: AlipayProvider, node: dict[str, Any], outcome: Outcome, code: str
) -> None:
    provider.reply = Reply(node=node)
    result = adapter.query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (outcome, code, None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"out_trade_no": "RC100010001202611231000000019999"}, "out_trade_no_mismatch"),
        ({"out_trade_no": None}, "out_trade_no_mismatch"),
        ({"trade_no": ""}, "trade_no_missing"),
        ({"trade_no": "2026 订单"}, "trade_no_malformed"),
        ({"total_amount": 88.88}, "total_amount_missing"),
        ({"total_amount": "88.888"}, "total_amount_malformed"),
        ({"total_amount": "-88.88"}, "total_amount_malformed"),
        ({"total_amount": "0.00"}, "total_amount_malformed"),
        ({"total_amount": "8.8e1"}, "total_amount_malformed"),
        ({"total_amount": "８８.８８"}, "total_amount_malformed"),
        ({"total_amount": " 88.88"}, "total_amount_malformed"),
        ({"trans_currency": "USD"}, "currency_mismatch"),
        ({"send_pay_date": "yesterday"}, "send_pay_date_malformed"),
        ({"send_pay_date": "2026-13-01 00:00:00"}, "send_pay_date_malformed"),
        ({"trade_status": None}, "trade_status_missing"),
    ],
)
def test_a_signed_answer_that_is_not_ours_or_not_as_documented_is_unknown(
    adapter: AlipayAdapter, provider: AlipayProvider, changes: dict[str, Any], code: str
) -> None:
    provider.reply = Reply(node=trade_node(**changes))
    result = adapter.query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (Outcome.UNKNOWN, code, None)


def test_a_close_names_the_trade_it_closed(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    provider.reply = Reply(node={**DONE, "out_trade_no": ATTEMPT_NO, "trade_no": TRADE_NO})
    assert adapter.close(attempt_no=ATTEMPT_NO) == Result(outcome=Outcome.SUCCESS, code="closed")
    provider.reply = Reply(node={**DONE, "out_trade_no": "another"})
    assert adapter.close(attempt_no=ATTEMPT_NO).outcome is Outcome.UNKNOWN
    provider.reply = Reply(node=failure_node("40004", "ACQ.TRADE_STATUS_ERROR"))
    assert adapter.close(attempt_no=ATTEMPT_NO).outcome is Outcome.UNKNOWN


def test_a_paid_trade_is_never_closed_nor_prepared_again(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    provider.reply = Reply(node=failure_node("40004", "ACQ.TRADE_HAS_SUCCESS"))
    assert adapter.close(attempt_no=ATTEMPT_NO).outcome is Outcome.FAILED
    results = call_everything(adapter)
    assert {result.code for result in results} == {"already_paid"}
    assert [result.outcome for result in results] == [
        *(Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.FAILED),
        *[Outcome.UNKNOWN] * 4,
    ]


@pytest.mark.parametrize(
    ("node", "outcome", "code"),
    [
        (refund_node(), Outcome.SUCCESS, ""),
        (refund_node(refund_fee="88.88"), Outcome.SUCCESS, ""),  # the sum of all refunds of the trade
        (refund_node(fund_change="N"), Outcome.PENDING, "fund_unchanged"),
        (refund_node(fund_change=None), Outcome.UNKNOWN, "fund_change_missing"),
        (refund_node(fund_change="y"), Outcome.UNKNOWN, "fund_change_missing"),
        (refund_node(refund_fee="29.99"), Outcome.UNKNOWN, "refund_fee_mismatch"),
        (refund_node(refund_fee="88.89"), Outcome.UNKNOWN, "refund_fee_mismatch"),
        (refund_node(refund_fee=None), Outcome.UNKNOWN, "refund_fee_missing"),
        (refund_node(out_trade_no="another"), Outcome.UNKNOWN, "out_trade_no_mismatch"),
        (failure_node("40004", "ACQ.TRADE_NOT_EXIST"), Outcome.UNKNOWN, "not_found"),
        (failure_node("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH"), Outcome.UNKNOWN, "acq.seller_balance_not_enough"),
        (failure_node("40004", "ACQ.TRADE_HAS_FINISHED"), Outcome.UNKNOWN, "acq.trade_has_finished"),
    ],
)
def test_only_a_changed_fund_is_a_refund(
    adapter: AlipayAdapter, provider: AlipayProvider, node: dict[str, Any], outcome: Outcome, code: str
) -> None:
    provider.reply = Reply(node=node)
    result = adapter.refund(refund_request())
    assert (result.outcome, result.code, result.amount_fen) == (outcome, code, None)


@pytest.mark.parametrize(
    ("node", "outcome", "code", "amount_fen"),
    [
        (refund_query_node(), Outcome.SUCCESS, "", 3000),
        (DONE, Outcome.UNKNOWN, "not_found", None),
        ({**DONE, "out_trade_no": ATTEMPT_NO, "trade_no": TRADE_NO}, Outcome.UNKNOWN, "not_found", None),
        (refund_query_node(refund_status="REFUND_PROCESSING"), Outcome.PENDING, "refund_processing", None),
        (refund_query_node(refund_status="REFUND_FAIL"), Outcome.UNKNOWN, "refund_fail", None),
        (refund_query_node(refund_status=None), Outcome.UNKNOWN, "refund_status_missing", None),
        (refund_query_node(out_request_no="another"), Outcome.UNKNOWN, "out_request_no_mismatch", None),
        (refund_query_node(out_trade_no="another"), Outcome.UNKNOWN, "out_trade_no_mismatch", None),
        (refund_query_node(refund_amount=30.0), Outcome.UNKNOWN, "refund_amount_missing", None),
        (failure_node("40004", "ACQ.TRADE_NOT_EXIST"), Outcome.UNKNOWN, "not_found", None),
    ],
)
def test_the_refund_query_decides(
    adapter: AlipayAdapter,
    provider: AlipayProvider,
    node: dict[str, Any],
    outcome: Outcome,
    code: str,
    amount_fen: int | None,
) -> None:
    provider.reply = Reply(node=node)
    result = adapter.query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (outcome, code, amount_fen)


# --- payouts ---


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("SUCCESS", Outcome.SUCCESS, ""),
        ("DEALING", Outcome.PENDING, "dealing"),
        ("INIT", Outcome.PENDING, "init"),
        ("WAIT_PAY", Outcome.PENDING, "wait_pay"),
        ("FAIL", Outcome.FAILED, "payee_card_info_error"),
        ("CLOSED", Outcome.FAILED, "closed"),
        ("REFUND", Outcome.FAILED, "returned"),
        ("NEW", Outcome.UNKNOWN, "new"),
    ],
)
def test_each_status_of_a_payout_in_call_and_query(
    adapter: AlipayAdapter, provider: AlipayProvider, status: str, outcome: Outcome, code: str
) -> None:
    provider.reply = Reply(node=payout_node(status=status, error_code="PAYEE_CARD_INFO_ERROR", fail_reason="卡号有误"))
    happened_at = dt.datetime(2026, 11, 23, 4, 0, 5, tzinfo=dt.UTC) if outcome is Outcome.SUCCESS else None
    for result in (adapter.pay_out(payout_request()), adapter.query_payout(payout_no=PAYOUT_NO)):
        assert result == Result(
            outcome=outcome,
            code=code,
            message="卡号有误",
            provider_no="20261123110070001506000012345678",
            amount_fen=5000,
            happened_at=happened_at,
        )


def test_a_payout_to_a_login_name_carries_the_real_name(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    adapter.pay_out(payout_request(payee_account="payee@example.com", payee_name=" 张三 "))
    assert provider.seen[0].content["payee_info"] == {
        "identity": "payee@example.com",
        "identity_type": "ALIPAY_LOGON_ID",
        "name": "张三",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount_fen": 9}, "amount_too_small"),
        ({"amount_fen": 10_000_000_001}, "amount_too_large"),
        ({"payee_account": "payee@example.com"}, "payee_name_missing"),
    ],
)
def test_a_payout_alipay_cannot_take_is_refused_before_it_is_sent(
    adapter: AlipayAdapter, provider: AlipayProvider, changes: dict[str, Any], code: str
) -> None:
    assert adapter.pay_out(payout_request(**changes)) == Result(outcome=Outcome.FAILED, code=code)
    assert provider.seen == []


@pytest.mark.parametrize(
    ("node", "outcome", "code"),
    [
        (failure_node("40004", "PAYEE_NOT_EXIST"), Outcome.FAILED, "payee_not_exist"),
        (failure_node("40004", "PAYEE_USER_INFO_ERROR"), Outcome.FAILED, "payee_user_info_error"),
        (failure_node("40004", "PAYER_BALANCE_NOT_ENOUGH"), Outcome.UNKNOWN, "payer_balance_not_enough"),
        (failure_node("40004", "SYSTEM_ERROR"), Outcome.UNKNOWN, "system_error"),
        (failure_node("20000", "PAYEE_NOT_EXIST"), Outcome.UNKNOWN, "payee_not_exist"),
        (failure_node("40004", "ORDER_NOT_EXIST"), Outcome.UNKNOWN, "not_found"),
        (payout_node(out_biz_no="another"), Outcome.UNKNOWN, "out_biz_no_mismatch"),
        (payout_node(order_id=""), Outcome.UNKNOWN, "order_id_missing"),
    ],
)
def test_only_what_follows_from_the_request_alone_refuses_a_payout(
    adapter: AlipayAdapter, provider: AlipayProvider, node: dict[str, Any], outcome: Outcome, code: str
) -> None:
    provider.reply = Reply(node=node)
    result = adapter.pay_out(payout_request())
    assert (result.outcome, result.code) == (outcome, code)


# --- everything that may go wrong ---


@pytest.mark.parametrize("code", sorted(calls.PREPAY_REFUSALS))
def test_only_listed_codes_refuse_a_prepay(adapter: AlipayAdapter, provider: AlipayProvider, code: str) -> None:
    provider.reply = Reply(node=failure_node("40004", code))
    outcomes = dict(zip(CALLS, call_everything(adapter), strict=True))
    assert {name: result.outcome for name, result in outcomes.items() if result.outcome is not Outcome.UNKNOWN} == {
        name: Outcome.FAILED for name in ("prepay", "pay_out") if name == "prepay" or code in calls.PAYOUT_REFUSALS
    }
    assert {result.code for result in outcomes.values()} == {code.lower()}


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (failure_node("40004", "ACQ.SYSTEM_ERROR"), "acq.system_error"),
        (failure_node("40004", "ACQ.CONTEXT_INCONSISTENT"), "acq.context_inconsistent"),
        (failure_node("40004", "ACQ.NEVER_SEEN_BEFORE"), "acq.never_seen_before"),
        (failure_node("40004"), "code_40004"),
        (failure_node("20000", "isp.unknow-error"), "isp.unknow-error"),
        (failure_node("20000", "aop.ACQ.SYSTEM_ERROR"), "aop.acq.system_error"),
        (failure_node("20000", "ACQ.INVALID_PARAMETER"), "acq.invalid_parameter"),
        (failure_node("20000"), "code_20000"),
        (failure_node("99999", "ACQ.INVALID_PARAMETER"), "acq.invalid_parameter"),
        ({}, "code_"),
        ({"code": 10000, "out_trade_no": ATTEMPT_NO}, "code_10000"),
    ],
)
def test_every_other_failure_is_unknown_for_every_call(
    adapter: AlipayAdapter, provider: AlipayProvider, node: dict[str, Any], code: str
) -> None:
    provider.reply = Reply(node=node)
    assert {(result.outcome, result.code) for result in call_everything(adapter)} == {(Outcome.UNKNOWN, code)}


ALL_AT_ONCE = {
    **trade_node(),
    **refund_node(),
    **refund_query_node(),
    **payout_node(),
    "qr_code": "https://qr.alipay.com/bax1",
}


@pytest.mark.parametrize(("signature", "code"), [("wrong", "answer_unverified"), ("none", "answer_unsigned")])
def test_a_bad_answer_signature_is_unknown_whatever_it_says(
    adapter: AlipayAdapter, provider: AlipayProvider, signature: str, code: str
) -> None:
    provider.reply = Reply(node=ALL_AT_ONCE)
    assert Outcome.UNKNOWN not in {result.outcome for result in call_everything(adapter)}, "the control"
    provider.reply = Reply(node=ALL_AT_ONCE, signature=signature)
    assert {(result.outcome, result.code, result.payment) for result in call_everything(adapter)} == {
        (Outcome.UNKNOWN, code, None)
    }


def test_an_error_response_decides_nothing_even_when_it_is_signed(
    adapter: AlipayAdapter, provider: AlipayProvider
) -> None:
    provider.reply = Reply(node=failure_node("40002", "isv.invalid-app-id"), name="error_response")
    assert {(result.outcome, result.code) for result in call_everything(adapter)} == {
        (Outcome.UNKNOWN, "answer_unsigned")
    }


@pytest.mark.parametrize(
    "text",
    ["", "<html>busy</html>", "[]", "null", '"x"', "{", "{}", '{"sign":"x"}', '{"sign":7}', "[" * 100_000, "\x00"],
)
def test_a_body_that_is_no_answer_is_unknown(adapter: AlipayAdapter, provider: AlipayProvider, text: str) -> None:
    provider.reply = Reply(text=text)
    assert {result.outcome for result in call_everything(adapter)} == {Outcome.UNKNOWN}


def test_braces_in_a_value_that_confuse_the_sdk_are_unknown_and_no_failure(
    adapter: AlipayAdapter, provider: AlipayProvider
) -> None:
    provider.reply = Reply(node=trade_node(subject="a}{b"))
    result = adapter.query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "answer_unverified")


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_an_http_error_is_unknown(adapter: AlipayAdapter, provider: AlipayProvider, status: int) -> None:
    provider.reply = Reply(node=ALL_AT_ONCE, status=status)
    assert {(result.outcome, result.code) for result in call_everything(adapter)} == {
        (Outcome.UNKNOWN, f"http_{status}")
    }


def test_an_answer_that_does_not_come_in_time_is_unknown_and_nothing_is_sent_again(
    adapter: AlipayAdapter, provider: AlipayProvider
) -> None:
    provider.reply = Reply(node=ALL_AT_ONCE, delay_seconds=1.0)
    result = adapter.refund(refund_request())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "timeout")
    assert len(provider.seen) == 1


def test_a_provider_that_is_not_there_is_unknown(provider: AlipayProvider) -> None:
    gone = provider.adapter(gateway_url="http://127.0.0.1:1/gateway.do")
    assert {(result.outcome, result.code) for result in call_everything(gone)} == {(Outcome.UNKNOWN, "network_error")}


def test_the_workers_time_limit_is_not_taken_for_an_answer(
    adapter: AlipayAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr("alipay.urlopen", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        adapter.query(attempt_no=ATTEMPT_NO)


# --- credentials and the SDK's private attributes ---


def public_key_mode(provider: AlipayProvider, tmp_path: Any) -> str:
    """The same merchant without certificates."""
    import json

    held = json.loads(provider.credentials_file.read_text())
    kept = {name: value for name, value in held.items() if name not in client.CERTIFICATE_FIELDS}
    for name in ("app_private_key_file", "alipay_public_key_file"):
        kept[name] = str(provider.directory / held[name])
    file = tmp_path / "alipay.json"
    file.write_text(json.dumps(kept))
    return str(file)


def test_without_certificates_everything_but_payouts_works(provider: AlipayProvider, tmp_path: Any) -> None:
    adapter = provider.adapter(credentials_file=public_key_mode(provider, tmp_path))
    provider.reply = Reply(node=ALL_AT_ONCE)
    assert adapter.query(attempt_no=ATTEMPT_NO).amount_fen == 8888
    assert "app_cert_sn" not in provider.seen[0].parameters
    assert adapter.pay_out(payout_request()) == Result(outcome=Outcome.FAILED, code="certificates_missing")
    assert len(provider.seen) == 1


@pytest.mark.parametrize("has_certificates", [True, False])
def test_the_sdk_still_keeps_address_and_time_out_where_the_adapter_sets_them(
    provider: AlipayProvider, tmp_path: Any, has_certificates: bool
) -> None:
    """Fails when an upgrade drops or renames `_gateway` or `_config`: then calls would go to the real provider."""
    file = str(provider.credentials_file) if has_certificates else public_key_mode(provider, tmp_path)
    credentials = client.read_credentials(file)
    config = client.AlipayConfig(
        gateway_url="http://127.0.0.1:9/gateway.do", credentials_file=file, timeout_seconds=7.0
    )
    made = client.build_client(config, credentials)
    assert (made._gateway, made._config.timeout) == ("http://127.0.0.1:9/gateway.do", 7.0)
    untouched = client.AliPay(
        appid="1",
        app_private_key_string=credentials.app_private_key,
        alipay_public_key_string=(provider.directory / "alipay_public_key.pem").read_text(),
    )
    assert (untouched._gateway, untouched._config.timeout) == ("https://openapi.alipay.com/gateway.do", 15)


def test_building_fails_when_an_attribute_is_gone(provider: AlipayProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed:
        app_cert_sn = alipay_root_cert_sn = "1"

        def __init__(self, **kwargs: Any) -> None:
            """Keeps nothing."""

    monkeypatch.setattr(client, "DCAliPay", Renamed)
    with pytest.raises(client.AddressNotSettable, match="_gateway"):
        provider.adapter()


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"app_id": "1", "seller_id": "2"}'])
def test_unreadable_credentials_are_refused(provider: AlipayProvider, tmp_path: Any, content: str) -> None:
    file = tmp_path / "alipay.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"lacks|Expecting"):
        provider.adapter(credentials_file=str(file))


def test_an_unusable_key_is_refused(provider: AlipayProvider, tmp_path: Any) -> None:
    for path in provider.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("alipay_app_private_key.pem", "alipay_certificate.pem", "alipay_root_certificate.pem"):
        good = (tmp_path / name).read_bytes()
        for content in ("no key", " "):
            (tmp_path / name).write_text(content)
            with pytest.raises(ValueError, match=r"nothing usable|is empty"):
                provider.adapter(credentials_file=str(tmp_path / "alipay.json"))
        (tmp_path / name).write_bytes(good)


def test_credentials_are_never_printed(provider: AlipayProvider) -> None:
    credentials = client.read_credentials(str(provider.credentials_file))
    assert "PRIVATE" in credentials.app_private_key
    assert "PRIVATE" not in repr(credentials)
