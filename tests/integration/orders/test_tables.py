"""16 order tables over two databases: numbers lead to rows, wrong tables are refused, states move along their table."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import uuid
from multiprocessing import get_context

import pytest
from django.db import DatabaseError, connections, transaction
from pytest_django import Settings

from foundation import nodes
from foundation.db import roles
from foundation.errors import NotFound
from orders import selectors
from orders.domain import numbers as rules
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, WrongTable
from orders.services import advancing, numbers, opening
from tests import worlds

NOW = worlds.NOW
database = pytest.mark.django_db(databases="__all__")
_ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


def open_order(employee_id: int, *, at: dt.datetime = NOW, **more: object) -> OrderRecord:
    new = NewOrder(
        order_no=numbers.issue(prefix=Prefix.RECHARGE, account_id=employee_id),
        kind=OrderKind.RECHARGE,
        amount_fen=100,
        employee_id=employee_id,
        enterprise_id=1,
        **more,  # type: ignore[arg-type]
    )
    return opening.open_order(new=new, now=at)


@database
def test_rows_stand_in_the_table_and_database_their_number_names() -> None:
    for _ in range(40):
        order = open_order(next(_ids))
        table = rules.table_of(order.order_no)
        assert ORDER_TABLES[table].objects.filter(pk=order.order_no).exists()
        assert roles.orders_alias(table) == roles.order_aliases()[table % len(roles.order_aliases())]
        assert ORDER_TABLES[table].objects.db == roles.order_aliases()[table % len(roles.order_aliases())]


@database
def test_attempts_stand_beside_their_order_and_are_found_by_their_own_number() -> None:
    order = open_order(next(_ids))
    attempt_no = numbers.issue_attempt(order_no=order.order_no)
    opening.open_attempt(
        order_no=order.order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=100, now=NOW
    )
    assert rules.table_of(attempt_no) == rules.table_of(order.order_no)
    assert selectors.get_attempt(attempt_no=attempt_no).order_no == order.order_no


@database
def test_the_model_refuses_a_row_in_the_wrong_table() -> None:
    order_no = numbers.issue(prefix=Prefix.RECHARGE, account_id=1)
    wrong = ORDER_TABLES[(rules.table_of(order_no) + 1) % 16]
    with pytest.raises(WrongTable):
        wrong(order_no=order_no, kind="RECHARGE", state="PENDING", amount_fen=1, employee_id=1, created_at=NOW).save()


@database
@pytest.mark.parametrize("name", ["order", "attempt"])
def test_mariadb_refuses_a_row_in_the_wrong_table(name: str) -> None:
    order_no = numbers.issue(prefix=Prefix.RECHARGE, account_id=1)
    wrong = (rules.table_of(order_no) + 1) % 16
    alias = roles.orders_alias(wrong)
    order = ORDER_TABLES[wrong](
        order_no=order_no,
        kind="RECHARGE",
        state="PENDING",
        amount_fen=1,
        employee_id=1,
        enterprise_id=1,
        created_at=NOW,
    )
    attempt = ATTEMPT_TABLES[wrong](
        attempt_no=numbers.issue_attempt(order_no=order_no),
        order_no=order_no,
        channel="wechat",
        state="CREATED",
        amount_fen=1,
        created_at=NOW,
    )
    row = order if name == "order" else attempt
    with pytest.raises(DatabaseError, match="CONSTRAINT"), transaction.atomic(using=alias):
        type(row).objects.using(alias).bulk_create([row])


@database
def test_opening_again_returns_the_first_and_another_amount_is_a_conflict() -> None:
    order = open_order(next(_ids))
    same = NewOrder(
        order_no=order.order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=100,
        employee_id=order.employee_id,
        enterprise_id=1,
    )
    assert opening.open_order(new=same, now=NOW) == order
    other = NewOrder(
        order_no=order.order_no, kind=OrderKind.RECHARGE, amount_fen=101, employee_id=order.employee_id, enterprise_id=1
    )
    with pytest.raises(opening.OrderConflict):
        opening.open_order(new=other, now=NOW)


@database
@pytest.mark.parametrize("start", list(OrderState))
@pytest.mark.parametrize("target", list(OrderState))
def test_moves_follow_the_table(start: OrderState, target: OrderState) -> None:
    from orders.domain.states import ORDER_MOVES

    order = open_order(next(_ids))
    ORDER_TABLES[rules.table_of(order.order_no)].objects.filter(pk=order.order_no).update(state=start)
    if target in ORDER_MOVES[start]:
        assert advancing.advance_order(order_no=order.order_no, target=target) is True
        assert selectors.get_order(order_no=order.order_no).state is target
    elif target == start:
        assert advancing.advance_order(order_no=order.order_no, target=target) is False
    else:
        with pytest.raises(advancing.IllegalMove):
            advancing.advance_order(order_no=order.order_no, target=target)
        assert selectors.get_order(order_no=order.order_no).state is start


@database
def test_an_order_has_one_effective_attempt() -> None:
    order = open_order(next(_ids))
    made = []
    for _ in range(2):
        attempt_no = numbers.issue_attempt(order_no=order.order_no)
        opening.open_attempt(
            order_no=order.order_no, attempt_no=attempt_no, channel="wechat", scene="", amount_fen=100, now=NOW
        )
        made.append(attempt_no)
    advancing.advance_attempt(attempt_no=made[0], target=AttemptState.SUCCESS, fields={"effective": 1})
    alias = selectors.order_alias(order.order_no)
    with pytest.raises(DatabaseError), transaction.atomic(using=alias):
        advancing.advance_attempt(attempt_no=made[1], target=AttemptState.SUCCESS, fields={"effective": 1})


@database
def test_refunds_are_reserved_up_to_the_amount_and_no_further() -> None:
    order = open_order(next(_ids))

    def reserve(amount_fen: int) -> None:
        opening.in_transaction(
            order.order_no, lambda: advancing.reserve_refund(order_no=order.order_no, amount_fen=amount_fen)
        )

    with pytest.raises(advancing.RefundTooLarge):
        reserve(1)
    advancing.advance_order(order_no=order.order_no, target=OrderState.SUCCESS)
    reserve(60)
    with pytest.raises(advancing.RefundTooLarge):
        reserve(41)
    reserve(40)
    opening.in_transaction(
        order.order_no,
        lambda: advancing.finish_refund(order_no=order.order_no, amount_fen=60, is_refunded=True),
    )
    opening.in_transaction(
        order.order_no,
        lambda: advancing.finish_refund(order_no=order.order_no, amount_fen=40, is_refunded=False),
    )
    present = selectors.get_order(order_no=order.order_no)
    assert (present.refunding_fen, present.refunded_fen) == (0, 60)


@database
def test_list_pages_over_all_tables_are_complete_ordered_and_stable_for_equal_times() -> None:
    employee_id = next(_ids)
    made = [open_order(employee_id, at=NOW + dt.timedelta(seconds=index // 5)).order_no for index in range(37)]
    seen: list[tuple[dt.datetime, str]] = []
    before = None
    while True:
        page = selectors.list_orders(employee_id=employee_id, limit=10, before=before)
        seen += [(order.created_at, order.order_no) for order in page.items]
        before = page.next_after
        if before is None:
            break
    assert sorted(number for _, number in seen) == sorted(made)
    assert seen == sorted(seen, reverse=True)


@database
def test_numbered_pages_over_all_tables_have_the_total_and_agree_with_the_cursor() -> None:
    employee_id = next(_ids)
    for index in range(53):
        open_order(employee_id, at=NOW + dt.timedelta(seconds=index // 4))
    whole = [order.order_no for order in selectors.list_orders(employee_id=employee_id, limit=100).items]
    as_of = NOW + dt.timedelta(hours=1)
    for size in (1, 7, 20, 53, 60):
        seen: list[str] = []
        for page in range(1, 53 // size + 3):
            answer = selectors.page_orders(employee_id=employee_id, page=page, page_size=size, as_of=as_of)
            assert answer.total == 53
            assert len(answer.items) <= size
            seen += [order.order_no for order in answer.items]
        assert seen == whole


@database
def test_numbered_pages_hold_still_while_new_orders_arrive() -> None:
    employee_id = next(_ids)
    first = [open_order(employee_id, at=NOW + dt.timedelta(seconds=index)).order_no for index in range(6)]
    as_of = NOW + dt.timedelta(seconds=5)
    open_order(employee_id, at=NOW + dt.timedelta(seconds=9))
    answer = selectors.page_orders(employee_id=employee_id, page=2, page_size=4, as_of=as_of)
    assert ([order.order_no for order in answer.items], answer.total) == ([first[1], first[0]], 6)


@database
def test_a_page_too_deep_is_refused_with_the_way_out() -> None:
    with pytest.raises(selectors.PageTooDeep) as refused:
        selectors.page_orders(employee_id=1, page=5_002, page_size=20, as_of=NOW)
    assert refused.value.details == {"max_page": 5_001, "use": "GET orders?cursor="}


@database
def test_version_2_puts_all_orders_of_an_employee_into_one_table_and_old_numbers_stay_found(settings: Settings) -> None:
    employee_id = next(_ids)
    old = [open_order(employee_id).order_no for _ in range(5)]
    settings.ORDER_NUMBER_VERSION = "2"
    new = [open_order(employee_id, at=NOW + dt.timedelta(seconds=1)).order_no for _ in range(20)]
    assert {number[2] for number in new} == {"2"}
    assert {rules.table_of(number) for number in new} == {employee_id % 16}
    attempt_no = numbers.issue_attempt(order_no=new[0])
    opening.open_attempt(order_no=new[0], attempt_no=attempt_no, channel="wechat", scene="", amount_fen=100, now=NOW)
    assert selectors.get_order(order_no=new[0]).attempts[0].attempt_no == attempt_no
    for original in (old[0], new[0]):
        refund = numbers.issue(prefix=Prefix.REFUND, account_id=next(_ids), beside=original)
        assert rules.table_of(refund) == rules.table_of(original)
    listed = {order.order_no for order in selectors.list_orders(employee_id=employee_id, limit=100).items}
    assert listed == {*old, *new}
    settings.ORDER_NUMBER_VERSION = "1"
    assert all(selectors.get_order(order_no=number).order_no == number for number in [*old, *new])


@database
def test_search_finds_an_order_by_each_of_its_numbers() -> None:
    order = open_order(next(_ids), business_no=uuid.uuid4().hex)
    attempt_no = numbers.issue_attempt(order_no=order.order_no)
    opening.open_attempt(
        order_no=order.order_no, attempt_no=attempt_no, channel="wechat", scene="", amount_fen=100, now=NOW
    )
    provider_no = f"42{uuid.uuid4().int % 10**20}"
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.SUCCESS, fields={"provider_no": provider_no})
    for text in (order.order_no, attempt_no, provider_no, order.business_no):
        assert [found.order_no for found in selectors.search(text=text)] == [order.order_no]
    assert selectors.search(text="nothing") == []


@database
@pytest.mark.parametrize("number", ["", "x", "RC1" + "0" * 28, "订单", "RC1000100012026112309164310600011", "../admin"])
def test_a_text_that_is_no_number_is_not_found(number: str) -> None:
    with pytest.raises(NotFound):
        selectors.get_order(order_no=number)
    with pytest.raises(NotFound):
        selectors.get_attempt(attempt_no=number)


def test_a_refund_number_shares_the_table_of_its_original(committed_db: None) -> None:
    for _ in range(30):
        original = numbers.issue(prefix=Prefix.REDPACKET_SEND, account_id=next(_ids))
        refund = numbers.issue(prefix=Prefix.REDPACKET_REFUND, account_id=next(_ids), beside=original)
        assert rules.table_of(refund) == rules.table_of(original)


def _issue_many(count: int, queue: object) -> None:
    import django

    django.setup()
    connections.close_all()
    made = [numbers.issue(prefix=Prefix.RECHARGE, account_id=7) for _ in range(count)]
    queue.put(made)  # type: ignore[attr-defined]


def test_processes_and_threads_never_issue_the_same_number(committed_db: None) -> None:
    """Four forked processes and four threads of this one, all for the same account in the same milliseconds."""
    context = get_context("fork")
    queue = context.Queue()
    connections.close_all()
    children = [context.Process(target=_issue_many, args=(3_000, queue)) for _ in range(4)]
    for child in children:
        child.start()
    made: list[str] = []

    def issue() -> None:
        made.extend(numbers.issue(prefix=Prefix.RECHARGE, account_id=7) for _ in range(3_000))

    threads = [threading.Thread(target=issue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in children:
        made += queue.get(timeout=60)
    for child in children:
        child.join()
    assert len(made) == 24_000
    assert len(set(made)) == 24_000
    assert len({number[3:6] for number in made}) == 5


def test_without_a_lease_no_number_is_issued(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> nodes.Node:
        raise DatabaseError("away")

    monkeypatch.setattr(nodes, "_take", fail)
    monkeypatch.setattr(nodes, "lessee", nodes.Lessee())
    with pytest.raises(nodes.NoNodeLease):
        numbers.issue(prefix=Prefix.RECHARGE, account_id=1)


def test_a_taken_over_node_cannot_be_renewed_by_its_old_holder(committed_db: None) -> None:
    from foundation.models import NodeLease

    node = nodes._on_own_connection(nodes._take)
    assert nodes._renew(node)
    NodeLease.objects.filter(node_id=node.node_id).update(fence=node.fence + 1)
    assert not nodes._renew(node)
