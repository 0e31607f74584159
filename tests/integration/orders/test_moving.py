"""Order tables go from two databases to four, by steps that can be repeated; nothing is lost or written twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import itertools
import threading
import uuid
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test import Client

from foundation.db import checks, roles
from foundation.errors import Busy
from orders import selectors
from orders.domain import numbers as rules
from orders.domain.moving import Move, Stage
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import ORDER_TABLES, TablePlace
from orders.selectors import places
from orders.services import advancing, moving, numbers, opening
from paysys.management.commands.migrate_all import Command as MigrateAll
from tests import worlds
from tests.integration.orders.moving_places import NEW, NOW, OLD, execute, four_databases, use_new_map

MOVING = [2, 3, 6, 7, 10, 11, 14, 15]
TO = ",".join(NEW)
_ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


@pytest.fixture
def four(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with four_databases(monkeypatch):
        yield monkeypatch


def new_order(table: int, *, owner: int | None = None, **more: object) -> NewOrder:
    """An order whose number leads to the table, of the owner (who must lead there) or of somebody new."""
    while True:
        employee_id = owner or next(_ids)
        order_no = numbers.issue(prefix=Prefix.RECHARGE, account_id=employee_id)
        if rules.table_of(order_no) == table:
            return NewOrder(
                order_no=order_no,
                kind=OrderKind.RECHARGE,
                amount_fen=100,
                employee_id=employee_id,
                enterprise_id=1,
                **more,  # type: ignore[arg-type]
            )


def order_in(table: int, **more: object) -> OrderRecord:
    """A stored order with an attempt; text that copying could spoil."""
    new = new_order(table, subject="红包 🧧 'quoted' \\ back\nline", **more)
    opening.open_order(new=new, now=NOW + dt.timedelta(microseconds=123456))
    opening.open_attempt(
        order_no=new.order_no,
        attempt_no=numbers.issue_attempt(order_no=new.order_no),
        channel="wechat",
        scene="native",
        amount_fen=100,
        now=NOW,
        next_check_at=NOW,
    )
    return selectors.get_order(order_no=new.order_no)


def step(name: str, *more: str, to: str = TO) -> str:
    """Runs one step of the command and returns what it prints."""
    out = io.StringIO()
    call_command("move_order_tables", f"--{name}", "--to", to, *more, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def move_of(table: int) -> Move:
    return moving.plan(databases=NEW)[table]


def copied(table: int) -> Move:
    """A table that is copied and closed, not yet verified."""
    moving.prepare(move=move_of(table), now=NOW)
    moving.synchronise(move=move_of(table))
    moving.close(move=move_of(table), now=NOW)
    moving.synchronise(move=move_of(table))
    return move_of(table)


def ids(databases: list[str] | None = None) -> list[str]:
    return sorted({str(error.id) for error in places.check_places(None, databases=databases or NEW)})


def test_the_plan_names_tables_rows_and_bytes_and_changes_nothing(four: pytest.MonkeyPatch) -> None:
    for table in (0, 2, 2, 3):
        order_in(table)
    lines = step("plan").splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("table 02  move_0 -> move_2  4 rows, ")
    assert lines[1].startswith("table 03  move_1 -> move_3  2 rows, ")
    assert lines[1].endswith(" bytes  OPEN: --copy")
    assert lines[8].startswith("8 of 16 tables to move, 6 rows, ")
    assert [name for name in connections["move_2"].introspection.table_names() if "_order_" in name] == []
    assert not TablePlace.objects.using("move_2").exists()


def test_a_whole_move_keeps_every_row_and_every_number(four: pytest.MonkeyPatch) -> None:
    made = [order_in(table) for table in [*range(16), *MOVING]]
    printed = step("copy")
    assert "orders_order_02: 2 rows equal on both sides, CRC-32 sum " in printed
    assert "orders_attempt_15: 2 rows equal on both sides, CRC-32 sum " in printed
    assert f"PAYSYS_ORDER_DATABASES={TO}" in printed
    with pytest.raises(CommandError, match="The settings still name move_0,move_1"):
        step("switch")
    use_new_map(four)
    assert "paysys.E021" in ids()
    step("switch")
    assert ids() == []
    assert [selectors.get_order(order_no=order.order_no) for order in made] == made
    assert {roles.orders_alias(table) for table in MOVING} == {"move_2", "move_3"}
    later = order_in(2)
    assert ORDER_TABLES[2].objects.using("move_2").filter(pk=later.order_no).exists()
    printed = step("finish")
    assert "orders_order_02: all 2 rows of move_0 stand on move_2" in printed
    left = connections["move_0"].introspection.table_names()
    assert "orders_order_02_moved" in left
    assert "orders_order_02" not in left
    assert step("plan") == "0 of 16 tables to move, 0 rows, 0 bytes\n"
    assert "move_0: dropped orders_attempt_02_moved" in step("finish", "--drop")
    assert [name for name in connections["move_0"].introspection.table_names() if "_moved" in name] == []
    assert [selectors.get_order(order_no=order.order_no) for order in made] == made
    assert ids() == []


def test_a_move_back_works_the_same_way(four: pytest.MonkeyPatch) -> None:
    order = order_in(2)
    step("copy")
    use_new_map(four)
    step("switch")
    step("finish")
    step("copy", to=",".join(OLD))
    assert [(move.old, move.new, move.stage) for move in moving.plan(databases=OLD)][2] == (
        "move_2",
        "move_0",
        Stage.VERIFIED,
    )
    step("abort", to=",".join(OLD))
    assert selectors.get_order(order_no=order.order_no) == order
    advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED)
    assert step("plan") == "0 of 16 tables to move, 0 rows, 0 bytes\n"


def test_a_closed_table_refuses_every_write_as_busy_and_nothing_moves(four: pytest.MonkeyPatch) -> None:
    order = order_in(2, expires_at=NOW)
    copied(2)
    attempt_no = order.attempts[0].attempt_no
    began: list[str] = []
    writes = [
        lambda: opening.in_transaction(order.order_no, lambda: began.append("work")),
        lambda: opening.open_order(new=new_order(2), now=NOW),
        lambda: opening.open_attempt(
            order_no=order.order_no,
            attempt_no=numbers.issue_attempt(order_no=order.order_no),
            channel="wechat",
            scene="",
            amount_fen=1,
            now=NOW,
        ),
        lambda: opening.insert_finished(orders=[new_order(2)], now=NOW),
        lambda: advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED),
        lambda: advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.CLOSED),
        lambda: advancing.schedule_check(attempt_no=attempt_no, at=NOW),
    ]
    for write in writes:
        with pytest.raises(Busy) as refused:
            write()
        assert (refused.value.http_status, refused.value.retry_after_seconds) == (503, 5)
    assert began == []
    with pytest.raises(OperationalError, match="1290"):  # a program that knows nothing of all this
        execute("move_0", "DELETE FROM orders_order_02")
    assert selectors.get_order(order_no=order.order_no) == order
    assert execute("move_0", "SELECT COUNT(*) FROM orders_order_02") == [(1,)]
    other = order_in(4)
    assert opening.in_transaction(other.order_no, lambda: "done") == "done"


def test_the_client_is_told_503_and_when_to_come_back(four: pytest.MonkeyPatch, client: Client) -> None:
    employee = worlds.make_world(1).employees[0]
    new = dataclasses.replace(new_order(2), employee_id=employee.pk, enterprise_id=employee.enterprise_id)
    opening.open_order(new=new, now=NOW)
    headers = {"Authorization": f"Bearer {worlds.token_of(employee)}", "Accept-Language": "en"}
    url = f"/api/v1/orders/{new.order_no}"
    copied(2)
    refused = client.post(f"{url}/close", headers=headers)
    assert (refused.status_code, refused["Retry-After"]) == (503, "5")
    assert refused.json()["error"]["code"] == "busy"
    assert client.get(url, headers=headers).json()["order"]["state"] == "PENDING"  # reading goes on
    step("copy")
    use_new_map(four)
    step("switch")
    closed = client.post(f"{url}/close", headers=headers)
    assert (closed.status_code, closed.json()["order"]["state"]) == (200, "CLOSED")


def test_sweeps_leave_closed_tables_for_later(four: pytest.MonkeyPatch) -> None:
    closed, still_open = order_in(2, expires_at=NOW), order_in(4, expires_at=NOW)
    copied(2)
    assert [row.order_no for row in selectors.list_due_attempts(now=NOW, limit=10)] == [still_open.order_no]
    assert [row.order_no for row in selectors.list_expired_orders(now=NOW, limit=10)] == [still_open.order_no]
    step("abort")
    due = {row.order_no for row in selectors.list_due_attempts(now=NOW, limit=10)}
    assert due == {closed.order_no, still_open.order_no}


def test_a_process_with_the_old_map_cannot_write_after_the_switch(four: pytest.MonkeyPatch) -> None:
    order = order_in(2)
    step("copy")
    with four.context() as new_process:
        use_new_map(new_process)
        step("switch")
    with pytest.raises(Busy):  # this process still has the old map
        opening.in_transaction(order.order_no, lambda: None)
    with pytest.raises(Busy):
        opening.open_order(new=new_order(2), now=NOW)
    assert "paysys.E021" in ids()
    use_new_map(four)
    assert advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED) is True
    assert execute("move_0", "SELECT state FROM orders_order_02") == [("PENDING",)]
    assert execute("move_2", "SELECT state FROM orders_order_02") == [("CLOSED",)]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("UPDATE {orders} SET amount_fen = 101 LIMIT 1", "amount_fen"),
        ("UPDATE {orders} SET subject = CONCAT(subject, ' ') LIMIT 1", "subject"),
        ("UPDATE {orders} SET expires_at = '2026-01-01' LIMIT 1", "expires_at"),
        ("UPDATE {attempts} SET created_at = created_at + INTERVAL 1 MICROSECOND LIMIT 1", "created_at"),
        ("DELETE FROM {orders} LIMIT 1", "missing at the new place"),
        ("UPDATE {attempts} SET attempt_no = REPLACE(attempt_no, 'AT1', 'AT2') LIMIT 1", "only at the new place"),
    ],
)
def test_one_changed_row_of_the_copy_is_found_and_repaired(four: pytest.MonkeyPatch, harm: str, told: str) -> None:
    for _ in range(5):
        order_in(2)
    move = copied(2)
    execute("move_2", harm.format(orders="orders_order_02_incoming", attempts="orders_attempt_02_incoming"))
    with pytest.raises(moving.CopyDiffers) as found:
        moving.verify(move=move, now=NOW)
    assert any(told in line for line in found.value.details["rows"]), found.value.details
    assert move_of(2).stage is Stage.CLOSED
    with pytest.raises(moving.MoveRefused):
        moving.switch(move=move_of(2), now=NOW)
    assert moving.synchronise(move=move).written == 5  # one chunk: the table that was harmed
    assert [table.rows for table in moving.verify(move=move, now=NOW)] == [5, 5]


def test_a_row_changed_after_verification_stops_the_switch(four: pytest.MonkeyPatch) -> None:
    order_in(2)
    moving.verify(move=copied(2), now=NOW)
    execute("move_2", "UPDATE orders_order_02_incoming SET amount_fen = 7")
    with pytest.raises(moving.CopyDiffers):
        moving.switch(move=move_of(2), now=NOW)
    assert move_of(2).stage is Stage.VERIFIED


def test_a_row_of_another_table_is_found(four: pytest.MonkeyPatch) -> None:
    order_in(2)
    for alias, table in (("move_0", "orders_order_02"),):
        execute(alias, f"ALTER TABLE {table} DROP CONSTRAINT order02_order_no_table")
        execute(alias, f"UPDATE {table} SET order_no = %s", [new_order(3).order_no])
    with pytest.raises(moving.CopyDiffers) as found:
        moving.verify(move=copied(2), now=NOW)
    assert "belongs to another table" in found.value.details["rows"][0]


def test_copying_in_chunks_takes_only_what_changed(four: pytest.MonkeyPatch) -> None:
    four.setattr(moving, "CHUNK_ROWS", 4)
    owner = new_order(2).employee_id  # one owner's numbers rise with time, so what is new comes last
    made = [order_in(2, owner=owner) for _ in range(11)]
    moving.prepare(move=move_of(2), now=NOW)
    assert moving.synchronise(move=move_of(2)) == moving.Copied(written=22, seen=22)
    assert moving.synchronise(move=move_of(2)) == moving.Copied(written=0, seen=22)
    advancing.advance_order(order_no=made[5].order_no, target=OrderState.CLOSED)
    late = order_in(2, owner=owner)
    # The chunk of the changed order and the tail of either table, not the tables.
    assert moving.synchronise(move=move_of(2)) == moving.Copied(written=4 + 4 + 4, seen=24)
    moving.close(move=move_of(2), now=NOW)
    assert moving.synchronise(move=move_of(2)).written == 0
    assert [table.rows for table in moving.verify(move=move_of(2), now=NOW)] == [12, 12]
    assert late.order_no in {row[0] for row in execute("move_2", "SELECT order_no FROM orders_order_02_incoming")}


def test_closing_waits_for_a_transaction_that_has_begun(four: pytest.MonkeyPatch) -> None:
    order = order_in(2)
    move = move_of(2)
    moving.prepare(move=move, now=NOW)
    inside, may_end = threading.Event(), threading.Event()

    def work() -> None:
        def advance() -> None:
            inside.set()
            assert may_end.wait(20)
            advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED)

        opening.in_transaction(order.order_no, advance)
        connections.close_all()

    def close() -> None:
        moving.close(move=move, now=NOW)
        connections.close_all()

    writer, closer = threading.Thread(target=work), threading.Thread(target=close)
    writer.start()
    assert inside.wait(20)
    closer.start()
    closer.join(0.5)
    assert closer.is_alive()
    may_end.set()
    writer.join()
    closer.join()
    assert selectors.get_order(order_no=order.order_no).state is OrderState.CLOSED
    with pytest.raises(Busy):
        opening.in_transaction(order.order_no, lambda: None)


def test_closing_steps_back_from_a_long_reader(four: pytest.MonkeyPatch) -> None:
    """The DDL lock is asked for briefly and again; traffic on the table is held up no longer than that."""
    order = order_in(2)
    four.setattr(moving, "DDL_WAIT_SECONDS", 1)
    four.setattr(moving, "DDL_TRIES", 2)
    moving.prepare(move=move_of(2), now=NOW)
    began, may_end = threading.Event(), threading.Event()

    def read() -> None:
        execute("move_0", "START TRANSACTION")
        execute("move_0", "SELECT COUNT(*) FROM orders_order_02")
        began.set()
        assert may_end.wait(30)
        execute("move_0", "COMMIT")
        connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(20)
    with pytest.raises(Busy, match="a long transaction is in the way"):
        moving.close(move=move_of(2), now=NOW)
    may_end.set()
    reader.join()
    moving.close(move=move_of(2), now=NOW)
    assert selectors.get_order(order_no=order.order_no) == order


def test_abort_brings_the_old_state_back_and_can_be_repeated(four: pytest.MonkeyPatch) -> None:
    order = order_in(2)
    step("copy")
    step("abort")
    step("abort")
    assert [name for name in connections["move_2"].introspection.table_names() if "incoming" in name] == []
    assert execute("move_0", "SHOW TRIGGERS") == []
    assert advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED) is True
    assert order_in(2).state is OrderState.PENDING
    assert ids() == []
    step("copy")  # and forward again
    use_new_map(four)
    step("switch")
    assert selectors.get_order(order_no=order.order_no).state is OrderState.CLOSED
    with pytest.raises(CommandError, match="Too late to abort"):
        step("abort")


def test_the_steps_cannot_be_taken_out_of_order(four: pytest.MonkeyPatch) -> None:
    order_in(2)
    use_new_map(four)
    with pytest.raises(CommandError, match="Not verified yet"):
        step("switch")
    with pytest.raises(CommandError, match="Not switched yet"):
        step("finish")
    with pytest.raises(moving.MoveRefused):
        moving.verify(move=move_of(2), now=NOW)
    assert move_of(2).stage is Stage.OPEN


def test_finish_refuses_while_a_row_is_missing_at_the_new_place(four: pytest.MonkeyPatch) -> None:
    order = order_in(2)
    step("copy")
    use_new_map(four)
    step("switch")
    execute("move_2", "DELETE FROM orders_order_02")
    with pytest.raises(CommandError, match=order.order_no):
        step("finish")
    assert execute("move_0", "SELECT COUNT(*) FROM orders_order_02") == [(1,)]


def test_a_second_mover_is_refused(four: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def second() -> None:
        try:
            step("copy")
        except CommandError as error:
            refused.append(str(error))
        connections.close_all()

    with moving.only_one():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused == ["another move is running"]
    assert move_of(2).stage is Stage.OPEN


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("move_0,move_1,move_2", "name 1, 2, 4, 8 or 16 different databases"),
        ("move_0,move_0", "name 1, 2, 4, 8 or 16 different databases"),
        ("move_0,orders_99", "no such database in the settings: orders_99"),
        ("move_0,funds", "funds is empty: run manage.py migrate_all first"),
    ],
)
def test_an_impossible_target_is_refused(four: pytest.MonkeyPatch, to: str, reason: str) -> None:
    if to.endswith("funds"):
        four.setattr(moving, "_tables", lambda alias: set())
    with pytest.raises(CommandError, match=reason):
        step("copy", to=to)
    assert {place.state for place in TablePlace.objects.using("move_0")} == {"OPEN"}


def test_tables_made_too_early_are_replaced_when_empty_and_kept_when_not(four: pytest.MonkeyPatch) -> None:
    order_in(2)
    for name in ("orders_order_02", "orders_attempt_02"):
        execute("move_2", execute("move_0", f"SHOW CREATE TABLE {name}")[0][1])
    TablePlace.objects.using("move_2").create(table_no=2, state="OPEN", changed_at=NOW)
    assert ids() == ["paysys.E021"]
    step("copy")
    assert move_of(2).stage is Stage.VERIFIED
    step("abort")
    execute("move_2", execute("move_0", "SHOW CREATE TABLE orders_order_02")[0][1])
    with four.context() as strayed:
        strayed.setattr(settings, "ORDER_SHARD_DATABASES", NEW * 4)
        strayed.setattr(ORDER_TABLES[2], "django_sharding__database", "move_2")
        TablePlace.objects.using("move_2").filter(table_no=2).update(state="OPEN")
        opening.open_order(new=new_order(2), now=NOW)
    with pytest.raises(CommandError, match="orders_order_02 on move_2 has rows"):
        step("copy")
    assert execute("move_2", "SELECT COUNT(*) FROM orders_order_02") == [(1,)]


def test_a_map_that_disagrees_with_the_rows_is_refused_before_anything_is_migrated(four: pytest.MonkeyPatch) -> None:
    order_in(2)
    assert ids() == []
    use_new_map(four)
    assert ids() == ["paysys.E021"]
    with pytest.raises(CommandError, match=r"Nothing was migrated\.\npaysys\.E021: orders_order_02 lives on move_0"):
        MigrateAll()._refuse_wrong_map(NEW)


def test_rows_that_nobody_knows_of_are_found(four: pytest.MonkeyPatch) -> None:
    """As after an upgrade and a change of the map at once: no place was written down yet."""
    order_in(2)
    order_in(3)
    TablePlace.objects.using("move_0").filter(table_no=2).delete()
    use_new_map(four)
    found = [error for error in places.check_places(None, databases=["move_2"]) if error.id == "paysys.E022"]
    assert [error.msg for error in found] == ["orders_order_02 has rows on move_0, the map says move_2."]


def test_a_migrated_database_that_lacks_its_tables_is_refused(four: pytest.MonkeyPatch) -> None:
    execute("move_1", "DROP TABLE orders_order_03")
    assert ids() == []  # not migrated yet
    execute("move_1", execute("default", "SHOW CREATE TABLE django_migrations")[0][1])
    execute("move_1", "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', '0001_initial', NOW())")
    assert ids() == ["paysys.E024"]


def test_two_aliases_on_one_database_are_refused(four: pytest.MonkeyPatch) -> None:
    twin = dict(settings.DATABASES["move_0"])
    four.setitem(settings.DATABASES, "move_2", twin)
    del connections["move_2"]
    assert [problem.id for problem in checks.check_role_map(None)] == ["paysys.E005"]
    twin["HOST"] = "127.1"  # another name for 127.0.0.1
    assert [problem.id for problem in checks.check_role_map(None)] == []
    assert "paysys.E015" in {problem.id for problem in checks.check_servers(None, databases=["move_0"])}
    with pytest.raises(CommandError, match="one database under two aliases: move_0 = move_2"):
        step("plan")
