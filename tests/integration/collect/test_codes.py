"""Codes: made once, ended once, payable only while they are good."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from collect.domain import rules
from collect.domain.rules import CodeKind
from collect.models import Code
from collect.services import codes
from collect.services.codes import CodeExpired, CodeIdUsed, CodeWish, Collector
from foundation.errors import InvalidRequest, NotFound
from tests.integration.collect import merchants
from tests.integration.collect.merchants import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

PLAIN = CodeWish(kind=CodeKind.PLAIN)
ORDER = CodeWish(kind=CodeKind.ORDER, amount_fen=8888, subject="Two chairs", crm_order_no="SO-2026/11")


def collector() -> Collector:
    employee = merchants.merchant()
    return Collector(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def made(wish: CodeWish, who: Collector | None = None) -> Code:
    return codes.create_code(code_id=codes.issue_id(), collector=who or collector(), wish=wish, now=NOW)


def test_ids_are_of_our_form_and_differ() -> None:
    ids = {codes.issue_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(rules.is_id(code_id) for code_id in ids)


def test_a_plain_code_serves_many_and_an_order_once() -> None:
    plain, order = made(PLAIN), made(ORDER)
    assert (plain.is_once, plain.amount_fen, plain.expires_at) == (False, None, None)
    assert (order.is_once, order.amount_fen, order.crm_order_no) == (True, 8888, "SO-2026/11")


def test_a_repeat_answers_the_first_code_and_another_wish_is_refused() -> None:
    who, code_id = collector(), codes.issue_id()
    first = codes.create_code(code_id=code_id, collector=who, wish=ORDER, now=NOW)
    later = NOW + dt.timedelta(hours=1)
    assert codes.create_code(code_id=code_id, collector=who, wish=ORDER, now=later).created_at == first.created_at
    with pytest.raises(CodeIdUsed):
        codes.create_code(code_id=code_id, collector=who, wish=dataclasses.replace(ORDER, amount_fen=1), now=later)
    with pytest.raises(CodeIdUsed):
        codes.create_code(code_id=code_id, collector=collector(), wish=ORDER, now=later)
    assert Code.objects.get(pk=code_id).amount_fen == 8888


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (dataclasses.replace(PLAIN, amount_fen=0), "amount_fen"),
        (dataclasses.replace(PLAIN, amount_fen=-1), "amount_fen"),
        (dataclasses.replace(PLAIN, amount_fen=rules.MAX_AMOUNT_FEN + 1), "amount_fen"),
        (dataclasses.replace(PLAIN, crm_order_no="SO-1"), "crm_order_no"),
        (dataclasses.replace(PLAIN, subject="x" * 61), "subject"),
        (dataclasses.replace(PLAIN, subject="a\x00b"), "subject"),
        (dataclasses.replace(PLAIN, expires_in_seconds=59), "expires_in_seconds"),
        (dataclasses.replace(PLAIN, expires_in_seconds=367 * 86_400), "expires_in_seconds"),
        (dataclasses.replace(ORDER, amount_fen=None), "amount_fen"),
        (dataclasses.replace(ORDER, subject=" "), "subject"),
        (dataclasses.replace(ORDER, crm_order_no=""), "crm_order_no"),
        (dataclasses.replace(ORDER, crm_order_no="SO 1"), "crm_order_no"),
    ],
)
def test_a_wrong_wish_makes_nothing(wish: CodeWish, field: str) -> None:
    who = collector()
    with pytest.raises(InvalidRequest) as refusal:
        made(wish, who)
    assert list(refusal.value.details) == [field]
    assert not Code.objects.filter(enterprise_id=who.enterprise_id).exists()


def test_a_code_is_payable_until_the_moment_it_expires() -> None:
    code = made(dataclasses.replace(PLAIN, expires_in_seconds=60))
    last = NOW + dt.timedelta(seconds=60)
    assert codes.get_payable(code_id=code.pk, now=last - dt.timedelta(microseconds=1)).pk == code.pk
    with pytest.raises(CodeExpired):
        codes.get_payable(code_id=code.pk, now=last)


def test_a_disabled_code_is_not_payable_and_a_repeat_changes_nothing() -> None:
    code = made(PLAIN)
    ended = codes.disable_code(code_id=code.pk, enterprise_id=code.enterprise_id, now=NOW)
    again = codes.disable_code(code_id=code.pk, enterprise_id=code.enterprise_id, now=NOW + dt.timedelta(hours=1))
    assert (ended.state, again.ended_at) == ("DISABLED", NOW)
    with pytest.raises(CodeExpired):
        codes.get_payable(code_id=code.pk, now=NOW)


def test_another_enterprise_finds_nothing_to_disable() -> None:
    code = made(PLAIN)
    with pytest.raises(NotFound):
        codes.disable_code(code_id=code.pk, enterprise_id=collector().enterprise_id, now=NOW)
    assert codes.get_payable(code_id=code.pk, now=NOW).state == "ACTIVE"


@pytest.mark.parametrize("code_id", ["", "x", "23456789abcdef", "收款", "' OR 1=1 --", "\x00" * 14, "a" * 5000])
def test_guessed_and_hostile_ids_are_not_found(code_id: Any) -> None:
    with pytest.raises(NotFound):
        codes.get_payable(code_id=code_id, now=NOW)
