"""What we rely on of django-sharding, and what our router adds to it."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import models, router
from django.db.migrations.loader import MigrationLoader
from django_sharding_library.exceptions import NonExistentDatabaseException

from foundation.db import roles, sharding
from foundation.models import Alert, OutboxEvent
from funds.models import Account, Journal
from identity.models import Employee
from redpacket.models import RedPacket

ALIASES = ["default", "funds", "redpacket", "orders_0", "orders_1"]


def migrated_to(app: str, name: str | None = None, **hints: object) -> list[str]:
    return [alias for alias in ALIASES if router.allow_migrate(alias, app, model_name=name, **hints)]


def test_the_tests_run_on_five_databases() -> None:
    assert sorted(roles.all_aliases()) == sorted(ALIASES)
    assert roles.order_aliases() == ["orders_0", "orders_1"]
    assert [roles.orders_alias(table) for table in (0, 1, 14, 15)] == ["orders_0", "orders_1", "orders_0", "orders_1"]


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        (Employee, "default"),
        (Alert, "default"),
        (User, "default"),
        (Account, "funds"),
        (Journal, "funds"),
        (RedPacket, "redpacket"),
    ],
)
def test_a_model_is_read_written_and_migrated_on_its_roles_database(model: type[models.Model], alias: str) -> None:
    assert router.db_for_read(model) == alias
    assert router.db_for_write(model) == alias
    assert model._default_manager.all().db == alias
    assert migrated_to(model._meta.app_label, model._meta.model_name) == [alias]
    assert migrated_to(model._meta.app_label, model._meta.model_name, model=model) == [alias]


def test_each_order_table_lives_where_the_map_says() -> None:
    tables = [model for model in apps.get_app_config("orders").get_models() if model.__name__.startswith("Order")]
    spread = {router.db_for_write(model) for model in tables}
    assert spread >= {"orders_0", "orders_1"}
    for model in tables:
        number = model.__name__[-2:]
        if number.isdigit():
            assert router.db_for_write(model) == roles.orders_alias(int(number)), model


def test_the_outbox_is_everywhere_and_never_guessed() -> None:
    assert migrated_to("foundation", "outboxevent") == ALIASES
    for alias in ALIASES:
        assert OutboxEvent.objects.using(alias).all().db == alias


def test_migration_steps_without_a_model_say_where_they_belong() -> None:
    assert migrated_to("funds", role="funds") == ["funds"]
    assert migrated_to("redpacket", role="redpacket") == ["redpacket"]
    assert migrated_to("foundation", everywhere=True) == ALIASES
    assert migrated_to("funds") == ["default"]  # forgotten hint: not silently on every database
    assert migrated_to("funds", "deletedlongago") == ["default"]


def test_historical_models_go_where_the_present_one_lives() -> None:
    """Migrations hand over models without any mark of ours."""
    past = MigrationLoader(None).project_state().apps
    for app, name, wanted in [
        ("funds", "Account", ["funds"]),
        ("redpacket", "RedPacket", ["redpacket"]),
        ("identity", "Employee", ["default"]),
        ("foundation", "OutboxEvent", ALIASES),
    ]:
        historical = past.get_model(app, name)
        assert historical is not apps.get_model(app, name)
        assert migrated_to(app, name.lower(), model=historical) == wanted, name
        assert migrated_to(app, model=historical) == wanted, name


def test_relations_stay_on_one_database() -> None:
    employee, account = Employee(), Account()
    employee._state.db, account._state.db = "default", "funds"
    assert router.allow_relation(employee, Employee()) is True
    assert router.allow_relation(employee, account) is False


def test_a_model_on_a_database_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NonExistentDatabaseException):
        sharding.stored_on_alias("orders_99")(Employee)
    with pytest.raises(KeyError):
        sharding.stored_on("absent")
    assert router.db_for_write(Employee) == "default"
