"""Lists on a replica: a second database of the same server stands for it, with an order that the primary lacks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections, transaction

from foundation import jobs
from foundation.db import roles, transactions
from orders import selectors
from orders.domain import numbers as rules
from orders.jobs import BeatReplicas
from orders.models import ORDER_TABLES, ReplicaBeat
from orders.selectors import sources
from orders.services import beating
from tests.integration.orders.samples import ids, open_order

PRIMARY, REPLICA = "orders_0", "orders_0_replica"
pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def replica(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty copy of the primary's order tables, known to the settings."""
    name = f"{connections[PRIMARY].settings_dict['NAME']}_replica"
    source = connections[PRIMARY].settings_dict["NAME"]
    with connections[PRIMARY].cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci")
        cursor.execute(f"SHOW TABLES FROM `{source}` LIKE 'orders\\_%'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"CREATE TABLE `{name}`.`{table}` LIKE `{source}`.`{table}`")
    config = {**connections[PRIMARY].settings_dict, "NAME": name, "PRIMARY": PRIMARY}
    monkeypatch.setitem(settings.DATABASES, REPLICA, config)
    sources.forget()
    yield REPLICA
    connections[REPLICA].close()
    del connections[REPLICA]
    sources.forget()
    with connections[PRIMARY].cursor() as cursor:
        cursor.execute(f"DROP DATABASE `{name}`")


def beat(age: dt.timedelta) -> None:
    moment = transactions.database_now(using=REPLICA) - age
    ReplicaBeat.objects.using(REPLICA).update_or_create(pk=1, defaults={"beat_at": moment})


def order_on_the_primary() -> tuple[int, str]:
    """Employee and number of an order that the replica has under another subject."""
    while True:
        order = open_order(next(ids), subject="primary")
        if selectors.order_alias(order.order_no) == PRIMARY:
            break
    row = ORDER_TABLES[rules.table_of(order.order_no)].objects.using(PRIMARY).get(pk=order.order_no)
    row.subject = "replica"
    row.save(using=REPLICA, force_insert=True)
    return order.employee_id, order.order_no


def seen(employee_id: int) -> list[str]:
    now = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    listed = [order.subject for order in selectors.list_orders(employee_id=employee_id, limit=5).items]
    page = selectors.page_orders(employee_id=employee_id, page=1, page_size=5, as_of=now)
    assert [order.subject for order in page.items] == listed
    return listed


def test_a_fresh_replica_serves_lists_but_never_a_single_order(replica: str) -> None:
    employee_id, order_no = order_on_the_primary()
    beat(dt.timedelta(seconds=3))
    assert seen(employee_id) == ["replica"]
    assert [order.subject for order in selectors.search(text=order_no)] == ["replica"]
    assert selectors.get_order(order_no=order_no).subject == "primary"


@pytest.mark.parametrize("age_seconds", [16, 3600, -3])
def test_a_stale_replica_or_one_with_another_clock_is_not_read(replica: str, age_seconds: int) -> None:
    employee_id, _ = order_on_the_primary()
    beat(dt.timedelta(seconds=age_seconds))
    assert seen(employee_id) == ["primary"]


def test_without_a_beat_the_age_cannot_be_told(replica: str) -> None:
    employee_id, _ = order_on_the_primary()
    assert seen(employee_id) == ["primary"]


def test_inside_a_transaction_the_primary_is_read(replica: str) -> None:
    employee_id, _ = order_on_the_primary()
    beat(dt.timedelta(0))
    with transaction.atomic(using=PRIMARY):
        assert seen(employee_id) == ["primary"]
    assert seen(employee_id) == ["replica"]


def test_what_is_known_about_a_replica_lasts_a_second(replica: str, monkeypatch: pytest.MonkeyPatch) -> None:
    employee_id, _ = order_on_the_primary()
    present = [1000.0]
    monkeypatch.setattr(sources.time, "monotonic", lambda: present[0])
    beat(dt.timedelta(0))
    assert seen(employee_id) == ["replica"]
    beat(dt.timedelta(hours=1))
    assert seen(employee_id) == ["replica"]
    present[0] += sources.RECHECK_SECONDS
    assert seen(employee_id) == ["primary"]


def test_a_dead_replica_costs_one_try_and_the_primary_answers(replica: str, monkeypatch: pytest.MonkeyPatch) -> None:
    employee_id, _ = order_on_the_primary()
    beat(dt.timedelta(0))
    present = [1000.0]
    monkeypatch.setattr(sources.time, "monotonic", lambda: present[0])
    assert seen(employee_id) == ["replica"]
    connections[REPLICA].close()
    working = connections[REPLICA].settings_dict["PORT"]
    connections[REPLICA].settings_dict["PORT"] = 1  # nobody listens there
    assert seen(employee_id) == ["primary"]  # fails in the middle of a list that had chosen it
    asked: list[str] = []
    monkeypatch.setattr(sources, "_ask", lambda alias: asked.append(alias) or False)
    assert seen(employee_id) == ["primary"]
    assert asked == []
    present[0] += sources.DEAD_SECONDS
    assert seen(employee_id) == ["primary"]
    assert set(asked) == {REPLICA}
    monkeypatch.undo()
    connections[REPLICA].settings_dict["PORT"] = working


def test_the_job_beats_where_there_is_a_replica_and_nowhere_else(replica: str) -> None:
    assert beating.beat() == [PRIMARY]
    first = ReplicaBeat.objects.using(PRIMARY).get(pk=1).beat_at
    assert abs(transactions.database_now(using=PRIMARY) - first) < dt.timedelta(seconds=30)
    assert jobs.get("orders.beat_replicas").name == BeatReplicas.name
    assert BeatReplicas().run(now=first) == {"databases": [PRIMARY]}
    assert ReplicaBeat.objects.using(PRIMARY).get(pk=1).beat_at > first
    assert not ReplicaBeat.objects.using("orders_1").exists()
    assert roles.replica_of(PRIMARY) == REPLICA
    assert roles.replica_of("orders_1") is None
    assert REPLICA not in roles.all_aliases()


def test_migrations_pass_a_replica_by(replica: str) -> None:
    from django.db import router

    assert router.allow_migrate(REPLICA, "orders", model_name="order00") is False
    assert router.allow_migrate(REPLICA, "orders", everywhere=True) is False
    assert router.allow_migrate(REPLICA, "identity", model_name="employee") is False
