"""What the WeChat adapter sends, and what it makes of every kind of answer."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import requests
from celery.exceptions import SoftTimeLimitExceeded

from gateway.adapters import wechat
from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.adapters.wechat import client as client_module
from gateway.ports import Outcome, PrepayRequest, RefundRequest, Result
from tests.contract.gateway.provider import APPID, MCHID, Provider, Reply, refund_data, transaction_data

ATTEMPT_NO = "RC100010001202611231000000010001"
REFUND_NO = "RX100010001202611231000000010002"
EXPIRES_AT = dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)


def prepay_request(**changes: Any) -> PrepayRequest:
    values: dict[str, Any] = {
        "attempt_no": ATTEMPT_NO,
        "amount_fen": 8888,
        "subject": "充值 88.88 元",
        "scene": "native",
        "expires_at": EXPIRES_AT,
        "notify_url": "https://pay.example.com/notify/wechat",
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
        "notify_url": "https://pay.example.com/notify/wechat/refund",
        **changes,
    }
    return RefundRequest(**values)


def call_everything(adapter: WechatAdapter) -> list[Result]:
    return [
        adapter.prepay(prepay_request()),
        adapter.query(attempt_no=ATTEMPT_NO),
        adapter.close(attempt_no=ATTEMPT_NO),
        adapter.refund(refund_request()),
        adapter.query_refund(refund_no=REFUND_NO),
    ]


# --- what is sent ---


def test_prepay_sends_the_documented_request_signed(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(data={"code_url": "weixin://wxpay/bizpayurl?pr=abc"})
    result = adapter.prepay(prepay_request())
    assert result == Result(
        outcome=Outcome.SUCCESS, payment={"kind": "code_url", "code_url": "weixin://wxpay/bizpayurl?pr=abc"}
    )
    (request,) = provider.seen
    assert (request.method, request.path) == ("POST", "/v3/pay/transactions/native")
    assert json.loads(request.body) == {
        "appid": APPID,
        "mchid": MCHID,
        "description": "充值 88.88 元",
        "out_trade_no": ATTEMPT_NO,
        "time_expire": "2026-11-23T10:30:00+08:00",
        "notify_url": "https://pay.example.com/notify/wechat",
        "amount": {"total": 8888, "currency": "CNY"},
    }
    assert provider.request_is_signed_by_merchant(request)


def test_query_close_and_refund_send_the_documented_requests(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(status=404, data={"code": "ORDER_NOT_EXIST", "message": "订单不存在"})
    adapter.query(attempt_no=ATTEMPT_NO)
    adapter.close(attempt_no=ATTEMPT_NO)
    adapter.refund(refund_request())
    adapter.query_refund(refund_no=REFUND_NO)
    assert [(request.method, request.path) for request in provider.seen] == [
        ("GET", f"/v3/pay/transactions/out-trade-no/{ATTEMPT_NO}?mchid={MCHID}"),
        ("POST", f"/v3/pay/transactions/out-trade-no/{ATTEMPT_NO}/close"),
        ("POST", "/v3/refund/domestic/refunds"),
        ("GET", f"/v3/refund/domestic/refunds/{REFUND_NO}"),
    ]
    assert json.loads(provider.seen[1].body) == {"mchid": MCHID}
    assert json.loads(provider.seen[2].body) == {
        "out_refund_no": REFUND_NO,
        "out_trade_no": ATTEMPT_NO,
        "amount": {"refund": 3000, "total": 8888, "currency": "CNY"},
        "reason": "红包未领完",
        "notify_url": "https://pay.example.com/notify/wechat/refund",
    }
    assert all(provider.request_is_signed_by_merchant(request) for request in provider.seen)


def test_a_long_subject_is_cut_to_127_bytes_without_breaking_a_character(
    adapter: WechatAdapter, provider: Provider
) -> None:
    provider.reply = Reply(data={"code_url": "weixin://x"})
    adapter.prepay(prepay_request(subject="红" * 60))
    sent = json.loads(provider.seen[0].body)["description"]
    assert sent == "红" * 42
    assert len(sent.encode()) == 126


@pytest.mark.parametrize(
    ("scene", "more", "answer", "path", "sent", "kind"),
    [
        ("page", {}, {"code_url": "weixin://p"}, "native", {}, "code_url"),
        (
            "h5",
            {"payer_ip": "192.0.2.7"},
            {"h5_url": "https://wx.example.com/h5"},
            "h5",
            {"scene_info": {"payer_client_ip": "192.0.2.7", "h5_info": {"type": "Wap"}}},
            "redirect",
        ),
        (
            "jsapi",
            {"payer_id": "openid-1"},
            {"prepay_id": "wx2611"},
            "jsapi",
            {"payer": {"openid": "openid-1"}},
            "jsapi",
        ),
    ],
)
def test_each_scene_uses_its_own_call(
    adapter: WechatAdapter,
    provider: Provider,
    scene: str,
    more: dict[str, str],
    answer: dict[str, str],
    path: str,
    sent: dict[str, Any],
    kind: str,
) -> None:
    provider.reply = Reply(data=answer)
    result = adapter.prepay(prepay_request(scene=scene, **more))
    assert result.outcome is Outcome.SUCCESS
    assert result.payment is not None
    assert result.payment["kind"] == kind
    assert provider.seen[0].path == f"/v3/pay/transactions/{path}"
    assert sent.items() <= json.loads(provider.seen[0].body).items()


def test_the_jsapi_signature_is_the_merchants_over_the_four_lines(adapter: WechatAdapter, provider: Provider) -> None:
    import base64

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    provider.reply = Reply(data={"prepay_id": "wx2611"})
    payment = adapter.prepay(prepay_request(scene="jsapi", payer_id="openid-1")).payment
    assert payment is not None
    assert (payment["appId"], payment["package"], payment["signType"]) == (APPID, "prepay_id=wx2611", "RSA")
    message = f"{APPID}\n{payment['timeStamp']}\n{payment['nonceStr']}\nprepay_id=wx2611\n"
    provider.merchant_key.public_key().verify(
        base64.b64decode(payment["paySign"]), message.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize(
    ("scene", "code"), [("h5", "payer_missing"), ("jsapi", "payer_missing"), ("app", "scene_unsupported")]
)
def test_a_scene_that_cannot_work_is_refused_without_a_call(
    adapter: WechatAdapter, provider: Provider, scene: str, code: str
) -> None:
    assert adapter.prepay(prepay_request(scene=scene)) == Result(outcome=Outcome.FAILED, code=code)
    assert provider.seen == []


@pytest.mark.parametrize(
    "number", ["short", "x" * 33, "RC1/../../close", "RC1000 10001", "RC10001?a=b", "订单号订单号"]
)
def test_a_number_wechat_cannot_take_never_reaches_a_path(
    adapter: WechatAdapter, provider: Provider, number: str
) -> None:
    for call in (
        lambda: adapter.query(attempt_no=number),
        lambda: adapter.close(attempt_no=number),
        lambda: adapter.prepay(prepay_request(attempt_no=number)),
        lambda: adapter.refund(refund_request(attempt_no=number)),
    ):
        with pytest.raises(ValueError, match="not a number"):
            call()
    assert provider.seen == []


# --- what the answers mean ---


def test_a_paid_query_says_who_how_much_and_when(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(data=transaction_data())
    assert adapter.query(attempt_no=ATTEMPT_NO) == Result(
        outcome=Outcome.SUCCESS,
        message="支付成功",
        provider_no="4200001234202611231234567890",
        amount_fen=8888,
        happened_at=dt.datetime(2026, 11, 23, 2, 0, 5, tzinfo=dt.UTC),
    )


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("NOTPAY", Outcome.PENDING),
        ("USERPAYING", Outcome.PENDING),
        ("ACCEPT", Outcome.PENDING),
        ("PAYERROR", Outcome.PENDING),
        ("CLOSED", Outcome.FAILED),
        ("REVOKED", Outcome.FAILED),
        ("REFUND", Outcome.UNKNOWN),
        ("SOMETHING_NEW", Outcome.UNKNOWN),
    ],
)
def test_each_trade_state_has_its_outcome(
    adapter: WechatAdapter, provider: Provider, state: str, outcome: Outcome
) -> None:
    provider.reply = Reply(data=transaction_data(trade_state=state))
    result = adapter.query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (outcome, state.lower(), None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"out_trade_no": "RC100010001202611231000000019999"}, "number_mismatch"),
        ({"mchid": "1900000002"}, "mchid_mismatch"),
        ({"appid": "wxffffffffffffffff"}, "appid_mismatch"),
        ({"amount": {"total": 8888, "currency": "USD"}}, "currency_mismatch"),
        ({"amount": {"total": 8888}}, "currency_mismatch"),
        ({"amount": {"total": "8888", "currency": "CNY"}}, "amount_malformed"),
        ({"amount": {"total": 88.88, "currency": "CNY"}}, "amount_malformed"),
        ({"amount": {"total": True, "currency": "CNY"}}, "amount_malformed"),
        ({"amount": {"total": 0, "currency": "CNY"}}, "amount_malformed"),
        ({"amount": {"total": -1, "currency": "CNY"}}, "amount_malformed"),
        ({"amount": None}, "amount_missing"),
        ({"transaction_id": None}, "transaction_id_missing"),
        ({"transaction_id": "4200 订单"}, "transaction_id_malformed"),
        ({"success_time": "yesterday"}, "time_malformed"),
        ({"success_time": "2026-11-23T10:00:05"}, "time_malformed"),
        ({"trade_state": None}, "trade_state_missing"),
    ],
)
def test_a_signed_answer_that_is_not_ours_or_not_as_documented_is_unknown(
    adapter: WechatAdapter, provider: Provider, changes: dict[str, Any], code: str
) -> None:
    provider.reply = Reply(data=transaction_data(**changes))
    result = adapter.query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (Outcome.UNKNOWN, code, None)


def test_a_close_is_an_empty_signed_204(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(status=204)
    assert adapter.close(attempt_no=ATTEMPT_NO) == Result(outcome=Outcome.SUCCESS, code="closed")


@pytest.mark.parametrize("signature", ["wrong", "none"])
def test_an_unsigned_204_has_closed_nothing_for_sure(
    adapter: WechatAdapter, provider: Provider, signature: str
) -> None:
    provider.reply = Reply(status=204, signature=signature)
    assert adapter.close(attempt_no=ATTEMPT_NO).outcome is Outcome.UNKNOWN


def test_closing_a_paid_order_says_so(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(status=400, data={"code": "ORDERPAID", "message": "订单已支付"})
    assert adapter.close(attempt_no=ATTEMPT_NO) == Result(
        outcome=Outcome.FAILED, code="already_paid", message="订单已支付"
    )


@pytest.mark.parametrize(
    ("status", "outcome", "code", "moment"),
    [
        ("SUCCESS", Outcome.SUCCESS, "", dt.datetime(2026, 11, 23, 3, 0, 5, tzinfo=dt.UTC)),
        ("PROCESSING", Outcome.PENDING, "", None),
        ("ABNORMAL", Outcome.PENDING, "abnormal", None),
        ("CLOSED", Outcome.FAILED, "closed", None),
        ("SOMETHING_NEW", Outcome.UNKNOWN, "something_new", None),
    ],
)
def test_each_refund_status_has_its_outcome_in_call_and_query(
    adapter: WechatAdapter,
    provider: Provider,
    status: str,
    outcome: Outcome,
    code: str,
    moment: dt.datetime | None,
) -> None:
    provider.reply = Reply(data=refund_data(status=status))
    for result in (adapter.refund(refund_request()), adapter.query_refund(refund_no=REFUND_NO)):
        assert result == Result(
            outcome=outcome,
            code=code,
            message="招商银行信用卡0403",
            provider_no="50000000382019052709732678859",
            amount_fen=3000,
            happened_at=moment,
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"out_refund_no": "RX100010001202611231000000019999"},
        {"out_trade_no": "RC100010001202611231000000019999"},
        {"amount": {"total": 8888, "refund": 8888, "currency": "CNY"}},
        {"amount": {"total": 8888, "refund": 3000, "currency": "USD"}},
    ],
)
def test_a_refund_answer_about_something_else_is_unknown(
    adapter: WechatAdapter, provider: Provider, changes: dict[str, Any]
) -> None:
    provider.reply = Reply(data=refund_data(**changes))
    assert adapter.refund(refund_request()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", sorted(wechat.PREPAY_REFUSALS))
def test_only_listed_codes_refuse_a_prepay_and_never_anything_else(
    adapter: WechatAdapter, provider: Provider, code: str
) -> None:
    provider.reply = Reply(status=403, data={"code": code, "message": "拒绝"})
    assert [(result.outcome, result.code) for result in call_everything(adapter)] == [
        (Outcome.FAILED, code.lower()),
        *[(Outcome.UNKNOWN, code.lower())] * 4,
    ]


@pytest.mark.parametrize(
    ("status", "data", "code"),
    [
        (400, {"code": "INVALID_REQUEST", "message": "201 商户订单号重复"}, "invalid_request"),
        (403, {"code": "OUT_TRADE_NO_USED", "message": "商户订单号重复"}, "out_trade_no_used"),
        (403, {"code": "NOT_ENOUGH", "message": "余额不足"}, "not_enough"),
        (403, {"code": "TRADE_ERROR", "message": "交易错误"}, "trade_error"),
        (404, {"code": "ORDER_NOT_EXIST", "message": "订单不存在"}, "not_found"),
        (404, {"code": "RESOURCE_NOT_EXISTS", "message": "退款单不存在"}, "not_found"),
        (429, {"code": "FREQUENCY_LIMITED", "message": "频率超限"}, "frequency_limited"),
        (500, {"code": "SYSTEM_ERROR", "message": "系统异常"}, "system_error"),
        (500, {"code": "PARAM_ERROR", "message": "a 5xx refuses nothing"}, "param_error"),
        (502, None, "http_502"),
        (400, None, "http_400"),
    ],
)
def test_every_other_error_answer_is_unknown_for_every_call(
    adapter: WechatAdapter, provider: Provider, status: int, data: dict[str, str] | None, code: str
) -> None:
    provider.reply = Reply(status=status, data=data)
    assert [(result.outcome, result.code) for result in call_everything(adapter)] == [(Outcome.UNKNOWN, code)] * 5


@pytest.mark.parametrize("text", ["", "<html>busy</html>", "[]", "null", '"x"', "{", "[" * 100_000])
def test_a_signed_body_that_is_no_object_is_unknown(adapter: WechatAdapter, provider: Provider, text: str) -> None:
    provider.reply = Reply(text=text)
    assert {result.outcome for result in call_everything(adapter)} == {Outcome.UNKNOWN}


@pytest.mark.parametrize("signature", ["wrong", "none"])
def test_a_bad_answer_signature_is_unknown_whatever_it_says(
    adapter: WechatAdapter, provider: Provider, signature: str
) -> None:
    provider.reply = Reply(data={**transaction_data(), "code_url": "weixin://x"}, signature=signature)
    for result in (adapter.prepay(prepay_request()), adapter.query(attempt_no=ATTEMPT_NO)):
        assert (result.outcome, result.payment, result.amount_fen) == (Outcome.UNKNOWN, None, None)
        assert result.code == {"wrong": "answer_unverified", "none": "call_failed"}[signature]


def test_an_answer_that_does_not_come_in_time_is_unknown(adapter: WechatAdapter, provider: Provider) -> None:
    provider.reply = Reply(data={"code_url": "weixin://x"}, delay_seconds=1.0)
    result = adapter.prepay(prepay_request())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "timeout")
    assert len(provider.seen) == 1, "the provider has it: the adapter must not send again by itself"


def test_a_provider_that_is_not_there_is_unknown(provider: Provider) -> None:
    gone = WechatAdapter(
        WechatConfig(
            base_url="http://127.0.0.1:1",
            credentials_file=str(provider.credentials_file),
            connect_timeout_seconds=1.0,
            read_timeout_seconds=1.0,
        )
    )
    assert {(result.outcome, result.code) for result in call_everything(gone)} == {(Outcome.UNKNOWN, "network_error")}


def test_the_workers_time_limit_is_not_taken_for_an_answer(
    adapter: WechatAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(requests, "get", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        adapter.query(attempt_no=ATTEMPT_NO)


# --- the SDK's private attribute ---


def test_the_sdk_still_keeps_its_address_where_the_adapter_sets_it(provider: Provider) -> None:
    """Fails when an upgrade drops or renames `_core._gate_way`: then calls would go to the real provider."""
    credentials = wechat.read_credentials(str(provider.credentials_file))
    config = WechatConfig(
        base_url="http://127.0.0.1:9/",
        credentials_file=str(provider.credentials_file),
        connect_timeout_seconds=1.0,
        read_timeout_seconds=1.0,
    )
    client = wechat.build_client(config, credentials)
    assert client._core._gate_way == "http://127.0.0.1:9"
    untouched = client_module.WeChatPay(
        wechatpay_type=client_module.WeChatPayType.NATIVE,
        mchid=credentials.mchid,
        private_key=credentials.merchant_private_key,
        cert_serial_no=credentials.merchant_serial_no,
        appid=credentials.appid,
        apiv3_key=credentials.apiv3_key,
        public_key=credentials.platform_public_key,
        public_key_id=credentials.platform_public_key_id,
    )
    assert untouched._core._gate_way == "https://api.mch.weixin.qq.com"


def test_building_fails_when_the_attribute_is_gone(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed:
        def __init__(self, **kwargs: Any) -> None:
            self._core = object()

    monkeypatch.setattr(client_module, "WeChatPay", Renamed)
    config = WechatConfig(
        base_url="http://127.0.0.1:9",
        credentials_file=str(provider.credentials_file),
        connect_timeout_seconds=1.0,
        read_timeout_seconds=1.0,
    )
    with pytest.raises(wechat.AddressNotSettable, match="_gate_way"):
        WechatAdapter(config)


def test_credentials_are_never_printed(provider: Provider) -> None:
    credentials = wechat.read_credentials(str(provider.credentials_file))
    assert credentials.apiv3_key not in repr(credentials)
    assert "PRIVATE" not in repr(credentials)
