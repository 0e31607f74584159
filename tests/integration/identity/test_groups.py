"""Groups: who is in, who may not be, and that somebody else's group looks like none."""

from __future__ import annotations

import pytest
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from foundation.errors import InvalidRequest, NotFound
from identity import selectors
from identity.models import Employee, Group, GroupMember
from identity.services import directory
from tests import worlds
from tests.worlds import World

pytestmark = pytest.mark.django_db(databases="__all__")

ADDRESS = "/api/v1/groups"


@pytest.fixture
def world() -> World:
    """Three employees, all in one group."""
    return worlds.make_world(3)


def bearer(employee: Employee) -> dict[str, str]:
    return {"Authorization": f"Bearer {worlds.token_of(employee)}"}


def create(client: Client, employee: Employee, body: object) -> HttpResponse:
    return client.post(ADDRESS, body, content_type="application/json", headers=bearer(employee))


def groups_of(world: World) -> int:
    return Group.objects.filter(enterprise=world.enterprise).count()


def test_the_creator_is_always_a_member(client: Client, world: World) -> None:
    first, second, third = world.employees
    answer = create(client, first, {"name": " Lunch ", "employees": [second.code]})
    assert answer.status_code == 201, answer.content
    shown = answer.json()["group"]
    assert shown == {"id": shown["id"], "name": "Lunch", "employees": [first.code, second.code]}
    assert len(shown["id"]) == 32
    assert selectors.list_group_member_ids(group_id=shown["id"]) == [first.pk, second.pk]
    assert selectors.is_group_member(group_id=shown["id"], employee_id=second.pk)
    assert not selectors.is_group_member(group_id=shown["id"], employee_id=third.pk)


def test_naming_oneself_or_somebody_twice_counts_once(client: Client, world: World) -> None:
    first, second, _ = world.employees
    answer = create(client, first, {"name": "Twice", "employees": [second.code, first.code, second.code]})
    assert answer.status_code == 201, answer.content
    assert answer.json()["group"]["employees"] == [first.code, second.code]


def test_a_group_needs_no_idempotency_key_and_the_same_name_makes_another(client: Client, world: World) -> None:
    body = {"name": "Same", "employees": [world.employees[1].code]}
    ids = {create(client, world.employees[0], body).json()["group"]["id"] for _ in range(2)}
    assert len(ids) == 2


def test_the_list_shows_the_own_groups_oldest_first(client: Client, world: World) -> None:
    first, second, third = world.employees
    pair = create(client, first, {"name": "Pair", "employees": [second.code]}).json()["group"]
    everybody = {"id": world.group.pk, "name": "All", "employees": [first.code, second.code, third.code]}
    assert client.get(ADDRESS, headers=bearer(second)).json() == {"items": [everybody, pair]}
    assert client.get(ADDRESS, headers=bearer(third)).json() == {"items": [everybody]}


def test_another_enterprise_sees_none_of_it(client: Client, world: World) -> None:
    stranger = worlds.make_world(1)
    shown = client.get(ADDRESS, headers=bearer(stranger.employees[0])).json()
    assert [row["id"] for row in shown["items"]] == [stranger.group.pk]


@pytest.mark.parametrize("unknown", ["nobody", "E0002", "员工", "' OR 1=1 --"])
def test_an_unknown_code_is_refused_by_name_and_nothing_is_made(client: Client, world: World, unknown: str) -> None:
    before = groups_of(world)
    answer = create(client, world.employees[0], {"name": "Bad", "employees": [world.employees[1].code, unknown]})
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert (error["code"], error["details"]) == ("invalid_request", {"employees": [f"unknown: {unknown}"]})
    assert groups_of(world) == before


def test_a_colleague_of_another_enterprise_is_unknown(client: Client, world: World) -> None:
    stranger = worlds.make_world(4).employees[3]
    before = groups_of(world)
    answer = create(client, world.employees[0], {"name": "Bad", "employees": [stranger.code]})
    assert (answer.status_code, answer.json()["error"]["details"]) == (
        400,
        {"employees": [f"unknown: {stranger.code}"]},
    )
    assert groups_of(world) == before
    assert not GroupMember.objects.filter(employee=stranger).exclude(group__enterprise=stranger.enterprise).exists()


def test_an_inactive_colleague_cannot_be_added(client: Client, world: World) -> None:
    Employee.objects.filter(pk=world.employees[1].pk).update(is_active=False)
    before = groups_of(world)
    answer = create(client, world.employees[0], {"name": "Bad", "employees": [world.employees[1].code]})
    assert answer.status_code == 400
    assert groups_of(world) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "n" * 61}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": 7}, "name"),
        ({"employees": []}, "employees"),
        ({"employees": "e0002"}, "employees"),
        ({"employees": [2]}, "employees"),
        ({"employees": [""]}, "employees"),
        ({"owner": "e0002"}, "owner"),
    ],
)
def test_a_malformed_body_names_the_field(client: Client, world: World, changes: dict[str, object], field: str) -> None:
    before = groups_of(world)
    answer = create(client, world.employees[0], {"name": "Fine", "employees": ["e0002"], **changes})
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert (error["code"], set(error["details"])) == ("invalid_request", {field})
    assert groups_of(world) == before


@pytest.mark.parametrize("body", ["[]", '"text"', "5", "null", "{", ""])
def test_a_body_that_is_no_object_is_refused(client: Client, world: World, body: str) -> None:
    before = groups_of(world)
    answer = client.post(
        ADDRESS,
        body,
        content_type="application/json",
        headers=bearer(world.employees[0]),
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert groups_of(world) == before


def test_without_a_log_in_no_group_is_made(client: Client, world: World) -> None:
    before = groups_of(world)
    answer = client.post(ADDRESS, {"name": "Bad", "employees": ["e0002"]}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert groups_of(world) == before


def test_a_foreign_group_looks_like_none(world: World) -> None:
    stranger = worlds.make_world(1)
    assert selectors.get_group(group_id=world.group.pk, enterprise_id=world.enterprise.pk) == world.group
    for group_id, enterprise_id in [(world.group.pk, stranger.enterprise.pk), ("0" * 32, world.enterprise.pk)]:
        with pytest.raises(NotFound) as caught:
            selectors.get_group(group_id=group_id, enterprise_id=enterprise_id)
        assert (caught.value.http_status, caught.value.details) == (404, {"group": group_id})


@pytest.mark.parametrize("size", [2, 12])
def test_answers_take_the_same_queries_for_any_number_of_members(
    client: Client, size: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    world = worlds.make_world(size)
    headers = bearer(world.employees[0])
    with django_assert_num_queries(3):  # token, groups, members
        client.get(ADDRESS, headers=headers)
    group = selectors.get_group(group_id=world.group.pk, enterprise_id=world.enterprise.pk)
    with django_assert_num_queries(1):
        selectors.load_members(groups=[group])
        assert len([member.employee.code for member in group.members.all()]) == size
    body = {"name": "All again", "employees": [person.code for person in world.employees]}
    with CaptureQueriesContext(connections["default"]) as queries:
        answer = client.post(ADDRESS, body, content_type="application/json", headers=headers)
    assert len(answer.json()["group"]["employees"]) == size
    assert len([row for row in queries if row["sql"].startswith("SELECT")]) == 4  # token, codes, count, members


@pytest.mark.parametrize("text", ["员工", "é" * 32, "😀"])
def test_text_that_is_not_ascii_is_nobody_and_no_group(world: World, text: str) -> None:
    with pytest.raises(NotFound):
        selectors.find_employee(enterprise_id=world.enterprise.pk, code=text)
    with pytest.raises(NotFound):
        selectors.get_group(group_id=text, enterprise_id=world.enterprise.pk)


def test_the_service_refuses_foreign_and_no_members(world: World) -> None:
    stranger = worlds.make_world(1).employees[0]
    before = groups_of(world)
    for employee_ids in ([], [world.employees[0].pk, stranger.pk], [2**62]):
        with pytest.raises(InvalidRequest) as caught:
            directory.create_group(
                enterprise_id=world.enterprise.pk, name="Bad", employee_ids=employee_ids, now=worlds.NOW
            )
        assert set(caught.value.details) == {"employees"}
    assert groups_of(world) == before
