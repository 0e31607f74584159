"""Migration 0004 gives orders that were opened before the column existed the channel of their newest attempt."""

from __future__ import annotations

import datetime as dt
import importlib

import pytest
from django.db import connections

from foundation.db import roles
from orders import selectors
from orders.models import ORDER_TABLES
from orders.services import numbers, opening
from tests.integration.orders.samples import NOW, ids, open_order, open_paid_by


@pytest.mark.django_db(databases="__all__")
def test_orders_get_the_channel_of_their_newest_attempt() -> None:
    expected = {}
    for _ in range(40):
        order = open_paid_by(next(ids), "wechat")
        opening.open_attempt(
            order_no=order.order_no,
            attempt_no=numbers.issue_attempt(order_no=order.order_no),
            channel="alipay",
            scene="",
            amount_fen=100,
            now=NOW - dt.timedelta(seconds=1),  # older than the first one
        )
        expected[order.order_no] = "wechat"
        expected[open_order(next(ids)).order_no] = ""
    for model in ORDER_TABLES:
        model.objects.filter(pk__in=expected).update(channel="")
    kept = open_paid_by(next(ids), "kuaiqian").order_no
    migration = importlib.import_module("orders.migrations.0004_fill_channel")
    for alias in roles.all_aliases():
        connection = connections[alias]

        class Editor:
            def __init__(self) -> None:
                self.connection = connection  # noqa: B023 - used up within this turn

            def execute(self, statement: str) -> None:
                with self.connection.cursor() as cursor:
                    cursor.execute(statement)

        migration.fill(None, Editor())
    found = {number: selectors.get_order(order_no=number).channel for number in [*expected, kept]}
    assert found == {**expected, kept: "kuaiqian"}
