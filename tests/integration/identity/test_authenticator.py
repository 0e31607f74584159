"""Secrets of authenticators: closed in the table, moved from where they stood open, closed anew with a changed key."""

from __future__ import annotations

import importlib
import uuid

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import clock, crypto, encryption
from identity.models import SECRET_COLUMN, Authenticator
from identity.services import staff_codes
from tests.integration.identity.test_staff_codes import code_of

TABLE = "identity_authenticator"
FIRST, SECOND = {"one": b"1" * 32}, {"one": b"1" * 32, "two": b"2" * 32}
OLD_TABLE = """CREATE TABLE otp_totp_totpdevice (
    id bigint PRIMARY KEY, user_id integer NOT NULL, name varchar(64) NOT NULL, confirmed bool NOT NULL,
    `key` varchar(80) NOT NULL, step smallint NOT NULL, t0 bigint NOT NULL, digits smallint NOT NULL,
    tolerance smallint NOT NULL, drift smallint NOT NULL, last_t bigint NOT NULL,
    throttling_failure_timestamp datetime(6) NULL, throttling_failure_count integer NOT NULL,
    created_at datetime(6) NULL, last_used_at datetime(6) NULL)"""
OLD_ROW = (
    "INSERT INTO otp_totp_totpdevice VALUES (%s, %s, 'phone', 1, %s, %s, 0, 6, 1, 0, 77, "
    "'2026-01-02 03:04:05.000006', 3, '2026-01-01 00:00:00.000000', NULL)"
)


def staff() -> User:
    return User.objects.create_user(f"s-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)


def stored(device: Authenticator) -> str:
    """What stands in the column, past the model."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT secret FROM {TABLE} WHERE id = %s", [device.pk])
        return str(cursor.fetchone()[0])


@pytest.mark.django_db(databases="__all__")
def test_the_column_holds_a_closed_secret_that_opens_nowhere_else() -> None:
    device, other = staff_codes.provide(user=staff()), staff_codes.provide(user=staff())
    text = stored(device)
    assert text.startswith(f"v1:{crypto.newest_key_id()}:")
    assert len(device.bin_key) == 20
    assert device.bin_key != other.bin_key
    assert device.bin_key == crypto.decrypt_bytes(text, column="identity_authenticator.secret")
    assert device.bin_key.hex() not in text
    with pytest.raises(crypto.CannotDecrypt):
        crypto.decrypt_bytes(text, column="identity_employee.phone")


@pytest.mark.django_db(databases="__all__")
def test_a_changed_key_closes_it_anew_and_the_same_codes_pass(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = FIRST
    user, now = staff(), clock.now()
    device = staff_codes.provide(user=user)
    code, secret = code_of(device, now), device.bin_key
    settings.ENCRYPTION_KEYS = SECOND
    assert encryption.count_by_key(table=TABLE)[SECRET_COLUMN]["one"] == 1
    done = encryption.rotate(table=TABLE)
    assert (done.closed, done.unopened) == (1, 0)
    settings.ENCRYPTION_KEYS = {"two": SECOND["two"]}
    device.refresh_from_db()
    assert device.bin_key == secret
    assert staff_codes.verify(user=user, code=code, now=now) == f"totp:{device.pk}"


@pytest.mark.django_db(databases="__all__")
def test_without_its_key_no_code_passes_and_nothing_moves(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = FIRST
    user, now = staff(), clock.now()
    device = staff_codes.provide(user=user)
    code = code_of(device, now)
    settings.ENCRYPTION_KEYS = {"two": SECOND["two"]}
    with pytest.raises(crypto.CannotDecrypt):
        staff_codes.verify(user=user, code=code, now=now)
    device.refresh_from_db()
    assert (device.last_t, device.throttling_failure_count) == (-1, 0)


@pytest.mark.django_db(databases="__all__")
def test_no_page_of_the_admin_shows_it() -> None:
    device = staff_codes.provide(user=staff())
    chief = Client()
    chief.force_login(User.objects.create_superuser(f"c-{uuid.uuid4().hex[:8]}"))
    for address in (
        reverse("admin:identity_authenticator_changelist"),
        reverse("admin:identity_authenticator_change", args=[device.pk]),
    ):
        page = chief.get(address)
        assert page.status_code == 200
        shown = page.content.decode()
        assert device.secret not in shown
        assert staff_codes.secret_of(device) not in shown
        assert device.bin_key.hex() not in shown


def test_rows_of_the_old_table_are_closed_and_the_table_goes(committed_db: None) -> None:
    """DDL commits in MariaDB, so this is no rolled-back test."""
    user, key, pk = staff(), uuid.uuid4().bytes + b"1234", 10**12 + uuid.uuid4().int % 10**11
    close = importlib.import_module("identity.migrations.0005_close_staff_secrets").close
    drop = importlib.import_module("identity.migrations.0006_drop_open_secrets").drop
    with connection.cursor() as cursor:
        cursor.execute(OLD_TABLE)
    try:
        with connection.cursor() as cursor:
            cursor.execute(OLD_ROW, [pk, user.pk, key.hex(), 60])
        with connection.schema_editor() as editor, pytest.raises(RuntimeError, match=str(pk)):
            close(apps, editor)
        assert not Authenticator.objects.filter(pk=pk).exists()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE otp_totp_totpdevice SET step = 30")
        for _ in range(2):  # whoever was interrupted starts it again
            with connection.schema_editor() as editor:
                close(apps, editor)
    finally:
        with connection.schema_editor(atomic=False) as editor:
            drop(apps, editor)
    assert "otp_totp_totpdevice" not in connection.introspection.table_names()
    device = Authenticator.objects.get(pk=pk)
    assert (device.user_id, device.name, device.confirmed, device.last_t) == (user.pk, "phone", True, 77)
    assert (device.throttling_failure_count, device.last_used_at) == (3, None)
    assert str(device.throttling_failure_timestamp) == "2026-01-02 03:04:05.000006+00:00"
    assert str(device.created_at) == "2026-01-01 00:00:00+00:00"
    assert device.bin_key == key
    assert key.hex() not in stored(device)
    with connection.schema_editor(atomic=False) as editor:  # a database that never had the table
        close(apps, editor)
        drop(apps, editor)
    device.delete()
