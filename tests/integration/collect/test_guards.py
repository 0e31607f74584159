"""What the database itself refuses, tried by SQL as a superuser with a console would."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.db import Error, connections, transaction

from collect.domain.rules import CodeKind
from collect.models import Binding, Code, Collection
from collect.services import binding, codes
from collect.services.codes import CodeWish, Collector
from foundation.db import roles
from identity.models import Employee, StaffProfile
from tests.integration.collect import merchants
from tests.integration.collect.merchants import EVIDENCE, NOW

pytestmark = pytest.mark.django_db(databases="__all__")


def sql(statement: str) -> None:
    with connections[roles.alias_for("default")].cursor() as cursor:
        cursor.execute(statement)


def refused(statement: str, *, word: str) -> None:
    with pytest.raises(Error, match=word), transaction.atomic(using=roles.alias_for("default")):
        sql(statement)


def set_binding(row: Binding, values: str) -> str:
    return f"UPDATE collect_binding SET {values} WHERE id = '{row.pk}'"


def verified(employee: Employee) -> Binding:
    row = merchants.draft(employee)
    return binding.verify(binding_id=row.pk, user_id=merchants.staff().pk, evidence=EVIDENCE, now=NOW)


def approval_by(user_id: int) -> str:
    return f"state = 'APPROVED', approved_by_id = {user_id}, approved_at = '2026-11-23 02:00:00'"


def test_the_maker_is_never_the_approver() -> None:
    maker = merchants.staff()
    row = binding.propose(
        enterprise_id=merchants.merchant().enterprise_id,
        channel="wechat",
        sub_merchant_no=merchants.wechat_number(),
        display_name="Corner shop",
        maker=binding.Maker(user_id=maker.pk),
        now=NOW,
    )
    binding.verify(binding_id=row.pk, user_id=maker.pk, evidence=EVIDENCE, now=NOW)
    refused(set_binding(row, approval_by(maker.pk)), word="binding_four_eyes")
    sql(set_binding(row, approval_by(merchants.staff().pk)))


def test_nor_under_the_staff_account_of_the_employee_who_made_it() -> None:
    employee, same_person = merchants.merchant(), merchants.staff()
    StaffProfile.objects.create(user=same_person, employee=employee)
    row = verified(employee)
    refused(set_binding(row, approval_by(same_person.pk)), word="nobody approves what he made")
    sql(set_binding(row, approval_by(merchants.staff().pk)))


def test_a_binding_never_skips_its_approval() -> None:
    employee = merchants.merchant()
    row = verified(employee)
    refused(set_binding(row, "state = 'ACTIVE', active_mark = 1"), word="does not move|binding_approved")
    refused(set_binding(row, "state = 'APPROVED'"), word="binding_approved_by_somebody")
    refused(
        "INSERT INTO collect_binding (id, enterprise_id, channel, sub_merchant_no, sub_appid, display_name, state, "
        "live_mark, active_mark, made_by_employee_id, created_at) VALUES ("
        f"'{uuid.uuid4().hex}', {employee.enterprise_id}, 'wechat', '1900000999', '', 'x', 'ACTIVE', 1, 1, "
        f"{employee.pk}, '2026-11-23 02:00:00')",
        word="starts as a draft|binding_",
    )


@pytest.mark.parametrize(
    "values",
    [
        "sub_merchant_no = '1900000999'",
        "sub_appid = 'wx0123456789abcdef'",
        "display_name = 'Another shop'",
        "channel = 'alipay'",
        "created_at = '2020-01-01 00:00:00'",
    ],
)
def test_what_was_approved_stays(values: str) -> None:
    row = merchants.active(merchants.merchant())
    refused(set_binding(row, values), word="what was proposed stays")


def test_the_people_stay() -> None:
    row = merchants.active(merchants.merchant())
    other = merchants.staff()
    refused(set_binding(row, f"approved_by_id = {other.pk}"), word="who verified and approved stays")
    refused(set_binding(row, f"verified_by_id = {other.pk}"), word="who verified and approved stays")
    refused(set_binding(row, "verified_by_id = NULL"), word="who verified and approved|binding_verified")


def test_two_accounts_of_a_channel_are_never_both_in_use() -> None:
    employee = merchants.merchant()
    merchants.active(employee)
    row = merchants.approved(employee)
    refused(set_binding(row, "state = 'ACTIVE', active_mark = 1"), word="binding_active_once|UNIQUE")


def test_nothing_is_deleted_and_events_never_change() -> None:
    row = merchants.active(merchants.merchant())
    refused("UPDATE collect_bindingevent SET note = 'x'", word="insert-only")
    refused("DELETE FROM collect_bindingevent", word="insert-only")
    refused(f"DELETE FROM collect_binding WHERE id = '{row.pk}'", word="never deleted")


def code_of(employee: Employee, *, is_once: bool = False) -> Code:
    return codes.create_code(
        code_id=codes.issue_id(),
        collector=Collector(employee_id=employee.pk, enterprise_id=employee.enterprise_id),
        wish=CodeWish(kind=CodeKind.PLAIN, is_once=is_once),
        now=NOW,
    )


def collection_of(code: Code, row: Binding) -> Collection:
    return Collection.objects.create(
        id=codes.issue_id(),
        order_no=uuid.uuid4().hex.upper(),
        code=code,
        binding=row,
        enterprise_id=code.enterprise_id,
        employee_id=code.employee_id,
        channel=row.channel,
        amount_fen=100,
        once_code=code.pk if code.is_once else None,
        created_at=NOW,
        expires_at=NOW + dt.timedelta(minutes=15),
    )


def set_collection(row: Collection, values: str) -> str:
    return f"UPDATE collect_collection SET {values} WHERE id = '{row.pk}'"


PAID = "state = 'PAID', attempt_no = 'AT1', paid_at = '2026-11-23 02:01:00', ended_at = '2026-11-23 02:01:00'"


def test_a_collection_keeps_amount_and_account() -> None:
    employee = merchants.merchant()
    used, other = merchants.active(employee), merchants.approved(employee)
    row = collection_of(code_of(employee), used)
    refused(set_collection(row, "amount_fen = 1"), word="keeps its amount and account")
    refused(set_collection(row, f"binding_id = '{other.pk}'"), word="keeps its amount and account")


def test_a_closed_collection_does_not_become_paid_and_refunds_only_grow() -> None:
    employee = merchants.merchant()
    used = merchants.active(employee)
    closed, paid = collection_of(code_of(employee), used), collection_of(code_of(employee), used)
    sql(set_collection(closed, "state = 'CLOSED', ended_at = '2026-11-23 03:00:00'"))
    refused(set_collection(closed, PAID), word="does not move like this")
    sql(set_collection(paid, PAID))
    sql(set_collection(paid, "refunded_fen = 60"))
    refused(set_collection(paid, "refunded_fen = 50"), word="keeps its amount")
    refused(set_collection(paid, "refunded_fen = 101"), word="collection_amounts")
    refused(set_collection(paid, "state = 'REFUNDED'"), word="collection_refunded")


def test_a_code_that_serves_once_has_one_open_collection() -> None:
    employee = merchants.merchant()
    used, code = merchants.active(employee), code_of(employee, is_once=True)
    first = collection_of(code, used)
    with pytest.raises(Error), transaction.atomic(using=roles.alias_for("default")):
        collection_of(code, used)
    sql(set_collection(first, "state = 'CLOSED', ended_at = '2026-11-23 03:00:00', once_code = NULL"))
    assert collection_of(code, used).state == "OPEN"


def test_a_code_keeps_what_it_asks_for() -> None:
    code = code_of(merchants.merchant())
    refused(f"UPDATE collect_code SET amount_fen = 1 WHERE id = '{code.pk}'", word="keeps what it asks for")
    refused(f"UPDATE collect_code SET expires_at = '2030-01-01' WHERE id = '{code.pk}'", word="keeps what it asks for")
    refused(f"DELETE FROM collect_code WHERE id = '{code.pk}'", word="never deleted")
