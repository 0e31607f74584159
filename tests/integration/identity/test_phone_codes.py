from __future__ import annotations

import datetime as dt
import re
import threading

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from foundation import crypto
from foundation.errors import Busy, RateLimited
from identity.models import MESSAGE_COLUMN, PHONE_COLUMN, Employee, PhoneCode, ShortMessage
from identity.services import phone_codes
from identity.services.phone_codes import PhoneCodeInvalid, PhoneMissing, Purpose
from tests import worlds

NOW = dt.datetime(2026, 11, 23, 2, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
database = pytest.mark.django_db(databases="__all__")


def reachable() -> Employee:
    employee = worlds.make_world(1).employees[0]
    employee.phone = crypto.encrypt("13812345678", column=PHONE_COLUMN)
    employee.save(update_fields=["phone"])
    return employee


def last_code() -> str:
    message = ShortMessage.objects.latest("id")
    found = re.search(r"\d{6}", crypto.decrypt(message.text, column=MESSAGE_COLUMN))
    assert found is not None
    return found[0]


def sent(employee: Employee, *, at: dt.datetime = NOW, purpose: Purpose = Purpose.BANK_CARD) -> str:
    phone_codes.send(employee_id=employee.pk, purpose=purpose, now=at)
    return last_code()


def use(employee: Employee, code: str, *, at: dt.datetime = NOW, purpose: Purpose = Purpose.BANK_CARD) -> None:
    phone_codes.use(employee_id=employee.pk, purpose=purpose, code=code, now=at)


@database
def test_a_code_serves_once_for_its_purpose_and_its_employee() -> None:
    employee, other = reachable(), reachable()
    code = sent(employee)
    for who, purpose in ((other, Purpose.BANK_CARD), (employee, Purpose.WECHAT_ACCOUNT)):
        with pytest.raises(PhoneCodeInvalid):
            use(who, code, purpose=purpose)
    use(employee, code)
    with pytest.raises(PhoneCodeInvalid):
        use(employee, code)
    message = ShortMessage.objects.latest("id")
    assert (message.phone_masked, message.state) == ("138****5678", "SHOWN")
    assert code not in PhoneCode.objects.get(employee=employee).digest


@database
def test_after_five_wrong_tries_and_after_five_minutes_the_right_one_is_worthless() -> None:
    employee = reachable()
    code = sent(employee)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    for _ in range(phone_codes.MAX_TRIES):
        with pytest.raises(PhoneCodeInvalid):
            use(employee, wrong)
    with pytest.raises(PhoneCodeInvalid):
        use(employee, code)
    late = NOW + dt.timedelta(minutes=2)
    code = sent(employee, at=late)
    with pytest.raises(PhoneCodeInvalid):
        use(employee, code, at=late + phone_codes.LIFE)
    use(employee, code, at=late + phone_codes.LIFE - SECOND)


@database
def test_one_a_minute_five_an_hour_and_a_new_one_replaces_the_old() -> None:
    employee = reachable()
    first = sent(employee)
    with pytest.raises(RateLimited) as refused:
        sent(employee, at=NOW + 59 * SECOND)
    assert refused.value.details == {"retry_after_seconds": 2}
    second = sent(employee, at=NOW + 60 * SECOND)
    if first != second:
        with pytest.raises(PhoneCodeInvalid):
            use(employee, first, at=NOW + 61 * SECOND)
    for minute in (2, 3, 4):
        sent(employee, at=NOW + minute * 60 * SECOND)
    with pytest.raises(RateLimited):
        sent(employee, at=NOW + 10 * 60 * SECOND)
    assert PhoneCode.objects.filter(employee=employee).count() == 5


@database
def test_the_endpoint_says_nothing_of_the_code_and_needs_a_phone() -> None:
    employee = reachable()
    headers = {"Authorization": f"Bearer {worlds.token_of(employee)}"}
    path = "/api/v1/auth/phone-codes"
    answer = Client().post(path, {"purpose": "bank_card"}, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"expires_in_seconds": 300})
    again = Client().post(path, {"purpose": "bank_card"}, content_type="application/json", headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(again.headers["Retry-After"]) <= 60
    odd = Client().post(path, {"purpose": "anything"}, content_type="application/json", headers=headers)
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "invalid_request")
    with pytest.raises(PhoneMissing):
        phone_codes.send(employee_id=worlds.make_world(1).employees[0].pk, purpose=Purpose.BANK_CARD, now=NOW)


@database
def test_a_message_service_that_is_away_is_busy_and_no_text_is_kept(settings: Settings) -> None:
    settings.SHORT_MESSAGES = "https://127.0.0.1:9/"
    employee = reachable()
    with pytest.raises(Busy):
        phone_codes.send(employee_id=employee.pk, purpose=Purpose.BANK_CARD, now=NOW)
    message = ShortMessage.objects.latest("id")
    assert (message.state, message.text) == ("FAILED", "")


@pytest.mark.usefixtures("committed_db")
def test_of_many_requests_with_one_code_one_passes() -> None:
    employee = reachable()
    code = sent(employee)
    passed: list[int] = []
    start = threading.Barrier(8)

    def run(number: int) -> None:
        start.wait()
        try:
            use(employee, code)
        except PhoneCodeInvalid:
            pass
        else:
            passed.append(number)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 1
