"""The way of a bill from its provider to a signed-off day, and every error a provider may make, found and named."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from foundation.errors import InvalidRequest, PermissionDenied
from foundation.models import Alert
from funds.domain.entries import platform_account
from funds.models import Journal, Posting
from funds.services import adjustments
from gateway.ports import CODE_RETURNED, Bill, BillKind, BillState, Outcome, Receiver, Result
from gateway.services import calls, receivers
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState
from orders.selectors import days
from orders.services import numbers, opening
from payments.services import outcomes, refund_results, refunds
from reconciliation.domain.states import Resolution, RunState
from reconciliation.models import CarriedOver, DayClose, Difference, RawFile, RowProblem, Run
from reconciliation.services import closing, comparing, fetching, planning, resolving, reviewing, storing, trail
from tests import worlds
from tests.integration.funds import adjusting
from tests.integration.reconciliation import bills
from tests.integration.reconciliation.bills import BEIJING, DAY, MORNING, NOON, ONE_DAY, Provider
from tests.integration.withdrawals import people
from withdrawals.models import Withdrawal
from withdrawals.services import results, sending

pytestmark = pytest.mark.django_db(databases="__all__")

REASON = "Looked up at the provider's desk."
NEXT = DAY + ONE_DAY
LATER = MORNING + dt.timedelta(days=2)


@pytest.fixture(autouse=True)
def _places(settings: Settings, tmp_path: Path) -> None:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"
    settings.RECONCILIATION_ROOT = tmp_path / "bills"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    made = Provider()
    monkeypatch.setattr(calls, "download_bill", made.download_bill)
    return made


@pytest.fixture
def person() -> Employee:
    return worlds.make_world(1).employees[0]


@pytest.fixture
def paid(person: Employee) -> list[str]:
    """Three payments at noon, of 1000, 2000 and 3000 fen."""
    return [bills.pay(person, fen, NOON + dt.timedelta(minutes=fen // 1000)) for fen in (1000, 2000, 3000)]


def open_attempt(
    person: Employee,
    amount_fen: int,
    order_no: str = "",
    kind: worlds.OrderKind = worlds.OrderKind.RECHARGE,
) -> str:
    """A payment of noon of which we have heard nothing."""
    order_no = order_no or numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=person.pk)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    new = worlds.NewOrder(
        order_no=order_no,
        kind=kind,
        amount_fen=amount_fen,
        employee_id=person.pk,
        enterprise_id=person.enterprise_id,
        subject="Not heard of",
    )
    opening.open_order(new=new, now=NOON)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=amount_fen, now=NOON
    )
    return attempt_no


def codes(run: Run) -> set[str]:
    return set(RowProblem.objects.filter(run=run).values_list("code", flat=True))


def alerted(code: str) -> int:
    return Alert.objects.filter(code=code).count()


# --- our side -------------------------------------------------------------------------------------------------------


def test_our_day_is_whole_on_every_page_size(person: Employee, paid: list[str]) -> None:
    bills.pay(person, 5, dt.datetime(2026, 11, 21, 0, 0, tzinfo=BEIJING))
    bills.pay(person, 6, dt.datetime(2026, 11, 20, 23, 59, 59, tzinfo=BEIJING))
    bills.pay(person, 7, dt.datetime(2026, 11, 22, 0, 0, tzinfo=BEIJING))
    open_attempt(person, 8)
    start = dt.datetime(2026, 11, 21, tzinfo=BEIJING)
    for page in (1, 2, 1000):
        rows = list(days.iterate_day(channel="wechat", start=start, end=start + ONE_DAY, page=page))
        assert sorted(row.amount_fen for row in rows) == [5, 1000, 2000, 3000], page
        assert {row.state for row in rows} == {AttemptState.SUCCESS}
    assert list(days.iterate_day(channel="alipay", start=start, end=start + ONE_DAY)) == []
    found = days.find_numbers([*paid, "no number of ours", "AT1" + "Z" * 29])
    assert {number: row.amount_fen for number, row in found.items()} == dict(zip(paid, (1000, 2000, 3000), strict=True))


# --- the way of a bill ----------------------------------------------------------------------------------------------


def test_a_clean_day_needs_nobody(provider: Provider, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)))
    assert (run.state, run.our_rows, run.their_rows, run.matched_rows) == ("REVIEWED", 3, 3, 3)
    assert (run.our_total_fen, run.their_total_fen, run.carried_rows) == (6000, 6000, 0)
    assert bills.found(run) == []
    assert [event.code for event in run.events.order_by("pk")] == [
        "planned", "fetched", "parsed", "compared", "nothing_to_review",
    ]  # fmt: skip
    file = run.file
    assert file is not None
    with storing.open_file(file=file) as stream:
        assert stream.read() == provider.bills[DAY].content
    fetching.fetch(run_id=run.pk, now=MORNING)  # the same bytes again
    assert comparing.process(run_id=run.pk, now=MORNING).state == "REVIEWED"
    assert RawFile.objects.filter(run=run).count() == 1
    assert [event.code for event in run.events.order_by("pk")][5:] == ["fetched_again"]


def test_a_bill_is_asked_for_every_half_hour_until_people_are_told(provider: Provider, paid: list[str]) -> None:
    run = bills.plan()
    at_nine = MORNING.replace(hour=9, minute=59)
    assert fetching.fetch_due(now=at_nine)["asked"] == 0
    assert fetching.fetch_due(now=MORNING) == {"asked": 1, "fetched": 0, "none": 0, "failed": 0}
    run.refresh_from_db()
    assert (run.state, run.last_code, run.tries) == ("WAITING", "not_ready", 1)
    assert run.next_fetch_at == MORNING + dt.timedelta(minutes=30)
    assert fetching.fetch_due(now=MORNING + dt.timedelta(minutes=29))["asked"] == 0
    assert not alerted("bill_late")
    assert fetching.fetch_due(now=MORNING.replace(hour=15))["asked"] == 1
    assert alerted("bill_late") == 1
    provider.gives(DAY, bills.render(bills.rows_of(DAY)))
    assert fetching.fetch_due(now=MORNING.replace(hour=16))["fetched"] == 1
    assert comparing.process_due(now=MORNING.replace(hour=16)) == {"compared": 1, "unusable": 0, "failed": 0}


def test_no_bill_is_believed_late_and_only_where_our_books_have_nothing(provider: Provider, person: Employee) -> None:
    provider.bills[DAY] = Bill(state=BillState.NO_BILL, code="no_bill")
    run = bills.plan()
    assert fetching.fetch(run_id=run.pk, now=MORNING).state == "WAITING"  # Alipay says so before it is made
    number = bills.pay(person, 5, NOON)
    assert fetching.fetch(run_id=run.pk, now=MORNING.replace(hour=14)).state == "WAITING"
    assert orders.get_attempt(attempt_no=number).state is AttemptState.SUCCESS
    other = bills.plan(DAY - ONE_DAY)
    provider.bills[other.day] = provider.bills[DAY]
    done = fetching.fetch(run_id=other.pk, now=MORNING.replace(hour=14))
    assert (done.state, done.is_without_bill, done.file_id) == ("REVIEWED", True, None)


def test_by_hand_a_bill_is_fetched_for_three_months_and_by_those_who_may(provider: Provider, paid: list[str]) -> None:
    run, user = bills.plan(), bills.staff()
    stranger = bills.staff()
    stranger.user_permissions.clear()
    with pytest.raises(PermissionDenied):
        fetching.retry(run_id=run.pk, user_id=stranger.pk, now=MORNING)
    with pytest.raises(InvalidRequest):
        fetching.retry(run_id=run.pk, user_id=user.pk, now=MORNING + dt.timedelta(days=93))
    assert provider.asked == 0
    provider.gives(DAY, bills.render(bills.rows_of(DAY)))
    assert fetching.retry(run_id=run.pk, user_id=user.pk, now=MORNING + dt.timedelta(days=90)).state == "FETCHED"


def test_an_uploaded_bill_goes_the_same_way(paid: list[str]) -> None:
    run, user = bills.plan(), bills.staff()
    content = bills.render(bills.rows_of(DAY))
    file = fetching.upload(run_id=run.pk, stream=io.BytesIO(content), name="b.csv", user_id=user.pk, now=MORNING)
    assert (file.size_bytes, file.name, file.uploaded_by_id) == (len(content), "b.csv", user.pk)
    assert comparing.process(run_id=run.pk, now=MORNING).state == "REVIEWED"
    with pytest.raises(storing.BillEmpty):
        fetching.upload(run_id=run.pk, stream=io.BytesIO(), name="b.csv", user_id=user.pk, now=MORNING)


def test_collections_stand_in_their_merchants_bills_only(provider: Provider, person: Employee, paid: list[str]) -> None:
    with worlds.clock.frozen(NOON):
        order_no = numbers.issue(prefix=numbers.Prefix.COLLECT, account_id=person.pk)
    attempt_no = open_attempt(person, 500, order_no=order_no, kind=worlds.OrderKind.COLLECT)
    receivers.assign(attempt_no=attempt_no, channel="wechat", receiver=Receiver(account_no="1900000109"), now=NOON)
    success = outcomes.Success(attempt_no=attempt_no, amount_fen=500, provider_no="P", paid_at=NOON)
    outcomes.record_success(success=success, now=NOON)
    rows = bills.rows_of(DAY)
    theirs = [row for row in rows if row["商户订单号"] == attempt_no]
    ours = [row for row in rows if row["商户订单号"] != attempt_no]
    own = bills.reconcile(provider, DAY, bills.render(ours))
    assert (bills.found(own), own.our_rows, own.state) == ([], 3, "REVIEWED")
    plan = {"channel": "wechat", "kind": BillKind.TRADE, "day": DAY, "now": MORNING}
    run, _ = planning.plan_run(**plan, account="1900000109")
    with pytest.raises(InvalidRequest):
        fetching.fetch(run_id=run.pk, now=MORNING)
    assert fetching.fetch_due(now=MORNING)["asked"] == 0
    content, user = bills.render(theirs), bills.staff()
    fetching.upload(run_id=run.pk, stream=io.BytesIO(content), name="b.csv", user_id=user.pk, now=MORNING)
    done = comparing.process(run_id=run.pk, now=MORNING)
    assert (bills.found(done), done.our_rows, done.their_rows, done.state) == ([], 1, 1, "REVIEWED")


def test_a_changed_file_is_not_read(provider: Provider, paid: list[str], settings: Settings) -> None:
    run = bills.plan()
    provider.gives(DAY, bills.render(bills.rows_of(DAY)))
    fetched = fetching.fetch(run_id=run.pk, now=MORNING)
    assert fetched.file is not None
    digest = fetched.file.sha256
    Path(settings.RECONCILIATION_ROOT, digest[:2], digest).write_bytes(b"changed")
    assert comparing.process_due(now=MORNING)["failed"] == 1
    assert alerted("bill_not_compared") == 1
    assert Run.objects.get(pk=run.pk).state == "FETCHED"


def test_a_refund_stands_on_the_day_it_was_asked_for(provider: Provider, person: Employee, paid: list[str]) -> None:
    """It is done days later: neither day raises an alarm, and what the provider calls done and we do not is a state."""
    order_no = orders.get_attempt(attempt_no=paid[2]).order_no
    refunds_made = []
    for fen in (100, 200):
        refund_no = refunds.issue_refund_number(order_no=order_no)
        refunds.refund_order(
            refund_no=refund_no, order_no=order_no, amount_fen=fen, reason="x", requested_by="staff", now=NOON
        )
        refunds_made.append(orders.get_order(order_no=refund_no).attempts[-1].attempt_no)
    one, two = refunds_made
    rows = bills.rows_of(DAY)
    processing = bills.refund_row(paid[2], one, 100, NOON - ONE_DAY, "PROCESSING")
    done = bills.refund_row(paid[2], two, 200, NOON, "SUCCESS")
    run = bills.reconcile(provider, DAY, bills.render([*rows, processing, done]))
    assert (bills.found(run), run.matched_rows) == ([("STATE", two, 200)], 4)
    later = NOON + 3 * ONE_DAY
    attempt = orders.get_attempt(attempt_no=one)
    refund_results.apply(refund_no=attempt.order_no, result=Result(outcome=Outcome.SUCCESS), now=later)
    start = dt.datetime(2026, 11, 21, tzinfo=BEIJING)
    for begins, ends, is_there in ((start, start + ONE_DAY, True), (start + ONE_DAY, later + ONE_DAY, False)):
        found = {row.number for row in days.iterate_day(channel="wechat", start=begins, end=ends)}
        assert (one in found) is is_there


def test_payouts_are_compared_with_the_fund_flow(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "pay_out", lambda *, channel, request: Result(outcome=Outcome.SUCCESS))
    sent = []
    with worlds.clock.frozen(NOON):
        for fen in (10_000, 20_000):
            made = people.approve(people.apply(people.rich(), fen, "wechat"))
            assert sending.send(order_no=made.order_no, now=NOON)
            sent.append(Withdrawal.objects.get(pk=made.pk).payout_no or "")
    legacy = Withdrawal.objects.filter(payout_no=sent[1])  # the old product pays out of the same account
    assert legacy.update(payout_channel="wechat_legacy") == 1
    others = [bills.movement("AT1", 5, NOON, "payment"), bills.movement("RF1", 5, NOON, "refund")]
    flow = [*others, bills.movement(sent[0], 10_000, NOON), bills.movement(sent[1], 20_000, NOON)]
    clean = bills.reconcile(provider, DAY, bills.render_flow(flow), BillKind.FUND_FLOW)
    assert (clean.state, clean.our_total_fen, clean.their_total_fen) == ("REVIEWED", -30_000, -30_000)
    flow = [*others, bills.movement(sent[0], 10_001, NOON), bills.movement("WD9", 7, NOON)]
    run = bills.reconcile(provider, DAY, bills.render_flow(flow), BillKind.FUND_FLOW)
    assert bills.found(run) == [("AMOUNT", sent[0], 1), ("OURS_ONLY", sent[1], 20_000), ("THEIRS_ONLY", "WD9", 7)]
    back = Withdrawal.objects.get(payout_no=sent[0])
    results.apply(
        order_no=back.order_no,
        payout_no=sent[0],
        result=Result(outcome=Outcome.FAILED, code=CODE_RETURNED),
        source="query",
        now=NOON + 2 * ONE_DAY,
    )
    at = NOON + ONE_DAY  # they sent it back a day before we heard of it
    other = bills.movement(sent[0], 10_000, at, "payout_return")
    returned = bills.reconcile(provider, NEXT, bills.render_flow([other]), BillKind.FUND_FLOW)
    assert (bills.found(returned), returned.matched_rows) == ([], 1)
    short = Difference.objects.get(run=run, kind="AMOUNT")
    assert resolving.excess_of(short) == -1  # one fen more has left our account there than our books say


# --- every error ----------------------------------------------------------------------------------------------------

Change = Callable[[list[dict[str, str]]], None]


def _set(place: int, **cells: str) -> Change:
    def change(rows: list[dict[str, str]]) -> None:
        rows[place].update(cells)

    return change


ROW_ERRORS: dict[str, tuple[Change, tuple[str, int, int]]] = {
    # what is wrong with the file, and (kind, place of the number in `paid` or -1, value)
    "missing": (lambda rows: rows.__delitem__(0), ("OURS_ONLY", 0, 1000)),
    "extra": (lambda rows: rows.append(bills.row("EXTRA1", 77, NOON)), ("THEIRS_ONLY", -1, 77)),
    "wrong amount": (_set(1, 订单金额="20.01", 应结订单金额="20.01"), ("AMOUNT", 1, 1)),
    "fee": (_set(2, 手续费="0.19"), ("FEE", 2, 1)),
    "duplicate": (lambda rows: rows.append(dict(rows[1])), ("DUPLICATE", 1, 2000)),
}


@pytest.mark.parametrize("error", ROW_ERRORS)
def test_a_wrong_row_is_found_and_named(error: str, provider: Provider, paid: list[str], settings: Settings) -> None:
    if error == "fee":
        settings.RECONCILIATION_FEE_MILLIONTHS = {"wechat": 6000}
    rows = bills.rows_of(DAY)
    if error == "fee":
        for place, fee in enumerate(("0.06", "0.12", "0.18")):
            rows[place]["手续费"] = fee
    change, (kind, place, value_fen) = ROW_ERRORS[error]
    change(rows)
    run = bills.reconcile(provider, DAY, bills.render(rows))
    number = "EXTRA1" if place < 0 else paid[place]
    assert bills.found(run) == [(kind, number, value_fen)]
    assert run.state == "MATCHED"
    user = bills.staff()
    again = bills.render(rows) + b"\r\n"
    fetching.upload(run_id=run.pk, stream=io.BytesIO(again), name="b.csv", user_id=user.pk, now=LATER)
    comparing.process(run_id=run.pk, now=LATER)
    assert bills.found(run) == [(kind, number, value_fen)]
    assert [event.code for event in Difference.objects.get(run=run).events.all()] == ["found"]


def test_a_payment_that_we_did_not_hear_of_is_a_state(provider: Provider, person: Employee, paid: list[str]) -> None:
    unheard = open_attempt(person, 400)
    run = bills.reconcile(provider, DAY, bills.render([*bills.rows_of(DAY), bills.row(unheard, 400, NOON)]))
    assert bills.found(run) == [("STATE", unheard, 400)]
    row = Difference.objects.get(run=run)
    assert (row.our_state, row.their_state, row.our_amount_fen, row.their_amount_fen) == (
        "PENDING", "SUCCESS", 400, 400,
    )  # fmt: skip


def test_a_row_in_the_bill_of_the_next_day_is_paired(provider: Provider, person: Employee, paid: list[str]) -> None:
    """Near midnight it waits and nobody is told; at noon it is a difference, until its partner turns up."""
    late = bills.pay(person, 900, dt.datetime(2026, 11, 21, 23, 59, 50, tzinfo=BEIJING))
    rows = [row for row in bills.rows_of(DAY) if row["商户订单号"] not in (late, paid[0])]
    run = bills.reconcile(provider, DAY, bills.render(rows))
    assert bills.found(run) == [("OURS_ONLY", paid[0], 1000)]
    item = CarriedOver.objects.get(run=run)
    assert (item.number, item.state, item.is_ours) == (late, "WAITING", True)
    at = dt.datetime(2026, 11, 22, 0, 0, 1, tzinfo=BEIJING)
    other = bills.reconcile(provider, NEXT, bills.render([bills.row(late, 900, at), bills.row(paid[0], 1000, at)]))
    assert bills.found(other) == []
    item.refresh_from_db()
    assert (item.state, item.ended_run_id) == ("PAIRED", other.pk)
    row = Difference.objects.get(run=run)
    assert (row.state, row.resolution, row.approved_by_id) == ("RESOLVED", "SETTLED", None)
    run.refresh_from_db()
    assert reviewing.review_if_done(run_id=run.pk, now=LATER).state == "REVIEWED"


def test_an_item_that_waited_in_vain_is_a_difference(provider: Provider, person: Employee, paid: list[str]) -> None:
    late = bills.pay(person, 900, dt.datetime(2026, 11, 21, 23, 59, 50, tzinfo=BEIJING))
    rows = [row for row in bills.rows_of(DAY) if row["商户订单号"] != late]
    at = dt.datetime(2026, 11, 21, 23, 59, 55, tzinfo=BEIJING)
    run = bills.reconcile(provider, DAY, bills.render([*rows, bills.row("EXTRA2", 50, at)]))
    assert (run.state, bills.found(run)) == ("MATCHED", [])
    at_noon = bills.row(bills.pay(person, 1, NOON + ONE_DAY), 1, NOON + ONE_DAY)
    bills.reconcile(provider, NEXT, bills.render([at_noon]))
    assert bills.found(run) == [("OURS_ONLY", late, 900), ("THEIRS_ONLY", "EXTRA2", 50)]
    assert set(CarriedOver.objects.filter(run=run).values_list("state", flat=True)) == {"DIFFERENT"}
    same = bills.render([*rows, bills.row("EXTRA2", 50, at)]) + b"\r\n"
    bills.reconcile(provider, DAY, same)  # had its time: compared again it does not wait again
    assert set(Difference.objects.filter(run=run).values_list("number", "state")) == {
        (late, "OPEN"),
        ("EXTRA2", "OPEN"),
    }


def test_our_row_of_the_next_day_is_paired_without_an_alarm(provider: Provider, person: Employee) -> None:
    """They say 23:59:58, we heard of it at 00:00:04."""
    number = bills.pay(person, 700, dt.datetime(2026, 11, 22, 0, 0, 4, tzinfo=BEIJING))
    at = dt.datetime(2026, 11, 21, 23, 59, 58, tzinfo=BEIJING)
    run = bills.reconcile(provider, DAY, bills.render([bills.row(number, 700, at)]))
    assert (bills.found(run), run.matched_rows, run.state) == ([], 1, "MATCHED")
    noon = bills.pay(person, 1, NOON + ONE_DAY)
    other = bills.reconcile(provider, NEXT, bills.render([bills.row(noon, 1, NOON + ONE_DAY)]))
    assert (bills.found(other), other.matched_rows, other.state) == ([], 2, "REVIEWED")
    same = bills.render([bills.row(noon, 1, NOON + ONE_DAY)]) + b"\r\n"
    again = bills.reconcile(provider, NEXT, same)  # compared again it keeps its partner of yesterday
    assert (bills.found(again), again.matched_rows, again.carried_rows, again.state) == ([], 2, 0, "REVIEWED")
    assert Run.objects.get(pk=run.pk).state == "REVIEWED"


FILE_ERRORS: dict[str, tuple[Callable[[list[dict[str, str]]], bytes], set[str], str]] = {
    "wrong summary": (lambda rows: bills.render(rows, wrong_summary=True), {"count_mismatch"}, "MATCHED"),
    "cut file": (lambda rows: bills.render(rows, cut=True), {"cells_miscounted", "summary_missing"}, "WAITING"),
    "other encoding": (
        lambda rows: bills.render(rows).decode("utf-8-sig").encode("gb18030"),
        {"not_utf8"},
        "WAITING",
    ),
    "other day": (
        lambda rows: bills.render([bills.row(one["商户订单号"], 1, NOON - ONE_DAY) for one in rows]),
        {"day_mismatch"},
        "WAITING",
    ),
    "one bad row": (
        lambda rows: bills.render(rows).replace(b"`20.00", b"`20.0.0", 1),
        {"amount_malformed", "count_mismatch", "total_mismatch"},
        "MATCHED",
    ),
}


@pytest.mark.parametrize("error", FILE_ERRORS)
def test_a_wrong_file_is_kept_and_named(error: str, provider: Provider, paid: list[str]) -> None:
    spoil, problems, state = FILE_ERRORS[error]
    run = bills.reconcile(provider, DAY, spoil(bills.rows_of(DAY)))
    assert (codes(run), run.state) == (problems, state)
    assert RawFile.objects.filter(run=run).count() == 1
    assert alerted("bill_with_problems" if state == "MATCHED" else "bill_unusable") == 1
    # A bad row goes to a person, and what it should have matched is missing; a file of no use makes no difference.
    assert [kind for kind, _, _ in bills.found(run)] == (["OURS_ONLY"] if error == "one bad row" else [])
    right = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)))  # the provider corrects it
    assert (right.state, right.matched_rows) == ("REVIEWED", 3)
    assert not Difference.objects.filter(run=run).exclude(state="RESOLVED").exists()


def test_totals_that_are_wrong_need_a_person(provider: Provider, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY), wrong_summary=True))
    user = bills.staff()
    with pytest.raises(closing.DayNotReviewed):
        closing.sign_off(channel="wechat", day=DAY, user_id=user.pk, now=LATER)
    with pytest.raises(trail.ReasonMissing):
        reviewing.review(run_id=run.pk, user_id=user.pk, remark="ok", now=LATER)
    assert reviewing.review(run_id=run.pk, user_id=user.pk, remark=REASON, now=LATER).state == "REVIEWED"


def test_a_wrong_hash_is_evidence_and_no_bill(provider: Provider, paid: list[str]) -> None:
    content = bills.render(bills.rows_of(DAY))
    provider.bills[DAY] = Bill(
        state=BillState.UNKNOWN, code="hash_mismatch", content=content, provider_hash="sha1:" + "0" * 40
    )
    run = fetching.fetch(run_id=bills.plan().pk, now=MORNING)
    assert (run.state, run.last_code, run.file_id) == ("WAITING", "hash_mismatch", None)
    file = RawFile.objects.get(run=run)
    assert (file.is_hash_wrong, file.provider_hash) == (True, "sha1:" + "0" * 40)
    assert alerted("bill_hash_wrong") == 1


def test_a_bill_of_somebody_else_is_not_written_down(
    provider: Provider, paid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "KEPT", 5)
    rows = [bills.row(f"X{place}", 1, NOON) for place in range(4)]
    provider.gives(DAY, bills.render(rows))
    run = fetching.fetch(run_id=bills.plan().pk, now=MORNING)
    assert comparing.process_due(now=MORNING) == {"compared": 0, "unusable": 0, "failed": 1}
    assert (bills.found(run), Run.objects.get(pk=run.pk).state) == ([], "PARSED")


# --- differences end in the books -----------------------------------------------------------------------------------


def clearing_fen(code: str = "1110") -> int:
    ref = platform_account(code, "wechat")
    rows = Posting.objects.using("funds").filter(account__code=ref.code, account__owner_id=ref.owner_id)
    return -sum(rows.values_list("amount_fen", flat=True))


def proposal(resolution: Resolution, **changes: object) -> resolving.Proposal:
    values: dict = {"resolution": resolution, "reason": REASON, "evidence": (adjusting.evidence(),), **changes}
    return resolving.Proposal(**values)


def test_what_only_they_have_is_written_off_under_four_eyes(provider: Provider, paid: list[str]) -> None:
    rows = [*bills.rows_of(DAY), bills.row("EXTRA1", 77, NOON)]
    run = bills.reconcile(provider, DAY, bills.render(rows))
    row, maker, checker = Difference.objects.get(run=run), bills.staff(), bills.staff()
    before = clearing_fen()
    asked = resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.SUSPENSE), user_id=maker.pk, now=LATER)
    again = resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.SUSPENSE), user_id=maker.pk, now=LATER)
    assert (asked.state, asked.reference) == ("PROPOSED", again.reference)
    with pytest.raises(trail.SamePerson):
        resolving.approve(difference_id=row.pk, user_id=maker.pk, now=LATER)
    assert clearing_fen() == before
    done = resolving.approve(difference_id=row.pk, user_id=checker.pk, now=LATER)
    assert (done.state, done.approved_by_id) == ("RESOLVED", checker.pk)
    journal = Journal.objects.using("funds").get(pk=int(done.journal_no))
    assert (journal.kind, journal.reference) == ("adjustment", done.reference)
    assert (clearing_fen() - before, clearing_fen("2910")) == (77, -77)  # as much as the bill has, and we owe it
    run.refresh_from_db()
    assert (run.state, before + 77) == ("REVIEWED", run.their_total_fen)
    assert resolving.approve(difference_id=row.pk, user_id=checker.pk, now=LATER).journal_no == done.journal_no
    assert clearing_fen() - before == 77
    assert [event.code for event in row.events.order_by("pk")] == ["found", "proposed", "approved"]


def test_a_rejected_proposal_moves_nothing_and_can_be_made_again(provider: Provider, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)[1:]))
    row, maker, checker = Difference.objects.get(run=run), bills.staff(), bills.staff()
    asked = resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.SUSPENSE), user_id=maker.pk, now=LATER)
    before = clearing_fen()
    back = resolving.reject(difference_id=row.pk, reason=REASON, user_id=checker.pk, now=LATER)
    assert (back.state, back.reference, back.proposed_by_id) == ("OPEN", "", None)
    assert adjustments.find(number=asked.reference).state == "REJECTED"
    assert clearing_fen() == before
    again = resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.FORCE), user_id=maker.pk, now=LATER)
    assert resolving.approve(difference_id=again.pk, user_id=checker.pk, now=LATER).state == "RESOLVED"
    assert clearing_fen() == before  # forced: nothing moves
    events = [event.code for event in row.events.order_by("pk")]
    assert events == ["found", "proposed", "rejected", "proposed", "approved"]


def test_an_adjustment_that_was_decided_on_its_own_page_is_taken_as_it_is(provider: Provider, paid: list[str]) -> None:
    rows = [bills.row("EXTRA1", 77, NOON), bills.row("EXTRA2", 78, NOON)]
    run = bills.reconcile(provider, DAY, bills.render([*bills.rows_of(DAY), *rows]))
    maker, checker, third = bills.staff(), bills.staff(), bills.staff()
    first, second = Difference.objects.filter(run=run).order_by("number")
    asked = [
        resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.SUSPENSE), user_id=maker.pk, now=LATER)
        for row in (first, second)
    ]
    before = clearing_fen()
    posted = adjustments.find(number=asked[0].reference)
    adjustments.approve(number=posted.number, seen_digest=posted.digest, staff_id=third.pk, now=LATER)
    adjustments.reject(number=asked[1].reference, staff_id=third.pk, reason=REASON, now=LATER)
    with pytest.raises(trail.AlreadyDecided):  # posted: no way back
        resolving.reject(difference_id=first.pk, reason=REASON, user_id=checker.pk, now=LATER)
    with pytest.raises(adjustments.AlreadyDecided):  # not posted: nothing to approve
        resolving.approve(difference_id=second.pk, user_id=checker.pk, now=LATER)
    done = resolving.approve(difference_id=first.pk, user_id=checker.pk, now=LATER)
    back = resolving.reject(difference_id=second.pk, reason=REASON, user_id=maker.pk, now=LATER)
    posted.refresh_from_db()
    assert (done.state, done.journal_no, back.state) == ("RESOLVED", str(posted.journal_id), "OPEN")
    assert clearing_fen() - before == 77


def test_a_missed_notice_is_replayed_and_the_bill_then_agrees(
    provider: Provider, person: Employee, paid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard = open_attempt(person, 400)
    run = bills.reconcile(provider, DAY, bills.render([*bills.rows_of(DAY), bills.row(unheard, 400, NOON)]))
    row, maker, checker = Difference.objects.get(run=run), bills.staff(), bills.staff()
    resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.REPLAY), user_id=maker.pk, now=LATER)
    answers = [Result(outcome=Outcome.PENDING), Result(outcome=Outcome.SUCCESS, amount_fen=400, happened_at=NOON)]
    monkeypatch.setattr(calls, "query", lambda **_: answers.pop(0))
    with pytest.raises(resolving.StillDifferent):
        resolving.approve(difference_id=row.pk, user_id=checker.pk, now=LATER)
    row.refresh_from_db()
    assert (row.state, worlds.wallet_of(person)) == ("PROPOSED", (6000, 0))
    assert resolving.approve(difference_id=row.pk, user_id=checker.pk, now=LATER).state == "RESOLVED"
    assert worlds.wallet_of(person) == (6400, 0)
    user = bills.staff()
    again = io.BytesIO(bills.render([*bills.rows_of(DAY)]))
    fetching.upload(run_id=run.pk, stream=again, name="b.csv", user_id=user.pk, now=LATER)
    after = comparing.process(run_id=run.pk, now=LATER)
    assert (after.state, after.our_total_fen, after.their_total_fen) == ("REVIEWED", 6400, 6400)


def test_a_payment_can_be_given_back(provider: Provider, person: Employee, paid: list[str]) -> None:
    rows = bills.rows_of(DAY)
    rows.append(dict(rows[1]))  # he was charged twice: 2000 fen too many
    run = bills.reconcile(provider, DAY, bills.render(rows))
    row, maker, checker = Difference.objects.get(run=run), bills.staff(), bills.staff()
    with pytest.raises(resolving.NotApplicable):
        wrong = proposal(Resolution.REFUND, amount_fen=2001)
        resolving.propose(difference_id=row.pk, proposal=wrong, user_id=maker.pk, now=LATER)
    with pytest.raises(resolving.NotApplicable):
        resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.REPLAY), user_id=maker.pk, now=LATER)
    resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.REFUND), user_id=maker.pk, now=LATER)
    for _ in range(2):
        done = resolving.approve(difference_id=row.pk, user_id=checker.pk, now=LATER)
    refund = orders.get_order(order_no=done.reference.partition(":")[0])
    assert (refund.amount_fen, refund.state, done.journal_no) == (2000, "PENDING", f"refund_start:{refund.order_no}")
    assert worlds.wallet_of(person) == (4000, 0)


def test_who_may_not_may_not(provider: Provider, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)[1:]))
    row, nobody = Difference.objects.get(run=run), bills.staff()
    nobody.user_permissions.clear()
    for deed in (
        lambda: resolving.propose(
            difference_id=row.pk, proposal=proposal(Resolution.FORCE), user_id=nobody.pk, now=LATER
        ),
        lambda: resolving.approve(difference_id=row.pk, user_id=nobody.pk, now=LATER),
        lambda: resolving.take_over(difference_id=row.pk, owner_id=None, user_id=nobody.pk, now=LATER),
        lambda: resolving.remark(difference_id=row.pk, text="x", user_id=nobody.pk, now=LATER),
        lambda: closing.sign_off(channel="wechat", day=DAY, user_id=nobody.pk, now=LATER),
        lambda: reviewing.review(run_id=run.pk, user_id=nobody.pk, remark=REASON, now=LATER),
    ):
        with pytest.raises(PermissionDenied):
            deed()
    row.refresh_from_db()
    assert (row.state, row.events.count()) == ("OPEN", 1)


def test_owner_and_remarks_leave_a_trail(provider: Provider, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)[1:]))
    row, user = Difference.objects.get(run=run), bills.staff()
    resolving.take_over(difference_id=row.pk, owner_id=user.pk, user_id=user.pk, now=LATER)
    file = adjusting.evidence()
    done = resolving.remark(difference_id=row.pk, text=" asked ", user_id=user.pk, now=LATER, evidence=[file])
    assert (done.owner_id, done.remark) == (user.pk, "asked")
    assert row.events.get(code="remark").evidence == [{"digest": file.digest, "name": file.name}]


# --- days -----------------------------------------------------------------------------------------------------------


def test_a_signed_off_day_is_reopened_for_a_late_row(provider: Provider, person: Employee, paid: list[str]) -> None:
    run = bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)))
    manager, maker = bills.staff(), bills.staff()
    close = closing.sign_off(channel="wechat", day=DAY, user_id=manager.pk, now=LATER)
    assert closing.sign_off(channel="wechat", day=DAY, user_id=manager.pk, now=LATER).pk == close.pk
    assert closing.watch_closed(now=LATER) == {"days": 1, "changed": 0}

    late = bills.render([*bills.rows_of(DAY), bills.row("LATE1", 55, NOON)])
    file = fetching.upload(run_id=run.pk, stream=io.BytesIO(late), name="l.csv", user_id=maker.pk, now=LATER)
    run.refresh_from_db()
    assert (run.state, run.file_id == file.pk, alerted("bill_after_sign_off")) == ("SIGNED_OFF", False, 1)
    with pytest.raises(trail.AlreadyDecided):
        fetching.retry(run_id=run.pk, user_id=maker.pk, now=LATER)

    closing.propose_reopening(close_id=close.pk, reason=REASON, user_id=maker.pk, now=LATER, file_id=file.pk)
    with pytest.raises(trail.SamePerson):
        closing.approve_reopening(close_id=close.pk, user_id=maker.pk, now=LATER)
    assert Run.objects.get(pk=run.pk).state == "SIGNED_OFF"
    opened = closing.approve_reopening(close_id=close.pk, user_id=manager.pk, now=LATER)
    assert (opened.state, opened.proposed_by_id, opened.reopened_by_id) == ("REOPENED", maker.pk, manager.pk)
    assert comparing.process(run_id=run.pk, now=LATER).state == "MATCHED"
    assert bills.found(run) == [("THEIRS_ONLY", "LATE1", 55)]
    with pytest.raises(closing.DayNotReviewed):
        closing.sign_off(channel="wechat", day=DAY, user_id=manager.pk, now=LATER)
    row = Difference.objects.get(run=run)
    resolving.propose(difference_id=row.pk, proposal=proposal(Resolution.SUSPENSE), user_id=maker.pk, now=LATER)
    resolving.approve(difference_id=row.pk, user_id=manager.pk, now=LATER)
    again = closing.sign_off(channel="wechat", day=DAY, user_id=manager.pk, now=LATER)
    assert (again.pk, again.state, again.round) == (close.pk, "SIGNED_OFF", 2)
    assert [event.code for event in close.events.order_by("pk")] == [
        "signed_off", "reopening_proposed", "reopened", "signed_off",
    ]  # fmt: skip


def test_a_payment_booked_into_a_signed_off_day_is_told(provider: Provider, person: Employee, paid: list[str]) -> None:
    unheard = open_attempt(person, 400)
    bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)))
    user = bills.staff()
    closing.sign_off(channel="wechat", day=DAY, user_id=user.pk, now=LATER)
    success = outcomes.Success(attempt_no=unheard, amount_fen=400, provider_no="P", paid_at=NOON)
    outcomes.record_success(success=success, now=LATER)
    assert closing.watch_closed(now=LATER) == {"days": 1, "changed": 1}
    assert alerted("closed_day_changed") == 1


def test_a_proposed_reopening_is_rejected(provider: Provider, paid: list[str]) -> None:
    bills.reconcile(provider, DAY, bills.render(bills.rows_of(DAY)))
    manager, maker = bills.staff(), bills.staff()
    close = closing.sign_off(channel="wechat", day=DAY, user_id=manager.pk, now=LATER)
    closing.propose_reopening(close_id=close.pk, reason=REASON, user_id=maker.pk, now=LATER)
    closing.reject_reopening(close_id=close.pk, reason=REASON, user_id=manager.pk, now=LATER)
    close = DayClose.objects.get(pk=close.pk)
    assert (close.state, close.proposed_by_id, Run.objects.get(day=DAY).state) == ("SIGNED_OFF", None, "SIGNED_OFF")


# --- planning, command ----------------------------------------------------------------------------------------------


def test_runs_are_planned_once_at_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.registry, "payment_channels", lambda: ("kuaiqian", "wechat"))
    offered = {"wechat": frozenset(BillKind), "kuaiqian": frozenset()}
    monkeypatch.setattr(calls, "list_bill_kinds", lambda *, channel: offered[channel])
    before = planning.plan_due(now=MORNING.replace(hour=1, minute=59))
    assert {(run.day, run.kind) for run in before} == {
        (DAY - dt.timedelta(days=back), kind) for back in (1, 2, 3) for kind in ("TRADE", "FUND_FLOW")
    }
    assert {(run.day, run.kind) for run in planning.plan_due(now=MORNING.replace(hour=2, minute=0))} == {
        (DAY, "TRADE"), (DAY, "FUND_FLOW"),
    }  # fmt: skip
    assert planning.plan_due(now=MORNING) == []
    with pytest.raises(InvalidRequest):
        planning.plan_run(channel="wechat", kind=BillKind.TRADE, day=NEXT, now=MORNING)


def test_the_command_reconciles_a_day(
    provider: Provider, paid: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "bill.csv"
    path.write_bytes(bills.render([*bills.rows_of(DAY), bills.row("EXTRA1", 77, NOON)]))
    options = {"day": DAY, "channel": "wechat", "kind": "TRADE"}
    with worlds.clock.frozen(LATER):
        call_command("reconcile", **options)
        assert "no bill to compare (not_ready)" in capsys.readouterr().out
        call_command("reconcile", **options, file=str(path))
    output = capsys.readouterr()
    assert "ours 3, theirs 4, matched 3, carried over 0, different 1, problems 0" in output.out
    assert "  THEIRS_ONLY EXTRA1 77 fen" in output.out
    assert output.err == ""  # no terminal, no bar
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    with worlds.clock.frozen(LATER):
        call_command("reconcile", **options, file=str(path), stderr=terminal)
    assert terminal.getvalue() == "\rdone     [##############################]          4 rows\n"
    with pytest.raises(CommandError):
        call_command("reconcile", day=DAY, channel="wechat", file=str(path))
    assert Run.objects.get(day=DAY).state == RunState.MATCHED
