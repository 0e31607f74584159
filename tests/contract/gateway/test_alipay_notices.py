"""Which notices the Alipay adapter believes, and why it refuses the others. Nothing but NoticeInvalid may come out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.alipay import AlipayAdapter
from gateway.ports import NoticeFact, NoticeInvalid, NoticeKind, Outcome, Result
from tests.contract.gateway.alipay_provider import ATTEMPT_NO, NOW, REFUND_NO, TRADE_NO, AlipayProvider

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
REFUND = {"refund_fee": "30.00", "gmt_refund": "2026-11-23 09:59:59.123", "out_biz_no": REFUND_NO}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlipayProvider]:
    made = AlipayProvider.create(tmp_path_factory.mktemp("alipay"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def adapter(provider: AlipayProvider) -> AlipayAdapter:
    return provider.adapter()


def read(adapter: AlipayAdapter, body: bytes, now: dt.datetime = NOW) -> NoticeFact:
    return adapter.read_notice(headers=FORM, body=body, now=now)


def refusal(adapter: AlipayAdapter, body: bytes, now: dt.datetime = NOW) -> tuple[str, bool]:
    """The reason of the refusal and whether the signature was right; fails when the notice is believed."""
    with pytest.raises(NoticeInvalid) as caught:
        read(adapter, body, now)
    return caught.value.reason, caught.value.is_signed


@pytest.mark.parametrize("state", ["TRADE_SUCCESS", "TRADE_FINISHED"])
def test_a_paid_notice_becomes_a_fact(adapter: AlipayAdapter, provider: AlipayProvider, state: str) -> None:
    body = provider.signed_body(provider.notice(trade_status=state))
    assert read(adapter, body) == NoticeFact(
        event_id="2026112301222100010123456789012345",
        kind=NoticeKind.PAYMENT,
        number=ATTEMPT_NO,
        result=Result(
            outcome=Outcome.SUCCESS,
            provider_no=TRADE_NO,
            amount_fen=8888,
            happened_at=dt.datetime(2026, 11, 23, 2, 0, 5, tzinfo=dt.UTC),
        ),
    )


@pytest.mark.parametrize(
    ("state", "outcome", "code"),
    [("TRADE_CLOSED", Outcome.FAILED, "trade_closed"), ("WAIT_BUYER_PAY", Outcome.PENDING, "wait_buyer_pay")],
)
def test_other_states_credit_nothing(
    adapter: AlipayAdapter, provider: AlipayProvider, state: str, outcome: Outcome, code: str
) -> None:
    fact = read(adapter, provider.signed_body(provider.notice(trade_status=state, gmt_payment=None)))
    assert (fact.kind, fact.number) == (NoticeKind.PAYMENT, ATTEMPT_NO)
    assert fact.result == Result(outcome=outcome, code=code)


@pytest.mark.parametrize("state", ["TRADE_SUCCESS", "TRADE_CLOSED", "TRADE_FINISHED"])
def test_a_refund_says_success_again_and_is_a_fact_about_the_refund_only(
    adapter: AlipayAdapter, provider: AlipayProvider, state: str
) -> None:
    fact = read(adapter, provider.signed_body(provider.notice(trade_status=state, **REFUND)))
    assert (fact.kind, fact.number) == (NoticeKind.REFUND, REFUND_NO)
    assert fact.result == Result(
        outcome=Outcome.SUCCESS,
        provider_no=TRADE_NO,
        amount_fen=None,
        happened_at=dt.datetime(2026, 11, 23, 1, 59, 59, 123000, tzinfo=dt.UTC),
    )


@pytest.mark.parametrize("missing", [{"gmt_refund": None}, {}])
def test_one_sign_of_a_refund_is_enough(
    adapter: AlipayAdapter, provider: AlipayProvider, missing: dict[str, None]
) -> None:
    fact = read(adapter, provider.signed_body(provider.notice(**{**REFUND, **missing})))
    assert fact.kind is NoticeKind.REFUND


def test_a_refund_fee_of_zero_is_no_refund(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    fact = read(adapter, provider.signed_body(provider.notice(refund_fee="0.00")))
    assert (fact.kind, fact.number, fact.result.amount_fen) == (NoticeKind.PAYMENT, ATTEMPT_NO, 8888)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"out_biz_no": None}, "out_biz_no_missing"),
        ({"out_biz_no": "退款"}, "out_biz_no_malformed"),
        ({"refund_fee": "88.89"}, "refund_fee_malformed"),
        ({"refund_fee": "-1.00"}, "refund_fee_malformed"),
        ({"refund_fee": None}, "refund_fee_missing"),
        ({"gmt_refund": "1"}, "gmt_refund_malformed"),
        ({"trade_status": "WAIT_BUYER_PAY"}, "state_unknown"),
    ],
)
def test_a_refund_that_is_not_as_documented_is_refused(
    adapter: AlipayAdapter, provider: AlipayProvider, changes: dict[str, str | None], reason: str
) -> None:
    body = provider.signed_body(provider.notice(**{**REFUND, **changes}))
    assert refusal(adapter, body) == (reason, True)


def test_a_plus_sign_survives_the_form(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    parameters = provider.notice(subject="a+b +c% &d=1")
    body = provider.signed_body(parameters)
    assert b"a%2Bb+%2Bc%25+%26d%3D1" in body
    assert read(adapter, body).result.amount_fen == 8888
    assert refusal(adapter, body.replace(b"a%2Bb", b"a+b")) == ("signature_invalid", False)


@pytest.mark.parametrize("skip_empty", [False, True])
def test_an_empty_parameter_may_be_signed_or_not_but_says_nothing(
    adapter: AlipayAdapter, provider: AlipayProvider, skip_empty: bool
) -> None:
    parameters = provider.notice(body="", gmt_refund="", refund_fee="", out_biz_no="")
    fact = read(adapter, provider.signed_body(parameters, skip_empty=skip_empty))
    assert (fact.kind, fact.result.amount_fen) == (NoticeKind.PAYMENT, 8888)


@pytest.mark.parametrize("age", [dt.timedelta(hours=25, minutes=59), dt.timedelta(0), dt.timedelta(minutes=-9)])
def test_within_alipays_schedule_a_notice_is_believed(
    adapter: AlipayAdapter, provider: AlipayProvider, age: dt.timedelta
) -> None:
    body = provider.signed_body(provider.notice(notify_time="2026-11-23 10:00:10"))
    assert read(adapter, body, NOW + age).result.outcome is Outcome.SUCCESS


@pytest.mark.parametrize("age", [dt.timedelta(hours=26), dt.timedelta(days=40), dt.timedelta(minutes=-10)])
def test_outside_of_it_a_right_signature_is_not_enough(
    adapter: AlipayAdapter, provider: AlipayProvider, age: dt.timedelta
) -> None:
    body = provider.signed_body(provider.notice(notify_time="2026-11-23 10:00:10"))
    assert refusal(adapter, body, NOW + age) == ("stale", False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"app_id": "2021000000000000"}, "app_id_mismatch"),
        ({"app_id": None}, "app_id_mismatch"),
        ({"seller_id": "2088000000000000"}, "seller_id_mismatch"),
        ({"seller_id": None}, "seller_id_mismatch"),
        ({"notify_type": "dut_user_sign"}, "notify_type_unknown"),
        ({"notify_type": None}, "notify_type_missing"),
        ({"notify_id": None}, "notify_id_missing"),
        ({"notify_id": "x" * 65}, "notify_id_malformed"),
        ({"notify_time": None}, "notify_time_missing"),
        ({"notify_time": "now"}, "notify_time_malformed"),
        ({"out_trade_no": None}, "out_trade_no_missing"),
        ({"out_trade_no": "RC1/../x"}, "out_trade_no_malformed"),
        ({"trade_no": None}, "trade_no_missing"),
        ({"trade_status": None}, "trade_status_missing"),
        ({"trade_status": "TRADE_PENDING"}, "state_unknown"),
        ({"total_amount": None}, "total_amount_missing"),
        ({"total_amount": "88.8.8"}, "total_amount_malformed"),
        ({"total_amount": "-88.88"}, "total_amount_malformed"),
        ({"total_amount": "0.00"}, "total_amount_malformed"),
        ({"total_amount": "1e9"}, "total_amount_malformed"),
        ({"trans_currency": "USD"}, "currency_mismatch"),
        ({"gmt_payment": "1"}, "gmt_payment_malformed"),
    ],
)
def test_a_signed_payment_that_is_not_ours_or_not_as_documented_is_refused(
    adapter: AlipayAdapter, provider: AlipayProvider, changes: dict[str, str | None], reason: str
) -> None:
    assert refusal(adapter, provider.signed_body(provider.notice(**changes))) == (reason, True)


def test_another_key_is_a_forgery(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refusal(adapter, provider.signed_body(provider.notice(), key=other)) == ("signature_invalid", False)
    assert provider.seen == [], "a forgery must not make us call out"


def test_removing_adding_or_changing_any_parameter_is_a_forgery(
    adapter: AlipayAdapter, provider: AlipayProvider
) -> None:
    signed = dict(pair.split("=", 1) for pair in provider.signed_body(provider.notice()).decode().split("&"))
    for name in signed:
        without = "&".join(f"{key}={value}" for key, value in signed.items() if key != name).encode()
        assert refusal(adapter, without)[1] is False, name
        changed = "&".join(f"{key}={value}{'1' if key == name else ''}" for key, value in signed.items()).encode()
        if name != "sign":  # base64 readers may ignore what follows the padding
            assert refusal(adapter, changed)[1] is False, name
    more = "&".join(f"{key}={value}" for key, value in {**signed, "refund_fee": "1.00"}.items()).encode()
    assert refusal(adapter, more) == ("signature_invalid", False)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"sign": ""}, "signature_missing"),
        ({"sign_type": "RSA"}, "signature_type_unknown"),
        ({"sign_type": ""}, "signature_type_unknown"),
        ({"charset": "gbk"}, "charset_unknown"),
        ({"sign": "AAAA"}, "signature_invalid"),
        ({"sign": "A"}, "signature_invalid"),
        ({"sign": "签名"}, "signature_invalid"),
    ],
)
def test_an_odd_signature_is_refused(
    adapter: AlipayAdapter, provider: AlipayProvider, parameters: dict[str, str], reason: str
) -> None:
    values = {**provider.notice(), "sign_type": "RSA2", "sign": "QUJD", **parameters}
    assert refusal(adapter, urlencode(values).encode()) == (reason, False)


def test_a_name_that_comes_twice_is_refused(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    body = provider.signed_body(provider.notice())
    assert refusal(adapter, body + b"&total_amount=1.00") == ("parameter_repeated", False)
    assert refusal(adapter, b"total_amount=1.00&" + body) == ("parameter_repeated", False)


@pytest.mark.parametrize(
    "body", [b"{}", b"\x00", b"\xff\xfe", b"a", b"sign=%FF", b"&".join(b"a%d=1" % n for n in range(101))]
)
def test_a_body_that_is_no_form_is_refused(adapter: AlipayAdapter, body: bytes) -> None:
    assert refusal(adapter, body) == ("form_malformed", False)
    assert refusal(adapter, b"") == ("signature_missing", False)


def test_every_truncation_is_refused(adapter: AlipayAdapter, provider: AlipayProvider) -> None:
    body = provider.signed_body(provider.notice())
    for length in range(0, len(body) - 8, 17):
        assert refusal(adapter, body[:length])[1] is False


NAMES = ["sign", "sign_type", "charset", "app_id", "total_amount", "trade_status", "notify_time", "odd"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.text(max_size=20), st.just("RSA2")))).map(
            lambda pairs: urlencode(pairs, errors="replace").encode()
        ),
    )
)
def test_whatever_arrives_only_a_refusal_comes_out(adapter: AlipayAdapter, body: bytes) -> None:
    with pytest.raises(NoticeInvalid):
        read(adapter, body)


def test_the_answers_are_alipays_own() -> None:
    success = AlipayAdapter.success_answer()
    assert (success.status, success.body, success.content_type) == (200, b"success", "text/plain")
    failure = AlipayAdapter.failure_answer("whatever")
    assert (failure.status, failure.body) == (500, b"fail")
