"""Limits and flags as staff set them: what is refused, what counts at once, who is in, and the history."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from foundation import clock, flags, limiter_figures, limiter_settings, redis
from foundation.models import Flag, Limit
from orders.services import numbers
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
LIMITS, ADD = reverse("admin:foundation_limit_changelist"), reverse("admin:foundation_limit_add")


@pytest.fixture
def operator() -> Client:
    user = User.objects.create_user(f"operator-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    wanted = [f"{what}_{name}" for what in ("view", "add", "change", "delete") for name in ("limit", "flag")]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def settings_of_before() -> Any:
    yield
    limiter_settings.apply([])
    flags.forget()


def save(client: Client, **fields: Any) -> Any:
    return client.post(ADD, {"reason": "New Year", **fields})


def test_slots_set_in_the_admin_count_when_the_keeper_has_looked(operator: Client) -> None:
    before = limiter_settings.size_of("web").slots
    assert save(operator, name="web", amount=before + 7, waiting=3, wait_ms=250).status_code == 302
    assert limiter_settings.size_of("web").slots == before
    limiter_settings.load()
    size = limiter_settings.limiter_of("web").size
    assert (size.slots, size.waiting, size.wait_seconds) == (before + 7, 3, 0.25)
    row = Limit.objects.get(name="web")
    assert [(change.amount, change.reason, change.history_type) for change in row.history.all()] == [
        (before + 7, "New Year", "+")
    ]
    assert row.history.get().history_user.username.startswith("operator-")
    address = reverse("admin:foundation_limit_delete", args=["web"])
    assert operator.post(address, {"post": "yes"}).status_code == 302
    limiter_settings.load()
    assert limiter_settings.limiter_of("web").size.slots == before


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "wbe", "amount": 5}, "name"),
        ({"name": "web", "amount": 0}, "amount"),
        ({"name": "web", "amount": 10_000_000}, "amount"),
        ({"name": "web", "amount": 5, "seconds": 60}, "seconds"),
        ({"name": "web", "amount": 5, "wait_ms": 60_000}, "wait_ms"),
        ({"name": "caller", "amount": 5}, "seconds"),
        ({"name": "caller", "amount": 5, "seconds": 90_000}, "seconds"),
        ({"name": "caller", "amount": 5, "seconds": 60, "waiting": 1}, "waiting"),
        ({"name": "caller", "amount": -1, "seconds": 60}, "amount"),
        ({"name": "caller", "amount": 5, "seconds": 60, "reason": ""}, "reason"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_at_its_field(
    operator: Client, fields: dict[str, Any], wrong: str
) -> None:
    answer = save(operator, **fields)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [wrong]
    assert not Limit.objects.exists()


def test_the_page_shows_what_every_process_sees_and_leads_to_what_is_advised(operator: Client) -> None:
    with limiter_settings.limiter_of("web").slot("POST api/v1/transfers"):
        limiter_figures.publish(limiter_figures.take(at=clock.now().timestamp(), moment=time.monotonic()))
    page = operator.get(LIMITS).content.decode()
    assert limiter_figures.own_name() in page
    assert "not enough was measured" in page
    filled = operator.get(ADD, {"name": "web", "amount": "33"}).content.decode()
    assert 'value="web"' in filled
    assert 'value="33"' in filled


def test_without_redis_the_page_says_so_and_limits_can_still_be_set(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise redis.RedisAway("down")

    monkeypatch.setattr(limiter_figures, "gather", away)
    assert "Redis is away" in operator.get(LIMITS).content.decode()
    assert save(operator, name="caller", amount=9, seconds=60).status_code == 302


def test_a_flag_reaches_an_enterprise_shows_who_is_in_and_switches_order_numbers(operator: Client) -> None:
    world = worlds.make_world(2)
    person = world.employees[0]
    code = person.enterprise.code
    before = numbers.version_for(account_id=person.pk)
    assert before != "2"
    add = reverse("admin:foundation_flag_add")
    fields = {"everyone": "unknown", "enterprises": code, "enterprise_percent": 0, "employees": "", "reason": "try"}
    assert "no such flag" in operator.post(add, {**fields, "name": "nonsense"}).content.decode()
    assert operator.post(add, {**fields, "name": flags.ORDER_NUMBER_2}).status_code == 302
    assert numbers.version_for(account_id=person.pk) == "2"
    row = Flag.objects.get(name=flags.ORDER_NUMBER_2)
    page = operator.get(reverse("admin:foundation_flag_change", args=[row.pk]))
    reached = {item.enterprise.code: (item.employees_in, item.by) for item in page.context["reached"]}
    assert reached[code] == (2, "enterprise")
    assert all(found == (0, "") for other, found in reached.items() if other != code)
    assert (
        operator.post(
            reverse("admin:foundation_flag_change", args=[row.pk]), {**fields, "everyone": "false", "reason": "back"}
        ).status_code
        == 302
    )
    assert numbers.version_for(account_id=person.pk) == before
    assert [change.reason for change in row.history.all()] == ["back", "try"]
