"""What the databases themselves hold: tables where they belong, ascii columns, servers with safe settings."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import OperationalError, connections, models, router, transaction

from foundation.db import checks, transactions
from foundation.errors import Busy
from foundation.models import Alert, OutboxEvent
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

ALIASES = ["default", "funds", "redpacket", "orders_0", "orders_1"]
OWN = ("foundation", "identity", "gateway", "funds", "orders", "payments", "redpacket")


def tables(alias: str) -> set[str]:
    return set(connections[alias].introspection.table_names())


def own_models() -> list[type[models.Model]]:
    return [model for app in OWN for model in apps.get_app_config(app).get_models()]


def test_a_table_exists_where_its_model_lives_and_nowhere_else() -> None:
    found = {alias: tables(alias) for alias in ALIASES}
    for model in own_models():
        if not model._meta.managed:
            continue
        name = model._meta.db_table
        wanted = ALIASES if getattr(model, "paysys_everywhere", False) else [router.db_for_write(model)]
        assert [alias for alias in ALIASES if name in found[alias]] == wanted, name


def test_the_outbox_exists_in_every_database() -> None:
    assert [alias for alias in ALIASES if "foundation_outboxevent" in tables(alias)] == ALIASES


@pytest.mark.parametrize("alias", ALIASES)
def test_the_outbox_works_in_every_database(alias: str) -> None:
    rows = OutboxEvent.objects.using(alias)
    event = rows.create(topic="t", key=f"only-{alias}", payload={"a": [1]}, created_at=NOW, next_at=NOW)
    assert rows.get(pk=event.pk).payload == {"a": [1]}
    for other in set(ALIASES) - {alias}:
        assert not OutboxEvent.objects.using(other).filter(key=f"only-{alias}").exists()


def test_the_models_have_no_change_without_a_migration() -> None:
    call_command("makemigrations", "foundation", "identity", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("alias", ALIASES)
def test_machine_text_is_ascii_and_compared_byte_by_byte(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT character_set_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = 'foundation_outboxevent' AND column_name = 'key'"
        )
        assert cursor.fetchall() == (("ascii", "ascii_bin"),)


FOREIGN = "企业😀"


@pytest.mark.parametrize(
    "lookup",
    [
        "",
        "__exact",
        "__iexact",
        "__contains",
        "__icontains",
        "__startswith",
        "__istartswith",
        "__endswith",
        "__iendswith",
    ],
)
def test_looking_for_other_text_finds_nothing_and_does_not_fail(lookup: str) -> None:
    Alert.objects.create(code="a", subject="b", severity="WARNING", message=FOREIGN, first_at=NOW, last_at=NOW)
    assert Alert.objects.filter(**{f"subject{lookup}": FOREIGN}).count() == 0
    assert Alert.objects.exclude(**{f"subject{lookup}": FOREIGN}).count() == 1
    assert Alert.objects.filter(models.Q(**{f"subject{lookup}": FOREIGN}) | models.Q(message=FOREIGN)).count() == 1
    assert Alert.objects.filter(**{f"subject{lookup}": FOREIGN}).update(times=9) == 0


def test_looking_for_several_texts_finds_the_ascii_ones() -> None:
    for subject in ("b", "c", "B"):
        Alert.objects.create(code="a", subject=subject, severity="WARNING", message="", first_at=NOW, last_at=NOW)
    found = Alert.objects.filter(subject__in=["b", FOREIGN, "B"]).values_list("subject", flat=True)
    assert sorted(found) == ["B", "b"]
    assert list(Alert.objects.filter(subject__in=[FOREIGN])) == []
    assert Alert.objects.exclude(subject__in=[FOREIGN]).count() == 3
    inner = Alert.objects.filter(subject="c").values("subject")
    assert Alert.objects.filter(subject__in=inner).count() == 1


@pytest.mark.parametrize("value", [FOREIGN, "é", "a\x00", "a\n"])
def test_forms_refuse_other_text_before_the_server_does(value: str) -> None:
    alert = Alert(code="a", subject=value, severity="WARNING", message="m", first_at=NOW, last_at=NOW)
    with pytest.raises(ValidationError) as refused:
        alert.full_clean(exclude=["context"])
    assert list(refused.value.message_dict) == ["subject"]


def test_the_servers_of_the_tests_are_safe() -> None:
    assert [
        problem.id for problem in checks.check_servers(None, databases=ALIASES) if problem.id != "paysys.E013"
    ] == []


@pytest.mark.parametrize(
    ("asked", "answer", "expected"),
    [
        ("innodb_flush_log_at_trx_commit", "2", "paysys.E011"),
        ("innodb_rollback_on_timeout", "0", "paysys.E012"),
        ("CONVERT_TZ", None, "paysys.E013"),
    ],
)
def test_an_unsafe_server_is_refused(asked: str, answer: str | None, expected: str) -> None:
    class Cursor:
        def __enter__(self) -> Cursor:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def execute(self, sql: str) -> None:
            self.row = (answer,) if asked in sql else ("1",)

        def fetchone(self) -> tuple[str | None]:
            return self.row

    with patch.object(connections["funds"], "cursor", Cursor):
        assert [problem.id for problem in checks.check_servers(None, databases=["funds"])] == [expected]


def test_an_old_server_is_refused() -> None:
    with patch.object(checks, "MINIMUM_MARIADB", (99, 0)):
        assert "paysys.E014" in [problem.id for problem in checks.check_servers(None, databases=["default"])]


@pytest.mark.parametrize("code", [1213, 1205, 1020, 2006, 2013])
def test_a_block_that_lost_is_run_again_from_the_start(code: int) -> None:
    calls: list[bool] = []

    def work() -> str:
        calls.append(connections["funds"].in_atomic_block)
        if len(calls) < 3:
            raise OperationalError(code, "lost")
        return "done"

    with outermost("funds"), patch("time.sleep") as slept:
        assert transactions.run(work, using="funds") == "done"
    assert calls == [True, True, True]
    assert slept.call_count == 2


def test_after_five_losses_the_caller_is_told_to_come_back() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise OperationalError(1213, "Deadlock found")

    with outermost("funds"), patch("time.sleep"), pytest.raises(Busy):
        transactions.run(work, using="funds")
    assert len(calls) == transactions.MAX_TRIES == 5


def test_other_errors_are_raised_at_once() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise OperationalError(1054, "Unknown column")

    with outermost("funds"), patch("time.sleep") as slept, pytest.raises(OperationalError):
        transactions.run(work, using="funds")
    assert (len(calls), slept.call_count) == (1, 0)


def test_inside_another_transaction_nothing_is_run_again() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise OperationalError(1213, "Deadlock found")

    with pytest.raises(OperationalError), transaction.atomic(using="funds"):
        transactions.run(work, using="funds")
    assert len(calls) == 1


class outermost:
    """Hides the test's own transaction, so that `run` believes to be the outermost block; commits nothing."""

    def __init__(self, alias: str) -> None:
        self.patches = [
            patch.object(transactions, "connections", {alias: _Outside(alias)}),
            patch.object(transactions.transaction, "atomic", _savepoint),
        ]

    def __enter__(self) -> None:
        for entered in self.patches:
            entered.start()

    def __exit__(self, *error: object) -> None:
        for entered in self.patches:
            entered.stop()


class _Outside:
    in_atomic_block = False

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def close_if_unusable_or_obsolete(self) -> None:
        pass


_atomic = transaction.atomic


def _savepoint(*, using: str, durable: bool = False) -> transaction.Atomic:
    return _atomic(using=using)
