"""Old rows that have done their work go; what waits, runs or is young stays."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from foundation import clock
from foundation.db import roles
from foundation.housekeeping import Purge
from foundation.models import IdempotencyRecord, JobRun, OutboxEvent

pytestmark = pytest.mark.django_db(databases="__all__")


def event(alias: str, *, created: dt.datetime, done: dt.datetime | None) -> OutboxEvent:
    return OutboxEvent.objects.using(alias).create(
        topic="test.purge", key=uuid.uuid4().hex, payload={}, created_at=created, next_at=created, done_at=done
    )


def record(created: dt.datetime, state: str) -> IdempotencyRecord:
    return IdempotencyRecord.objects.create(
        caller="employee:0",
        key=uuid.uuid4().hex,
        endpoint="x",
        body_hash="x",
        reserved_no="x",
        state=state,
        locked_until=created,
        created_at=created,
    )


@pytest.mark.parametrize("alias", ["default", "funds", "redpacket", "orders_0", "orders_1"])
def test_delivered_events_go_after_a_month_and_waiting_ones_stay(alias: str) -> None:
    assert alias in roles.all_aliases()
    now = clock.now()
    old, young = now - dt.timedelta(days=31), now - dt.timedelta(days=29)
    gone = event(alias, created=old, done=old)
    kept = [event(alias, created=old, done=None), event(alias, created=old, done=young)]
    Purge().run(now=now)
    rows = OutboxEvent.objects.using(alias)
    assert not rows.filter(pk=gone.pk).exists()
    assert rows.filter(pk__in=[row.pk for row in kept]).count() == 2


def test_answered_keys_go_after_72_hours() -> None:
    now = clock.now()
    old = now - dt.timedelta(hours=73)
    gone, running, young = record(old, "DONE"), record(old, "RUNNING"), record(now - dt.timedelta(hours=71), "DONE")
    Purge().run(now=now)
    left = set(IdempotencyRecord.objects.filter(caller="employee:0").values_list("pk", flat=True))
    assert gone.pk not in left
    assert {running.pk, young.pk} <= left


def test_failed_runs_are_kept_longer_than_good_ones() -> None:
    now = clock.now()
    old = now - dt.timedelta(days=8)
    name = uuid.uuid4().hex
    for state in ("DONE", "FAILED", "RUNNING"):
        JobRun.objects.create(name=name, state=state, started_at=old)
    Purge().run(now=now)
    assert sorted(JobRun.objects.filter(name=name).values_list("state", flat=True)) == ["FAILED", "RUNNING"]


def test_more_than_one_batch_goes_in_one_run() -> None:
    now = clock.now()
    old = now - dt.timedelta(days=8)
    name = uuid.uuid4().hex
    JobRun.objects.bulk_create([JobRun(name=name, state="DONE", started_at=old) for _ in range(2_500)])
    assert Purge().run(now=now)["runs"] >= 2_500
    assert not JobRun.objects.filter(name=name).exists()
