"""The life of a collection: begun once, paid once, told to everybody, given back by its merchant; nothing twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_django import Settings

from collect.domain.rules import CodeKind
from collect.domain.states import CollectionState
from collect.models import Code, Collection, CollectionRefund, CrmRecord
from collect.services import codes, collecting
from collect.services.collecting import PayerFacts
from foundation import clock, outbox
from foundation.db import roles
from foundation.errors import Busy, InvalidRequest, NotFound, RateLimited
from foundation.models import OutboxEvent
from funds import selectors as funds
from gateway import registry
from gateway.models import AttemptReceiver
from gateway.ports import CODE_ALREADY_PAID, Outcome, Result
from gateway.services import calls
from orders import selectors as orders
from orders.domain.states import OrderState
from orders.services.advancing import RefundTooLarge
from payments.services import outcomes
from payments.services.purchase import ChannelRefused
from payments.services.refund_results import apply as apply_refund
from tests.books import assert_books_balance
from tests.integration.collect.codes_and_collections import Shop, code_of, shop

pytestmark = pytest.mark.django_db(databases="__all__")
PAYER = PayerFacts(address="203.0.113.7", agent_digest="", openid="o" * 28)

CLOSED, UNPAID = Result(outcome=Outcome.SUCCESS, code="closed"), Result(outcome=Outcome.PENDING)


@dataclass
class Provider:
    """What the channel answers: `prepay` in turns, then success; the last word of `state` by attempt for queries."""

    answers: list[Result] = field(default_factory=list)
    closing: Result = CLOSED
    query: Result = UNPAID
    prepared: list[Any] = field(default_factory=list)
    refunds: list[Any] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)

    def prepay(self, *, request: Any, channel: str) -> Result:
        self.prepared.append(request)
        self.receivers.append(AttemptReceiver.objects.get(pk=request.attempt_no).account_no)
        if self.answers:
            return self.answers.pop(0)
        return Result(
            outcome=Outcome.SUCCESS, payment={"kind": "code_url", "code_url": f"weixin://{request.attempt_no}"}
        )

    def refund(self, *, request: Any, channel: str) -> Result:
        self.refunds.append(request)
        return Result(outcome=Outcome.PENDING)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    made = Provider()
    monkeypatch.setattr(registry, "adapter", lambda channel: object())
    monkeypatch.setattr(calls, "prepay", made.prepay)
    monkeypatch.setattr(calls, "query", lambda **_: made.query)
    monkeypatch.setattr(calls, "close", lambda **_: made.closing)
    monkeypatch.setattr(calls, "refund", made.refund)
    return made


@pytest.fixture
def here(provider: Provider) -> Iterator[Shop]:
    yield shop()
    assert_books_balance()


def start(code: Code, collection_id: str = "", **changes: Any) -> collecting.Started:
    asked: dict[str, Any] = {
        "collection_id": collection_id or codes.issue_id(),
        "code_id": code.pk,
        "amount_fen": 700,
        "channel": "wechat",
        "scene": "native",
        "payer": PAYER,
        "now": clock.now(),
    }
    return collecting.start(**{**asked, **changes})


def order_code(here: Shop, **wish: Any) -> Code:
    wanted = {"kind": CodeKind.ORDER, "amount_fen": 700, "subject": "Tea", "crm_order_no": "SO-1"}
    return code_of(here.cashier, **{**wanted, **wish})


def pay(started: collecting.Started, amount_fen: int = 700) -> outcomes.Booking:
    """As a verified notice: the books, then the events."""
    attempt = orders.get_order(order_no=started.order_no).attempts[0]
    success = outcomes.Success(
        attempt_no=attempt.attempt_no, amount_fen=amount_fen, provider_no="4200001", paid_at=clock.now()
    )
    booking = outcomes.record_success(success=success, now=clock.now())
    deliver()
    return booking


def deliver() -> None:
    for role in ("funds", "default"):
        outbox.drain(using=roles.alias_for(role), now=clock.now)
    for alias in roles.order_aliases():
        outbox.drain(using=alias, now=clock.now)


def row_of(started: collecting.Started) -> Collection:
    return Collection.objects.get(pk=started.collection_id)


def pushed(event: str, collection_id: str) -> list[dict[str, Any]]:
    rows = OutboxEvent.objects.using(roles.alias_for("default")).filter(topic="push.event", key__contains=collection_id)
    found = [row.payload for row in rows]
    return [one for one in found if one["event"] == event]


def memo(here: Shop, kind: str, reference: str) -> int:
    journal = funds.get_journal(kind=kind, reference=reference)
    return 0 if journal is None else journal.credit_total_fen


# --- begun ------------------------------------------------------------------------------------------------------------


def test_the_same_id_goes_on_with_what_it_began(here: Shop, provider: Provider) -> None:
    code = code_of(here.cashier)
    first = start(code)
    again = start(code, first.collection_id)
    assert (again.order_no, again.payment, again.state) == (first.order_no, first.payment, CollectionState.OPEN)
    assert len(provider.prepared) == 1
    assert provider.receivers == [here.wechat.sub_merchant_no]
    assert provider.prepared[0].payer_ip == PAYER.address
    order = orders.get_order(order_no=first.order_no)
    assert (order.kind.value, order.business_no, order.employee_id) == ("COLLECT", first.collection_id, here.cashier.pk)


@pytest.mark.parametrize("changes", [{"amount_fen": 701}, {"channel": "alipay"}, {"scene": "h5"}])
def test_the_same_id_stands_for_nothing_else(here: Shop, provider: Provider, changes: dict[str, Any]) -> None:
    code = code_of(here.cashier)
    first = start(code)
    with pytest.raises(collecting.CollectionIdUsed):
        start(code, first.collection_id, **changes)
    with pytest.raises(collecting.CollectionIdUsed):
        start(code_of(here.cashier), first.collection_id)
    assert (len(provider.prepared), Collection.objects.filter(enterprise_id=here.cashier.enterprise_id).count()) == (
        1,
        1,
    )


@pytest.mark.parametrize(
    ("fixed", "asked", "reason"),
    [(None, 0, "zero"), (None, None, "zero"), (None, 5_000_001, "over_limit"), (700, 699, "fixed"), (None, -5, "zero")],
)
def test_an_amount_that_is_none_begins_nothing(here: Shop, fixed: int | None, asked: int | None, reason: str) -> None:
    code = code_of(here.cashier, amount_fen=fixed)
    with pytest.raises(InvalidRequest) as refused:
        start(code, amount_fen=asked)
    assert refused.value.details == {"amount_fen": [reason]}
    assert not Collection.objects.filter(code=code).exists()


def test_a_fixed_amount_need_not_be_said(here: Shop) -> None:
    assert start(code_of(here.cashier, amount_fen=700), amount_fen=None).amount_fen == 700


def test_without_an_account_in_use_nothing_is_begun(here: Shop) -> None:
    code = code_of(here.cashier)
    with pytest.raises(collecting.ReceiverMissing):
        start(code, channel="kuaiqian")
    with pytest.raises(NotFound):
        start(code, code_id=codes.issue_id())
    with pytest.raises(codes.CodeExpired):
        start(codes.disable_code(code_id=code.pk, enterprise_id=code.enterprise_id, now=clock.now()))
    assert not Collection.objects.filter(code=code).exists()


def test_one_code_begins_so_many_a_minute(here: Shop, settings: Settings) -> None:
    settings.COLLECT_CODE_STARTS_PER_MINUTE = 2
    code = code_of(here.cashier)
    start(code)
    start(code)
    with pytest.raises(RateLimited):
        start(code)
    assert Collection.objects.filter(code=code).count() == 2
    start(code_of(here.cashier))


def test_a_provider_that_says_nothing_is_asked_again_under_the_same_number(here: Shop, provider: Provider) -> None:
    provider.answers = [Result(outcome=Outcome.UNKNOWN, code="timeout")] * 2
    code, number = code_of(here.cashier), codes.issue_id()
    with pytest.raises(Busy):
        start(code, number)
    assert Collection.objects.get(pk=number).state == "OPEN"
    assert start(code, number).payment["kind"] == "code_url"
    assert len({request.attempt_no for request in provider.prepared}) == 1


def test_a_refused_payment_is_over_and_its_code_is_free(here: Shop, provider: Provider) -> None:
    provider.answers = [Result(outcome=Outcome.FAILED, code="no_auth")]
    code, number = order_code(here), codes.issue_id()
    with pytest.raises(ChannelRefused):
        start(code, number)
    row = Collection.objects.get(pk=number)
    assert (row.state, row.once_code, orders.get_order(order_no=row.order_no).state) == (
        "CLOSED",
        None,
        OrderState.CLOSED,
    )
    assert start(code).state is CollectionState.OPEN


def test_a_channel_switched_off_between_two_calls_closes_at_the_provider_first(
    here: Shop, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(code_of(here.cashier))
    closed: list[str] = []

    def close(*, channel: str, attempt_no: str) -> Result:
        closed.append(attempt_no)
        return Result(outcome=Outcome.SUCCESS, code="closed")

    def refuse(**_: Any) -> str:
        raise registry.ChannelUnavailable({"channel": "wechat", "reason": "disabled"})

    monkeypatch.setattr(calls, "close", close)
    monkeypatch.setattr("payments.services.purchase.routing.confirm", refuse)
    with pytest.raises(registry.ChannelUnavailable):
        start(row_of(first).code, first.collection_id)
    assert closed == [orders.get_order(order_no=first.order_no).attempts[0].attempt_no]
    assert row_of(first).state == "CLOSED"


# --- codes that serve once --------------------------------------------------------------------------------------------


def test_a_code_that_serves_once_is_paid_once(here: Shop) -> None:
    code = order_code(here)
    first = start(code)
    with pytest.raises(collecting.CodeInUse):
        start(code)
    pay(first)
    code.refresh_from_db()
    assert (code.state, row_of(first).state) == ("USED", "PAID")
    with pytest.raises(codes.CodeExpired):
        start(code)
    assert Collection.objects.filter(code=code).count() == 1


def test_another_payer_takes_over_after_a_minute(here: Shop, provider: Provider) -> None:
    code = order_code(here)
    first = start(code, now=clock.now() - dt.timedelta(minutes=2))
    second = start(code)
    assert (row_of(first).state, row_of(second).state) == ("CLOSED", "OPEN")
    assert pay(first) is outcomes.Booking.TO_RETURN
    assert (row_of(first).state, row_of(second).state) == ("CLOSED", "OPEN")


def test_nobody_takes_over_what_was_paid_in_this_moment(here: Shop, provider: Provider) -> None:
    code = order_code(here)
    first = start(code, now=clock.now() - dt.timedelta(minutes=2))
    provider.closing = Result(outcome=Outcome.FAILED, code=CODE_ALREADY_PAID)
    provider.query = Result(outcome=Outcome.SUCCESS, amount_fen=700, provider_no="4200002", happened_at=clock.now())
    with pytest.raises(codes.CodeExpired):
        start(code)
    assert (row_of(first).state, Collection.objects.filter(code=code).count()) == ("PAID", 1)


# --- paid -------------------------------------------------------------------------------------------------------------


def test_a_paid_one_is_told_once_and_only_noted_in_the_books(here: Shop) -> None:
    started = start(order_code(here))
    before = funds.get_wallet(account=outcomes.payer_account(orders.get_order(order_no=started.order_no)))
    assert pay(started) is outcomes.Booking.EFFECTIVE
    assert pay(started) is outcomes.Booking.REPEATED
    row = row_of(started)
    assert (row.state, row.provider_no, row.once_code) == ("PAID", "4200001", row.code_id)
    assert CrmRecord.objects.get(pk=row.pk).crm_order_no == "SO-1"
    assert len(pushed("collect.paid", row.pk)) == 1
    assert memo(here, "collected", started.order_no) == 700
    after = funds.get_wallet(account=outcomes.payer_account(orders.get_order(order_no=started.order_no)))
    assert (after.available_fen, after.frozen_fen) == (before.available_fen, before.frozen_fen)


def test_who_looks_sees_it_before_the_event(here: Shop, provider: Provider) -> None:
    started = start(code_of(here.cashier, subject="Tea"))
    provider.query = Result(outcome=Outcome.SUCCESS, amount_fen=700, provider_no="4200003", happened_at=clock.now())
    seen = collecting.get(collection_id=started.collection_id, now=clock.now(), ask_provider=True)
    assert (seen.state, seen.provider_no, seen.merchant_name, seen.payment) == (
        CollectionState.PAID,
        "4200003",
        "Corner shop",
        {"kind": "none"},
    )
    deliver()
    assert len(pushed("collect.paid", started.collection_id)) == 1
    assert not CrmRecord.objects.filter(pk=started.collection_id).exists()


def test_another_amount_credits_nothing(here: Shop) -> None:
    started = start(code_of(here.cashier))
    with pytest.raises(outcomes.AmountMismatch):
        pay(started, 701)
    assert (row_of(started).state, memo(here, "collected", started.order_no)) == ("OPEN", 0)


def test_a_late_payment_goes_back_by_itself(here: Shop, provider: Provider) -> None:
    started = start(code_of(here.cashier))
    assert collecting.close(collection_id=started.collection_id, now=clock.now()).state is CollectionState.CLOSED
    assert pay(started) is outcomes.Booking.TO_RETURN
    (request,) = provider.refunds
    assert (request.amount_fen, request.attempt_no) == (700, provider.prepared[0].attempt_no)
    assert (row_of(started).state, row_of(started).refunded_fen) == ("CLOSED", 0)
    assert pushed("collect.paid", started.collection_id) == []


# --- ended ------------------------------------------------------------------------------------------------------------


def test_the_sweep_ends_what_is_over_and_leaves_what_is_undecided(here: Shop, provider: Provider) -> None:
    begun = clock.now() - dt.timedelta(hours=1)
    old, young = start(code_of(here.cashier), now=begun), start(code_of(here.cashier))
    undecided = Result(outcome=Outcome.UNKNOWN, code="timeout")
    provider.closing = provider.query = undecided
    assert collecting.close_due(now=clock.now())["closed"] == 0
    assert row_of(old).state == "OPEN"
    provider.closing = Result(outcome=Outcome.SUCCESS, code="closed")
    assert collecting.close_due(now=clock.now())["closed"] >= 1
    assert (row_of(old).state, row_of(young).state) == ("CLOSED", "OPEN")


def test_a_request_that_died_before_its_order_is_ended(here: Shop) -> None:
    code, number, begun = code_of(here.cashier), codes.issue_id(), clock.now() - dt.timedelta(hours=1)
    row = collecting._insert(number, code_id=code.pk, amount_fen=700, channel="wechat", now=begun)
    with pytest.raises(Busy):
        collecting.close(collection_id=number, now=begun + dt.timedelta(seconds=5))
    collecting.close_due(now=clock.now())
    row.refresh_from_db()
    assert row.state == "CLOSED"


# --- given back -------------------------------------------------------------------------------------------------------


def give_back(started: collecting.Started, amount_fen: int, key: str) -> collecting.RefundView:
    return collecting.refund(
        collection_id=started.collection_id,
        enterprise_id=row_of(started).enterprise_id,
        amount_fen=amount_fen,
        reason="broken cup",
        refund_key=key,
        actor="employee:1",
        now=clock.now(),
    )


def finish(view: collecting.RefundView, outcome: Outcome = Outcome.SUCCESS) -> None:
    """The provider's word."""
    result = Result(outcome=outcome, provider_no="5000001", amount_fen=view.amount_fen, happened_at=clock.now())
    apply_refund(refund_no=view.refund_no, result=result, now=clock.now())
    deliver()


def test_a_part_and_then_the_rest_go_back(here: Shop, provider: Provider) -> None:
    started = start(code_of(here.cashier))
    pay(started)
    part = give_back(started, 200, "k1")
    assert give_back(started, 200, "k1").refund_no == part.refund_no
    deliver()
    assert (len(provider.refunds), row_of(started).refunded_fen) == (1, 0)
    finish(part)
    finish(part)
    row = row_of(started)
    assert (row.state, row.refunded_fen) == ("PAID", 200)
    finish(give_back(started, 500, "k2"))
    row = row_of(started)
    assert (row.state, row.refunded_fen) == ("REFUNDED", 700)
    assert len(pushed("collect.refunded", part.refund_no)) == 1
    assert memo(here, "collection_refunded", part.refund_no) == 200
    with pytest.raises(collecting.RefundNotPossible):
        give_back(started, 1, "k3")


def test_a_refund_that_is_refused_moves_nothing(here: Shop, provider: Provider) -> None:
    started = start(code_of(here.cashier))
    with pytest.raises(collecting.RefundNotPossible):
        give_back(started, 100, "k0")
    pay(started)
    with pytest.raises(RefundTooLarge):
        give_back(started, 701, "k1")
    with pytest.raises(collecting.RefundNotPossible):
        give_back(started, 701, "k1")
    with pytest.raises(NotFound):
        collecting.refund(
            collection_id=started.collection_id,
            enterprise_id=0,
            amount_fen=1,
            reason="x",
            refund_key="k2",
            actor="employee:1",
            now=clock.now(),
        )
    failed = give_back(started, 100, "k3")
    finish(failed, Outcome.FAILED)
    row = row_of(started)
    assert (row.state, row.refunded_fen, CollectionRefund.objects.get(pk=failed.refund_no).state) == (
        "PAID",
        0,
        "FAILED",
    )


def test_a_refund_whose_request_died_is_opened_later(here: Shop, provider: Provider) -> None:
    started = start(code_of(here.cashier))
    pay(started)
    asked_at = clock.now() - dt.timedelta(minutes=5)
    asked = collecting._ask_refund(
        row_of(started), amount_fen=300, reason="x", refund_key="k", actor="employee:1", now=asked_at
    )
    assert collecting.resume_refunds(now=clock.now()) == {"resumed": 1, "refused": 0}
    assert collecting.resume_refunds(now=clock.now()) == {"resumed": 0, "refused": 0}
    assert orders.get_order(order_no=asked.refund_no).amount_fen == 300
    deliver()
    assert [request.amount_fen for request in provider.refunds] == [300]
