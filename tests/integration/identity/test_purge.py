from __future__ import annotations

import datetime as dt

import pytest

from foundation import crypto
from identity.jobs import Purge
from identity.models import PHONE_COLUMN, AccessToken, PhoneCode, ShortMessage
from identity.services import login, phone_codes
from identity.services.phone_codes import Purpose
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = dt.datetime(2026, 11, 23, 2, 0, tzinfo=dt.UTC)


def test_what_serves_nobody_any_more_is_deleted_and_nothing_else() -> None:
    employee = worlds.make_world(1).employees[0]
    employee.phone = crypto.encrypt("13812345678", column=PHONE_COLUMN)
    employee.save(update_fields=["phone"])
    for days in (40, 1):
        at = NOW - dt.timedelta(days=days)
        login.log_in(
            enterprise_code=employee.enterprise.code, employee_code=employee.code, password=worlds.PASSWORD, now=at
        )
        phone_codes.send(employee_id=employee.pk, purpose=Purpose.BANK_CARD, now=at)
    present = login.log_in(
        enterprise_code=employee.enterprise.code, employee_code=employee.code, password=worlds.PASSWORD, now=NOW
    )
    report = Purge().run(now=NOW)
    assert (report["tokens"], report["phone_codes"], report["short_messages"]) >= (1, 1, 1)
    assert AccessToken.objects.filter(employee=employee).count() == 2
    assert PhoneCode.objects.filter(employee=employee).count() == 1
    assert ShortMessage.objects.filter(created_at__lt=NOW - dt.timedelta(days=30)).count() == 0
    assert login.authenticate_token(token=present.access_token, now=NOW) == employee
