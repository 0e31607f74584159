"""The order list of the admin over real MariaDB: filters, dates, totals, pages and search, however many rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import re
import uuid
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from foundation.db import roles
from orders.domain.numbers import Prefix, compose, table_of
from orders.domain.records import NewOrder
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.selectors import staff
from orders.services import advancing, numbers, opening

pytestmark = pytest.mark.django_db(databases="__all__")
LIST = reverse("admin:orders_orderindex_changelist")
NOW = dt.datetime(2031, 5, 20, 2, 0, tzinfo=dt.UTC)
"""10:00 in Shanghai; a year in which no other test has orders."""
_ids = itertools.count(uuid.uuid4().int % 10**12)


@pytest.fixture
def auditor() -> Client:
    """May look at orders and at nothing else."""
    user = User.objects.create_user(f"auditor-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_orderindex"))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def make(
    *,
    at: dt.datetime = NOW,
    employee: int | None = None,
    enterprise: int = 1,
    kind: OrderKind = OrderKind.RECHARGE,
    amount: int = 100,
    channel: str = "",
    state: OrderState | None = None,
    business_no: str = "",
    original: str = "",
) -> str:
    """An order, with an attempt when a channel is named."""
    employee = employee or next(_ids)
    order_no = numbers.issue(prefix=Prefix.RECHARGE, account_id=employee)
    new = NewOrder(
        order_no=order_no,
        kind=kind,
        amount_fen=amount,
        employee_id=employee,
        enterprise_id=enterprise,
        business_no=business_no,
        original_order_no=original,
    )
    opening.open_order(new=new, now=at)
    if channel:
        attempt_no = numbers.issue_attempt(order_no=order_no)
        opening.open_attempt(
            order_no=order_no, attempt_no=attempt_no, channel=channel, scene="", amount_fen=amount, now=at
        )
    if state is not None:
        advancing.advance_order(order_no=order_no, target=state)
    return order_no


def page(client: Client, **query: Any) -> Any:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, (query, answer.status_code)
    return answer


def follow(client: Client, address: str) -> Any:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer


def listed(answer: Any) -> list[str]:
    return [row["order"].order_no for row in answer.context["rows"]]


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


# --- Filters and totals ----------------------------------------------------------------------------------------------


def test_each_filter_lets_through_exactly_its_orders(auditor: Client) -> None:
    employee, enterprise = next(_ids), next(_ids)
    common = {"employee": employee, "enterprise": enterprise}
    first = make(**common, amount=12_345, channel="wechat", state=OrderState.SUCCESS)
    second = make(**common, amount=12_346, channel="alipay", kind=OrderKind.PAYMENT, at=NOW + dt.timedelta(minutes=1))
    third = make(enterprise=enterprise, amount=99, at=NOW + dt.timedelta(days=1))
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({"enterprise": enterprise}, [third, second, first]),
        ({"employee": employee}, [second, first]),
        ({"enterprise": enterprise, "kind": "PAYMENT"}, [second]),
        ({"enterprise": enterprise, "state": "SUCCESS"}, [first]),
        ({"enterprise": enterprise, "channel": "alipay"}, [second]),
        ({"enterprise": enterprise, "amount_from": "123.45", "amount_to": "123.45"}, [first]),
        ({"enterprise": enterprise, "amount_from": "¥123.46"}, [second]),
        ({"enterprise": enterprise, "amount_to": "0.99"}, [third]),
        ({"enterprise": enterprise, "amount_from": "1,234.00"}, []),
        ({"enterprise": enterprise, "created_from": "2031-05-21"}, [third]),
        ({"enterprise": enterprise, "created_to": "2031-05-20"}, [second, first]),
        ({"enterprise": enterprise, "created_to": "2031-05-20 10:00"}, [first]),
        ({"enterprise": enterprise, "created_from": "2031-05-20T10:01", "created_to": "2031-05-20 10:01:00"}, [second]),
        ({"enterprise": enterprise, "on": "2031"}, [third, second, first]),
        ({"enterprise": enterprise, "on": "2031-05-21"}, [third]),
        ({"enterprise": enterprise, "on": "2031-04"}, []),
    ]
    for query, expected in cases:
        answer = page(auditor, **query)
        assert listed(answer) == expected, query
        totals = answer.context["sums"]["totals"]
        assert totals.count == len(expected), query
        assert not (totals.is_about or totals.is_more), query


def test_business_days_are_those_of_shanghai(auditor: Client) -> None:
    enterprise = next(_ids)
    midnight = dt.datetime(2031, 5, 19, 16, 0, tzinfo=dt.UTC)
    before = make(enterprise=enterprise, at=midnight - dt.timedelta(microseconds=1))
    after = make(enterprise=enterprise, at=midnight)
    assert listed(page(auditor, enterprise=enterprise, on="2031-05-19")) == [before]
    assert listed(page(auditor, enterprise=enterprise, created_from="2031-05-20")) == [after]


def test_totals_of_filter_and_page_are_exact_and_in_yuan(auditor: Client) -> None:
    enterprise = next(_ids)
    paid = make(enterprise=enterprise, amount=123_456_789, state=OrderState.SUCCESS)
    for _ in range(24):
        make(enterprise=enterprise, amount=10, at=NOW + dt.timedelta(seconds=1))
    opening.in_transaction(paid, lambda: advancing.reserve_refund(order_no=paid, amount_fen=5_000))
    opening.in_transaction(paid, lambda: advancing.finish_refund(order_no=paid, amount_fen=5_000, is_refunded=True))
    answer = page(auditor, enterprise=enterprise)
    shown = text_of(answer)
    assert "25 orders · amount ¥1,234,570.29 · refunded ¥50.00" in shown
    assert "This page: 20 orders ¥2.00 ¥0.00" in shown
    assert "123456789" not in shown
    exact = page(auditor, enterprise=enterprise, wait=1)
    assert "25 orders · amount ¥1,234,570.29 · refunded ¥50.00" in text_of(exact)


def test_chips_take_away_one_filter_each_and_lead_back_to_the_newest_page(auditor: Client) -> None:
    answer = page(auditor, enterprise=7, state="SUCCESS", amount_from="1.5", on="2031-05", page="3")
    chips = {chip.text: chip.url for chip in answer.context["chips"]}
    assert list(chips) == ["State: success", "Enterprise: 7", "Amount from: ¥1.50", "Date: May 2031"]
    assert chips["State: success"] == f"{LIST}?enterprise=7&amount_from=1.5&on=2031-05"
    assert chips["Date: May 2031"] == f"{LIST}?state=SUCCESS&enterprise=7&amount_from=1.5"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "NOTHING"),
        ("state", "'; DROP TABLE orders_order_00; --"),
        ("channel", "微信"),
        ("channel", "%"),
        ("enterprise", "abc"),
        ("enterprise", "0"),
        ("employee", "9" * 40),
        ("employee", "-1"),
        ("amount_from", "1.234"),
        ("amount_from", "1e5"),
        ("amount_to", "-5"),
        ("amount_to", "99999999999999"),
        ("created_from", "2031-13-01"),
        ("created_from", "yesterday"),
        ("created_to", "0001-01-01"),
        ("created_to", "9999-12-31"),
    ],
)
def test_a_filter_that_cannot_be_read_shows_its_error_and_no_orders(auditor: Client, field: str, value: str) -> None:
    make()
    answer = page(auditor, **{field: value})
    assert field in answer.context["form"].errors
    assert "No orders are shown" in text_of(answer)
    assert "result_list" not in answer.content.decode()


def test_bounds_the_wrong_way_round_are_refused(auditor: Client) -> None:
    form = page(auditor, amount_from="2", amount_to="1", created_from="2031-05-02", created_to="2031-05-01")
    assert set(form.context["form"].errors) == {"amount_to", "created_to"}


@pytest.mark.parametrize(
    "query",
    [
        {"page": "0"},
        {"page": "-1"},
        {"page": "²"},
        {"page": "x"},
        {"page": "9" * 30},
        {"page": "2", "as_of": "x"},
        {"page": "2", "as_of": f"{'9' * 17}."},
        {"older": "x"},
        {"older": "99999999999999999."},
        {"older": "1.'"},
        {"newer": "\x00"},
        {"on": "2031-02-30"},
        {"on": "2031-00"},
        {"on": "x"},
        {"wait": "x"},
        {"q": "%"},
        {"q": "订单"},
        {"q": "\x00"},
        {"q": "a" * 500},
        {"q": "'; --"},
        {"nonsense": "1"},
    ],
)
def test_nothing_that_can_be_typed_breaks_the_list(auditor: Client, query: dict[str, str]) -> None:
    make()
    assert auditor.get(LIST, query).status_code == 200


# --- Dates -----------------------------------------------------------------------------------------------------------


def test_dates_lead_from_years_to_months_to_counted_days(auditor: Client) -> None:
    enterprise = next(_ids)
    make(enterprise=enterprise, at=dt.datetime(2030, 12, 31, 15, 59, 59, tzinfo=dt.UTC))
    for day in (2, 2, 30):
        make(enterprise=enterprise, at=dt.datetime(2031, 5, day, 1, tzinfo=dt.UTC))
    years = page(auditor, enterprise=enterprise).context["calendar"]
    assert {"2030", "2031"} <= {link.text for link in years.links}
    assert years.up is None
    year = page(auditor, enterprise=enterprise, on="2031").context["calendar"]
    assert year.up.text == "All dates"
    assert "May 2031" in [link.text for link in year.links]
    assert "February 2032" not in [link.text for link in year.links]
    answer = page(auditor, enterprise=enterprise, on="2031-05")
    month = answer.context["calendar"]
    assert {link.text: link.count for link in month.links if link.count} == {"2": 2, "30": 1}
    assert (month.current, month.up.text, month.is_uncounted) == ("May 2031", "2031", False)
    assert {link.text: link.url for link in month.links}["3"] == ""
    day = page(auditor, enterprise=enterprise, on="2031-05-02")
    assert len(listed(day)) == 2
    assert day.context["calendar"].up.text == "May 2031"
    assert [link.text for link in day.context["calendar"].links if link.is_current] == ["May 2"]


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tied() -> tuple[int, list[str]]:
    """An enterprise with 90 orders, eight at each moment; their numbers, newest first."""
    enterprise = next(_ids)
    made = []
    for index in range(90):
        at = NOW + dt.timedelta(microseconds=index // 8)
        made.append((at, make(enterprise=enterprise, at=at)))
    return enterprise, [number for _, number in sorted(made, reverse=True)]


def test_older_and_newer_show_every_order_once_over_ties(auditor: Client, tied: tuple[int, list[str]]) -> None:
    enterprise, expected = tied
    answer = page(auditor, enterprise=enterprise)
    down, steps = listed(answer), 1
    while answer.context["pager"].older:
        answer = follow(auditor, answer.context["pager"].older)
        down += listed(answer)
        steps += 1
    assert down == expected
    assert steps == 5
    up = [listed(answer)]
    while answer.context["pager"].newer:
        answer = follow(auditor, answer.context["pager"].newer)
        up.append(listed(answer))
    assert up[0] + up[1] == expected[80:] + expected[60:80]
    assert up[-1] == expected[:20]
    assert {number for part in up for number in part} == set(expected)


@pytest.mark.parametrize("merged", [0, 200])
def test_the_same_place_shows_the_same_orders_while_new_ones_arrive(
    auditor: Client, tied: tuple[int, list[str]], merged: int
) -> None:
    enterprise, expected = tied
    first = page(auditor, enterprise=enterprise)
    make(enterprise=enterprise, at=NOW + dt.timedelta(days=1))
    assert listed(follow(auditor, first.context["pager"].older)) == expected[20:40]
    moment = int((NOW + dt.timedelta(hours=1)).timestamp() * 1_000_000)
    pinned = {"enterprise": enterprise, "as_of": f"{moment}."}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orders.admin.clock.now", lambda: NOW + dt.timedelta(days=2))
        patch.setattr(staff, "MERGED_OFFSET", merged)
        for number in (2, 3, 4, 5):
            assert listed(page(auditor, page=number, **pinned)) == expected[number * 20 - 20 : number * 20]
        assert listed(page(auditor, page=6, **pinned)) == []


def test_numbered_pages_agree_with_the_cursor_and_name_the_last(auditor: Client, tied: tuple[int, list[str]]) -> None:
    enterprise, expected = tied
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orders.admin.clock.now", lambda: NOW + dt.timedelta(days=2))
        first = page(auditor, enterprise=enterprise)
        links = {link.text: link.url for link in first.context["pager"].pages if link}
        assert list(links) == ["1", "2", "3", "5"]
        fifth = follow(auditor, links["5"])
        assert listed(fifth) == expected[80:]
        assert fifth.context["pager"].older == ""
        third = follow(auditor, {link.text: link.url for link in fifth.context["pager"].pages if link}["3"])
        assert listed(third) == expected[40:60]
        assert listed(follow(auditor, third.context["pager"].older)) == expected[60:80]
        assert listed(follow(auditor, third.context["pager"].newer)) == expected[20:40]


def test_past_the_cap_the_last_numbered_page_says_how_to_go_on(
    auditor: Client, tied: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    enterprise, expected = tied
    monkeypatch.setattr(staff, "MAX_PAGE", 3)
    monkeypatch.setattr("orders.admin.clock.now", lambda: NOW + dt.timedelta(days=2))
    answer = page(auditor, enterprise=enterprise, page=4)
    assert listed(answer) == expected[40:60]
    assert "Numbered pages end at 3" in text_of(answer)
    assert [link.text for link in answer.context["pager"].pages if link] == ["1", "2", "3"]
    assert listed(follow(auditor, answer.context["pager"].older)) == expected[60:80]


# --- What takes too long ---------------------------------------------------------------------------------------------


def test_the_server_ends_a_statement_that_takes_too_long() -> None:
    with pytest.raises(staff.TooSlow):
        staff._run(roles.orders_alias(0), "SELECT SLEEP(5) FROM orders_tableplace", [], seconds=0.05)
    with pytest.raises(OperationalError):
        staff._run(roles.orders_alias(0), "SELECT nothing FROM orders_tableplace", [], seconds=1)


def too_slow_for(*shapes: str) -> Any:
    """A stand-in for the statements that gives up on texts with one of these pieces."""
    real = staff._everywhere

    def ask(branch: str, values: Any = (), *, seconds: float | None = None) -> Any:
        if seconds is not None and any(shape in branch for shape in shapes):
            raise staff.TooSlow
        return real(branch, values, seconds=seconds)

    return ask


def test_what_cannot_be_counted_in_time_is_said_not_failed(
    auditor: Client, tied: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    enterprise, expected = tied
    monkeypatch.setattr(staff, "_everywhere", too_slow_for("COUNT(*)"))
    monkeypatch.setattr(staff, "MERGED_OFFSET", 0)
    monkeypatch.setattr("orders.admin.clock.now", lambda: NOW + dt.timedelta(days=2))
    answer = page(auditor, enterprise=enterprise, on="2031-05")
    assert listed(answer) == expected[:20]
    shown = text_of(answer)
    assert "not counted; narrow the filter" in shown
    assert "The days were not counted" in shown
    assert "20" in [link.text for link in answer.context["calendar"].links if link.url]
    full = page(auditor, enterprise=enterprise, wait=1)
    assert "not counted within some seconds" in text_of(full)
    deep = page(auditor, enterprise=enterprise, page=3)
    assert listed(deep) == []
    assert "This page took too long to find" in text_of(deep)
    assert "No order found" not in text_of(deep)


def test_more_orders_than_are_counted_unasked_are_more_than(
    auditor: Client, tied: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    enterprise, made = tied
    monkeypatch.setattr(staff, "COUNTED_ORDERS", 2)
    answer = page(auditor, enterprise=enterprise)
    per_table = Counter(table_of(order_no) for order_no in made)
    assert f"more than {sum(min(count, 2) for count in per_table.values())} orders" in text_of(answer)
    assert answer.context["sums"]["totals"].is_more
    assert "90 orders · amount ¥90.00" in text_of(follow(auditor, answer.context["patient"]))


def test_the_unfiltered_list_takes_its_number_from_statistics(auditor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    monkeypatch.setattr(staff, "_about_all", lambda: 10_000_000)
    assert "about 10,000,000 orders" in text_of(page(auditor))


def test_a_filter_that_finds_little_is_searched_span_by_span_and_misses_nothing(
    auditor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    enterprise = next(_ids)
    old = make(enterprise=enterprise, at=NOW - dt.timedelta(days=40))
    older = make(enterprise=enterprise, at=NOW - dt.timedelta(days=70))
    new = make(enterprise=enterprise, at=NOW)
    make(at=NOW + dt.timedelta(days=1))
    real = staff._everywhere

    def ask(branch: str, values: Any = (), *, seconds: float | None = None) -> Any:
        if "ORDER BY" in branch and seconds == staff.USUAL.list and "created_at >= %s" not in branch:
            raise staff.TooSlow
        return real(branch, values, seconds=seconds)

    monkeypatch.setattr(staff, "_everywhere", ask)
    answer = page(auditor, enterprise=enterprise)
    assert listed(answer) == [new]
    assert "Few orders match" in text_of(answer)
    seen, steps = listed(answer), 0
    while set(seen) != {new, old, older} and steps < 6:
        answer = follow(auditor, answer.context["pager"].older)
        seen += listed(answer)
        steps += 1
    assert seen == [new, old, older]


# --- Search ----------------------------------------------------------------------------------------------------------


def leads_to(client: Client, text: str) -> str:
    answer = client.get(LIST, {"q": text})
    assert answer.status_code == 302, text
    return answer.headers["Location"]


def test_every_number_leads_straight_to_the_one_order(auditor: Client) -> None:
    business_no, provider_no = uuid.uuid4().hex, f"42{uuid.uuid4().int % 10**20}"
    order_no = make(business_no=business_no)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    opening.open_attempt(order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="", amount_fen=100, now=NOW)
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.SUCCESS, fields={"provider_no": provider_no})
    address = reverse("admin:orders_orderindex_change", args=[order_no])
    for text in (order_no, f"  {order_no} ", attempt_no, provider_no, business_no, order_no[:31]):
        assert leads_to(auditor, text) == address


def test_the_original_number_finds_the_original_and_its_refunds(auditor: Client) -> None:
    original = make()
    refund = make(original=original, kind=OrderKind.RETURN, at=NOW + dt.timedelta(seconds=1))
    assert listed(page(auditor, q=original)) == [refund, original]


def test_the_beginning_of_an_order_number_needs_eight_characters(auditor: Client) -> None:
    made = [
        compose(prefix=Prefix.COLLECT, version="1", node_id=46_000, gene=0, account_id=1, epoch_ms=ms, counter=1)
        for ms in (1_900_000_000_000, 1_900_000_000_001)
    ]
    for order_no in made:
        new = NewOrder(
            order_no=order_no, kind=OrderKind.RECHARGE, amount_fen=1, employee_id=next(_ids), enterprise_id=1
        )
        opening.open_order(new=new, now=NOW)
    assert sorted(listed(page(auditor, q=made[0][:8]))) == sorted(made)
    assert listed(page(auditor, q=made[0][:7])) == []
    assert "No order has this number" in text_of(page(auditor, q=made[0][:7]))


def test_a_search_with_too_many_answers_shows_the_newest_and_says_so(
    auditor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "SEARCH_LIMIT", 3)
    business_no = uuid.uuid4().hex
    made = [make(business_no=business_no, at=NOW + dt.timedelta(seconds=index)) for index in range(5)]
    answer = page(auditor, q=business_no)
    assert listed(answer) == made[:1:-1]
    assert "More than 3 orders match" in text_of(answer)


# --- Bounds and permission -------------------------------------------------------------------------------------------


@pytest.fixture
def count_queries() -> Any:
    """Runs a request and answers how many statements it took on all databases together."""

    def count(client: Client, address: str, query: dict[str, Any]) -> int:
        with ExitStack() as stack:
            captured = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in roles.all_aliases()]
            assert client.get(address, query).status_code == 200
        return sum(len(queries) for queries in captured)

    return count


def test_the_number_of_statements_does_not_grow_with_the_rows(
    auditor: Client, count_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which way to the rows is tried next depends on the time the first one took: here every one has all it needs.
    endless = {part.name: 60.0 for part in dataclasses.fields(staff.Patience)}
    monkeypatch.setattr(staff, "USUAL", staff.Patience(**endless))
    enterprise = next(_ids)
    cases: list[dict[str, Any]] = [
        {},
        {"enterprise": enterprise},
        {"enterprise": enterprise, "on": "2031-05"},
        {"enterprise": enterprise, "page": 2},
        {"q": "RC1000"},
    ]
    for index in range(20):
        make(enterprise=enterprise, at=NOW + dt.timedelta(seconds=index))
    few = [count_queries(auditor, LIST, query) for query in cases]
    for index in range(60):
        make(enterprise=enterprise, at=NOW + dt.timedelta(seconds=index))
    many = [count_queries(auditor, LIST, query) for query in cases]
    bound = 4 + 6 * len(roles.order_aliases())
    assert max(few + many) <= bound
    assert many[0] < bound
    assert all(after <= max(before, bound) for before, after in zip(few, many, strict=True))


@pytest.mark.parametrize("may", [False, True])
def test_only_who_may_see_orders_sees_the_list(may: bool) -> None:
    user = User.objects.create_user(f"clerk-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    if may:
        user.user_permissions.add(Permission.objects.get(codename="view_orderindex"))
    client = Client()
    client.force_login(user)
    order_no = make()
    expected = 200 if may else 403
    assert client.get(LIST).status_code == expected
    assert client.get(LIST, {"q": "x"}).status_code == expected
    assert client.get(reverse("admin:orders_orderindex_change", args=[order_no])).status_code == expected
    assert Client().get(LIST).status_code == 302
