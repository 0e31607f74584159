"""The roll-up of every day: kept with each collection, by whatever it is split; what it says is what was collected."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError

from collect import selectors
from collect.models import Collection, DayFigure
from collect.selectors import By, Figures
from foundation import clock
from tests.integration.collect.codes_and_collections import Shop, code_of, give_back, opened, paid, shop

pytestmark = pytest.mark.django_db(databases="__all__")
DAY = dt.date(2026, 11, 22)
LAST_SECOND = dt.datetime(2026, 11, 22, 15, 59, 59, tzinfo=dt.UTC)
"""23:59:59 in Shanghai."""


@pytest.fixture
def here() -> Shop:
    return shop()


def statistics(here: Shop, by: By, **more: object) -> dict:
    return selectors.get_statistics(
        enterprise_id=here.manager.enterprise_id,
        first=DAY,
        last=DAY + dt.timedelta(days=1),
        by=by,
        **more,  # type: ignore[arg-type]
    )


def test_every_split_adds_up_to_what_was_collected(here: Shop) -> None:
    stand, till = code_of(here.manager), code_of(here.cashier, subject="Till")
    orders = [
        code_of(here.cashier, is_once=True, amount_fen=700),
        code_of(here.cashier, is_once=True, amount_fen=700),
    ]
    first = paid(stand, here.wechat, amount_fen=1_000, at=LAST_SECOND)
    paid(stand, here.alipay, amount_fen=250, at=LAST_SECOND)
    paid(till, here.wechat, amount_fen=400, at=LAST_SECOND + dt.timedelta(seconds=1))
    for code in orders:
        paid(code, here.alipay, amount_fen=700, at=LAST_SECOND)
    opened(stand, here.wechat, amount_fen=9_999, at=LAST_SECOND)
    paid(code_of(shop().manager), here.wechat, amount_fen=5, at=LAST_SECOND)  # another enterprise's code
    give_back(first, 300)

    by_day = statistics(here, By.DAY)
    assert by_day == {
        DAY: Figures(count=4, amount_fen=2_650, refunded_fen=300),
        DAY + dt.timedelta(days=1): Figures(count=1, amount_fen=400),
    }
    assert list(by_day) == [DAY, DAY + dt.timedelta(days=1)]
    assert statistics(here, By.CHANNEL) == {
        "alipay": Figures(count=3, amount_fen=1_650),
        "wechat": Figures(count=2, amount_fen=1_400, refunded_fen=300),
    }
    assert statistics(here, By.CODE) == {
        "": Figures(count=2, amount_fen=1_400),
        stand.pk: Figures(count=2, amount_fen=1_250, refunded_fen=300),
        till.pk: Figures(count=1, amount_fen=400),
    }
    assert statistics(here, By.EMPLOYEE) == {
        here.cashier.pk: Figures(count=3, amount_fen=1_800),
        here.manager.pk: Figures(count=2, amount_fen=1_250, refunded_fen=300),
    }
    assert statistics(here, By.DAY, employee_id=here.cashier.pk)[DAY] == Figures(count=2, amount_fen=1_400)
    for day, figures in by_day.items():
        assert selectors.count_again(enterprise_id=here.manager.enterprise_id, day=day) == figures


def test_a_refund_months_later_lowers_the_day_it_takes_from(here: Shop) -> None:
    row = paid(code_of(here.manager), here.wechat, amount_fen=1_000, at=LAST_SECOND)
    give_back(row, 400)
    give_back(row, 600)
    assert row.state == "REFUNDED"
    assert statistics(here, By.DAY) == {DAY: Figures(count=1, amount_fen=1_000, refunded_fen=1_000)}


def test_what_is_undone_is_not_counted_and_other_changes_count_nothing(here: Shop) -> None:
    code = code_of(here.manager)
    with pytest.raises(RuntimeError), transaction.atomic():
        paid(code, here.wechat, at=LAST_SECOND)
        raise RuntimeError
    assert statistics(here, By.DAY) == {}
    row = paid(code, here.wechat, at=LAST_SECOND)
    Collection.objects.filter(pk=row.pk).update(provider_no="4200")
    assert statistics(here, By.DAY) == {DAY: Figures(count=1, amount_fen=1_000)}
    closed = opened(code, here.wechat, at=LAST_SECOND)
    Collection.objects.filter(pk=closed.pk).update(state="CLOSED", ended_at=LAST_SECOND)
    assert statistics(here, By.DAY) == {DAY: Figures(count=1, amount_fen=1_000)}


def test_the_roll_up_cannot_say_that_more_was_given_back_than_collected(here: Shop) -> None:
    paid(code_of(here.manager), here.wechat, amount_fen=1_000, at=LAST_SECOND)
    with pytest.raises(IntegrityError), transaction.atomic():
        DayFigure.objects.filter(enterprise_id=here.manager.enterprise_id).update(refunded_fen=1_001)


def test_statistics_read_the_roll_up_by_its_index_and_nothing_else(here: Shop) -> None:
    paid(code_of(here.manager), here.wechat, at=LAST_SECOND)
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN SELECT day, SUM(count) FROM collect_dayfigure "
            "WHERE enterprise_id = %s AND day BETWEEN %s AND %s GROUP BY day",
            [here.manager.enterprise_id, DAY, DAY],
        )
        plan = str(cursor.fetchall())
    assert "PRIMARY" in plan
    assert "temporary" not in plan


def test_more_days_than_a_year_are_refused(here: Shop) -> None:
    for first, last in ((DAY, DAY + dt.timedelta(days=366)), (DAY, DAY - dt.timedelta(days=1))):
        with pytest.raises(ValueError, match="at most 366 days"):
            selectors.get_statistics(enterprise_id=here.manager.enterprise_id, first=first, last=last, by=By.DAY)


@pytest.mark.parametrize(
    ("month", "first", "last"),
    [
        (dt.date(2026, 2, 1), dt.date(2026, 2, 1), dt.date(2026, 2, 28)),
        (dt.date(2028, 2, 1), dt.date(2028, 2, 1), dt.date(2028, 2, 29)),
        (dt.date(2026, 12, 1), dt.date(2026, 12, 1), dt.date(2026, 12, 31)),
    ],
)
def test_days_of_a_month(month: dt.date, first: dt.date, last: dt.date) -> None:
    assert selectors.month_days(month) == (first, last)


def test_the_business_day_is_that_of_shanghai() -> None:
    assert clock.business_date(LAST_SECOND) == DAY
