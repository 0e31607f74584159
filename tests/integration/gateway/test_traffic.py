"""What surrounds each call: the record, the masks, the metrics, the judgement, and the bound on calls at once."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
import structlog
from django.db import DatabaseError
from prometheus_client import REGISTRY
from pytest_django import Settings

from foundation import clock
from foundation.models import Alert
from gateway import registry, selectors
from gateway.jobs import PurgeCalls
from gateway.models import CallRecord, ChannelSetting
from gateway.ports import Bill, BillState, Outcome, PrepayRequest, Result
from gateway.services import calls, health, traffic
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
PAID = Result(outcome=Outcome.SUCCESS, provider_no="4200", payment={"kind": "code_url", "code_url": "x"})
LOST = Result(outcome=Outcome.UNKNOWN, code="timeout", message="ReadTimeout")


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    selectors.forget()
    yield
    selectors.forget()


@pytest.fixture
def channel() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def call(channel: str, answer: Result | Callable[[], Result] = PAID, **more: object) -> Result:
    work = answer if callable(answer) else lambda: answer
    return traffic.observed(channel=channel, operation="query", number="PA1", call=work, **more)


def rows(channel: str) -> list[tuple]:
    found = CallRecord.objects.filter(channel=channel).order_by("id")
    return list(found.values_list("operation", "number", "outcome", "code", "message", "request_id"))


def test_each_call_leaves_a_row(channel: str) -> None:
    structlog.contextvars.bind_contextvars(request_id="request-0001")
    try:
        with clock.frozen(worlds.NOW):
            assert call(channel) is PAID
    finally:
        structlog.contextvars.clear_contextvars()
    call(channel, Result(outcome=Outcome.FAILED, code="closed", message="订单已关闭"))
    assert rows(channel) == [
        ("query", "PA1", "SUCCESS", "", "", "request-0001"),
        ("query", "PA1", "FAILED", "closed", "订单已关闭", ""),
    ]
    first = CallRecord.objects.filter(channel=channel).earliest("id")
    assert first.called_at == worlds.NOW
    assert 0 <= first.milliseconds < 1000


def test_a_bill_is_recorded_by_its_state(channel: str) -> None:
    traffic.observed(
        channel=channel,
        operation="download_bill",
        number="2026-11-22 TRADE",
        call=lambda: Bill(state=BillState.NOT_READY, code="statement_creating"),
    )
    assert rows(channel) == [("download_bill", "2026-11-22 TRADE", "NOT_READY", "statement_creating", "", "")]


def test_an_adapter_that_raises_is_recorded_and_heard(channel: str) -> None:
    def broken() -> Result:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(channel, broken)
    assert rows(channel) == [("query", "PA1", "ERROR", "ZeroDivisionError", "", "")]
    assert health.look(channel=channel, now_ms=clock.epoch_ms()).errors == 1


def test_a_record_that_cannot_be_written_spoils_nothing(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(seen: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(traffic, "_write", away)
    assert call(channel) is PAID
    assert rows(channel) == []
    assert health.look(channel=channel, now_ms=clock.epoch_ms()).calls == 1


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", ""),
        ("订单已关闭 code 40004", "订单已关闭 code 40004"),
        ("card 6222 0212 3456 7890 123 refused", "card *** refused"),
        ("手机号13812345678无效", "手机号***无效"),
        ("身份证11010119900307123X不符", "身份证***不符"),
        ("姓名：张三，不符", "姓名：***，不符"),
        ('{"name": "Zhang San", "code": 1}', '{"name": "*** San", "code": 1}'),
        ("openid=oUpF8uMuAJO_M2pxb1Q9zNjWeS6o invalid", "openid=*** invalid"),
        ("user oUpF8uMuAJO_M2pxb1Q9zNjWeS6o unknown", "user *** unknown"),
        ("mail zhang.san@example.com", "mail ***"),
        ("x " * 300, ("x " * 100)),
    ],
)
def test_persons_and_secrets_are_masked(said: str, kept: str) -> None:
    assert traffic.masked(said) == kept


def test_metrics_count_the_calls(channel: str) -> None:
    call(channel)
    call(channel, LOST)
    labels = {"channel": channel, "operation": "query"}
    value = REGISTRY.get_sample_value
    assert value("paysys_gateway_calls_total", {**labels, "outcome": "SUCCESS"}) == 1
    assert value("paysys_gateway_calls_total", {**labels, "outcome": "UNKNOWN"}) == 1
    assert value("paysys_gateway_call_seconds_count", labels) == 2
    assert value("paysys_gateway_calls_in_flight", {"channel": channel}) == 0


@pytest.mark.parametrize(
    ("outcome", "code", "expected"),
    [
        ("UNKNOWN", "timeout", True),
        ("UNKNOWN", "", True),
        ("ERROR", "ZeroDivisionError", True),
        ("UNKNOWN", "not_found", False),
        ("UNKNOWN", "no_close", False),
        ("FAILED", "no_auth", False),
        ("PENDING", "", False),
        ("SUCCESS", "", False),
        ("NOT_READY", "", False),
    ],
)
def test_only_the_lack_of_an_answer_is_an_error(outcome: str, code: str, expected: bool) -> None:
    assert traffic.is_error(outcome=outcome, code=code) is expected


def test_twenty_lost_calls_open_the_breaker_and_call_staff(channel: str) -> None:
    for _ in range(20):
        call(channel, LOST)
    alert = Alert.objects.get(code="channel_breaker_opened", subject=channel)
    assert (alert.times, alert.severity) == (1, "WARNING")
    assert health.look(channel=channel, now_ms=clock.epoch_ms()).state is health.State.OPEN
    assert call(channel) is PAID  # a query goes whatever the breaker says


def test_what_sends_nothing_is_no_evidence(channel: str) -> None:
    call(channel, PAID, is_evidence=False)
    assert health.look(channel=channel, now_ms=clock.epoch_ms()).calls == 0
    assert len(rows(channel)) == 1


def test_no_more_calls_at_once_than_allowed(channel: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_MAX_CALLS_AT_ONCE = 1
    monkeypatch.setattr(traffic, "SLOT_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(traffic, "_write", lambda seen: None)  # the other thread has no database here
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> Result:
        inside.set()
        assert go_on.wait(10)
        return PAID

    first = threading.Thread(target=lambda: call(channel, slow))
    first.start()
    assert inside.wait(10)
    in_flight = REGISTRY.get_sample_value("paysys_gateway_calls_in_flight", {"channel": channel})
    sent: list[int] = []
    with pytest.raises(traffic.TooManyCalls) as caught:
        call(channel, lambda: sent.append(1) or PAID)
    other = call(f"{channel}x")
    go_on.set()
    first.join(10)
    assert (in_flight, sent, other) == (1, [], PAID)
    assert (caught.value.code, caught.value.http_status, caught.value.retry_after_seconds) == ("busy", 503, 3)
    assert call(channel) is PAID


class Adapter:
    """Answers everything; counts what reached it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def prepay(self, request: PrepayRequest) -> Result:
        self.calls.append("prepay")
        return PAID

    def query(self, *, attempt_no: str) -> Result:
        self.calls.append("query")
        return PAID

    def close(self, *, attempt_no: str) -> Result:
        self.calls.append("close")
        return PAID


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    made = Adapter()
    monkeypatch.setattr(registry, "adapter", lambda channel: made)
    return made


REQUEST = PrepayRequest(
    attempt_no="PA1",
    amount_fen=100,
    subject="x",
    scene="native",
    expires_at=worlds.NOW,
    notify_url="https://pay.example.com/notify/wechat/payment",
)


def test_a_channel_that_is_switched_off_prepares_nothing_and_does_the_rest(channel: str, adapter: Adapter) -> None:
    calls.prepay(channel=channel, request=REQUEST)
    ChannelSetting.objects.create(code=channel, is_enabled=False)
    selectors.forget()
    with pytest.raises(registry.ChannelUnavailable) as caught:
        calls.prepay(channel=channel, request=REQUEST)
    assert (caught.value.code, caught.value.details) == (
        "channel_unavailable",
        {"channel": channel, "reason": "disabled"},
    )
    calls.query(channel=channel, attempt_no="PA1")
    calls.close(channel=channel, attempt_no="PA1")
    assert adapter.calls == ["prepay", "query", "close"]
    assert [row[0] for row in rows(channel)] == ["prepay", "query", "close"]


def test_an_open_breaker_prepares_nothing_and_asks_on(channel: str, adapter: Adapter) -> None:
    for _ in range(20):
        call(channel, LOST)
    with pytest.raises(health.ChannelUnhealthy):
        calls.prepay(channel=channel, request=REQUEST)
    assert calls.query(channel=channel, attempt_no="PA1") is PAID
    assert adapter.calls == ["query"]


def test_records_go_after_ninety_days(channel: str) -> None:
    now = worlds.NOW
    for days, seconds in ((90, 1), (90, 0), (89, 0)):
        with clock.frozen(now - dt.timedelta(days=days, seconds=seconds)):
            call(channel)
    assert PurgeCalls().run(now=now) == {"calls": 1}
    kept = CallRecord.objects.filter(channel=channel).order_by("id").values_list("called_at", flat=True)
    assert list(kept) == [now - dt.timedelta(days=90), now - dt.timedelta(days=89)]
    assert PurgeCalls().run(now=now) == {"calls": 0}
