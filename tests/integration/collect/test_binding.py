"""The life of a receiving account through the services."""

from __future__ import annotations

import pytest

from collect.models import Binding
from collect.services import binding
from collect.services.binding import BindingExists, Maker
from collect.services.trail import BindingNotMovable
from foundation.errors import InvalidRequest, NotFound, PermissionDenied
from identity.models import StaffProfile
from tests.integration.collect import merchants
from tests.integration.collect.merchants import EVIDENCE, NOW

pytestmark = pytest.mark.django_db(databases="__all__")


def trail_of(row: Binding) -> list[str]:
    return list(row.events.order_by("id").values_list("state", flat=True))


def test_from_draft_to_use_by_four_eyes() -> None:
    employee = merchants.merchant()
    row = merchants.active(employee)
    row.refresh_from_db()
    assert (row.state, row.active_mark, row.live_mark) == ("ACTIVE", 1, 1)
    assert row.made_by_employee_id == employee.pk
    assert row.approved_at == NOW
    assert trail_of(row) == ["DRAFT", "VERIFIED", "APPROVED", "ACTIVE"]


def test_each_step_repeated_by_the_same_person_changes_nothing() -> None:
    employee, first, second = merchants.merchant(), merchants.staff(), merchants.staff()
    number = merchants.wechat_number()
    row = merchants.draft(employee, number=number)
    assert merchants.draft(employee, number=number).pk == row.pk
    for _ in range(2):
        binding.verify(binding_id=row.pk, user_id=first.pk, evidence=EVIDENCE, now=NOW)
    for _ in range(2):
        binding.approve(binding_id=row.pk, user_id=second.pk, now=NOW)
    for _ in range(2):
        binding.activate(binding_id=row.pk, actor="staff:1", now=NOW)
    for _ in range(2):
        binding.disable(binding_id=row.pk, actor="staff:1", reason="Licence ended", now=NOW)
    assert trail_of(row) == ["DRAFT", "VERIFIED", "APPROVED", "ACTIVE", "DISABLED"]


def test_a_member_of_staff_does_not_approve_what_he_made() -> None:
    employee, maker = merchants.merchant(), merchants.staff()
    row = binding.propose(
        enterprise_id=employee.enterprise_id,
        channel="alipay",
        sub_merchant_no="2088102146225135",
        display_name="Corner shop",
        maker=Maker(user_id=maker.pk),
        now=NOW,
    )
    binding.verify(binding_id=row.pk, user_id=maker.pk, evidence=EVIDENCE, now=NOW)
    with pytest.raises(PermissionDenied):
        binding.approve(binding_id=row.pk, user_id=maker.pk, now=NOW)
    row.refresh_from_db()
    assert (row.state, row.approved_by_id) == ("VERIFIED", None)
    assert binding.approve(binding_id=row.pk, user_id=merchants.staff().pk, now=NOW).state == "APPROVED"


def test_an_employee_does_not_approve_under_his_staff_account() -> None:
    employee, same_person = merchants.merchant(), merchants.staff()
    StaffProfile.objects.create(user=same_person, employee=employee)
    row = merchants.draft(employee)
    binding.verify(binding_id=row.pk, user_id=merchants.staff().pk, evidence=EVIDENCE, now=NOW)
    with pytest.raises(PermissionDenied):
        binding.approve(binding_id=row.pk, user_id=same_person.pk, now=NOW)
    row.refresh_from_db()
    assert row.state == "VERIFIED"


def test_nothing_is_used_unapproved() -> None:
    row = merchants.draft(merchants.merchant())
    with pytest.raises(BindingNotMovable):
        binding.activate(binding_id=row.pk, actor="staff:1", now=NOW)
    with pytest.raises(BindingNotMovable):
        binding.approve(binding_id=row.pk, user_id=merchants.staff().pk, now=NOW)
    row.refresh_from_db()
    assert (row.state, trail_of(row)) == ("DRAFT", ["DRAFT"])


def test_a_switch_leaves_one_account_in_use_per_channel() -> None:
    employee = merchants.merchant()
    first, second = merchants.active(employee), merchants.active(employee)
    first.refresh_from_db()
    assert (first.state, second.state) == ("DISABLED", "ACTIVE")
    assert first.events.latest("id").note == f"replaced by {second.pk}"
    binding.activate(binding_id=first.pk, actor="staff:1", now=NOW)
    in_use = Binding.objects.filter(enterprise_id=employee.enterprise_id, active_mark=1)
    assert list(in_use.values_list("pk", flat=True)) == [first.pk]


def test_another_enterprises_account_stays_in_use() -> None:
    other = merchants.active(merchants.merchant())
    merchants.active(merchants.merchant())
    other.refresh_from_db()
    assert other.state == "ACTIVE"


def test_a_number_is_bound_once_and_free_again_after_rejection() -> None:
    number = merchants.wechat_number()
    row = merchants.draft(merchants.merchant(), number=number)
    thief = merchants.merchant()
    with pytest.raises(BindingExists):
        merchants.draft(thief, number=number)
    assert Binding.objects.filter(sub_merchant_no=number).count() == 1
    binding.reject(binding_id=row.pk, user_id=merchants.staff().pk, reason="Not their account", now=NOW)
    assert merchants.draft(thief, number=number).enterprise_id == thief.enterprise_id


def test_malformed_particulars_create_nothing() -> None:
    employee = merchants.merchant()
    with pytest.raises(InvalidRequest) as refusal:
        binding.propose(
            enterprise_id=employee.enterprise_id,
            channel="wechat",
            sub_merchant_no="1900000109' OR 1=1",
            sub_appid="nonsense",
            display_name=" \u202e",
            maker=Maker(employee_id=employee.pk),
            now=NOW,
        )
    assert sorted(refusal.value.details) == ["display_name", "sub_appid", "sub_merchant_no"]
    assert not Binding.objects.filter(enterprise_id=employee.enterprise_id).exists()


def test_a_verification_says_how() -> None:
    row = merchants.draft(merchants.merchant())
    with pytest.raises(InvalidRequest):
        binding.verify(binding_id=row.pk, user_id=merchants.staff().pk, evidence=" ok ", now=NOW)
    row.refresh_from_db()
    assert row.state == "DRAFT"


def test_unknown_bindings_are_not_found() -> None:
    with pytest.raises(NotFound):
        binding.activate(binding_id="0" * 32, actor="staff:1", now=NOW)
    with pytest.raises(NotFound):
        binding.approve(binding_id="0" * 32, user_id=1, now=NOW)
