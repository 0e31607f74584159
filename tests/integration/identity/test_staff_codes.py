"""One-time codes of staff: used once, throttled, asked for after the password, set up on the page."""

from __future__ import annotations

import datetime as dt
import re
import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from pytest_django import Settings

from foundation import clock
from identity.models import Authenticator
from identity.services import staff_codes

pytestmark = pytest.mark.django_db(databases="__all__")
PASSWORD = "a-long-password"
STEP = dt.timedelta(seconds=30)


def staff() -> User:
    return User.objects.create_user(f"s-{uuid.uuid4().hex[:8]}", password=PASSWORD, is_staff=True, is_superuser=True)


def code_of(device: Authenticator, now: dt.datetime) -> str:
    maker = TOTP(device.bin_key)
    maker.time = now.timestamp()
    return f"{maker.token():06d}"


def test_a_code_is_used_once_and_an_older_one_no_more() -> None:
    user, now = staff(), clock.now()
    device = staff_codes.provide(user=user)
    older = code_of(device, now - STEP)
    assert staff_codes.verify(user=user, code=code_of(device, now), now=now) == f"totp:{device.pk}"
    for used in (code_of(device, now), older):
        with pytest.raises(staff_codes.StaffCodeInvalid):
            staff_codes.verify(user=user, code=used, now=now)
        Authenticator.objects.filter(pk=device.pk).update(throttling_failure_count=0)
    assert staff_codes.verify(user=user, code=code_of(device, now + STEP), now=now + STEP)


def test_wrong_codes_make_the_next_try_wait_longer_each_time() -> None:
    user, now = staff(), clock.now()
    device = staff_codes.provide(user=user)
    wrong = f"{(int(code_of(device, now)) + 1) % 10**6:06d}"
    for pause in (1, 2, 4):
        with pytest.raises(staff_codes.StaffCodeInvalid):
            staff_codes.verify(user=user, code=wrong, now=now)
        with pytest.raises(staff_codes.StaffCodeThrottled) as caught:
            staff_codes.verify(user=user, code=code_of(device, now), now=now)
        assert caught.value.details["retry_after_seconds"] == pause
        now += dt.timedelta(seconds=pause)
    assert staff_codes.verify(user=user, code=code_of(device, now), now=now) == f"totp:{device.pk}"


@pytest.mark.parametrize("code", ["", "１２３４５６", "abc", "000000000"])
def test_what_is_no_code_is_refused(code: str) -> None:
    user = staff()
    staff_codes.provide(user=user)
    with pytest.raises(staff_codes.StaffCodeInvalid):
        staff_codes.verify(user=user, code=code, now=clock.now())


def test_without_a_device_there_is_no_code() -> None:
    with pytest.raises(staff_codes.NoStaffDevice):
        staff_codes.verify(user=staff(), code="123456", now=clock.now())


def test_set_up_on_the_page_then_asked_for_at_log_in_and_a_recovery_code_works_once(client: Client) -> None:
    user = staff()
    assert client.login(username=user.username, password=PASSWORD)
    page = client.get(reverse("staff_enrol"))
    device = Authenticator.objects.get(user=user, confirmed=False)
    assert "<svg" in page.content.decode()
    assert staff_codes.secret_of(device) in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    shown = client.post(reverse("staff_enrol"), {"code": code_of(device, clock.now())}).content.decode()
    codes = re.findall(r"<li><code>(\w{12})</code>", shown)
    assert len(set(codes)) == 10
    assert client.get(reverse("admin:index")).status_code == 200
    assert client.get(reverse("staff_enrol")).status_code == 302
    for expected in (200, 302):
        other = Client()
        assert other.login(username=user.username, password=PASSWORD)
        detour = other.get(reverse("admin:index"))
        assert detour["Location"].startswith(reverse("staff_code"))
        other.post(reverse("staff_code"), {"code": codes[0]})
        assert other.get(reverse("admin:index")).status_code == expected


def test_a_removed_device_ends_the_verified_session(client: Client, settings: Settings) -> None:
    settings.STAFF_CODES = "required"
    user = staff()
    device = staff_codes.provide(user=user)
    client.force_login(user)
    client.post(reverse("staff_code"), {"code": code_of(device, clock.now())})
    assert client.get(reverse("admin:index")).status_code == 200
    device.delete()
    assert client.get(reverse("admin:index"))["Location"].startswith(reverse("staff_enrol"))


def test_required_shows_nothing_but_the_enrolment_page(client: Client, settings: Settings) -> None:
    settings.STAFF_CODES = "required"
    client.force_login(staff())
    for page in ("admin:index", "admin:withdrawals_withdrawal_changelist", "admin:auth_user_changelist"):
        assert client.get(reverse(page))["Location"].startswith(reverse("staff_enrol"))
    assert client.get(reverse("staff_enrol")).status_code == 200


def test_nobody_is_led_to_another_site(client: Client) -> None:
    user = staff()
    device = staff_codes.provide(user=user)
    client.force_login(user)
    sent = {"code": code_of(device, clock.now()), "next": "https://evil.example/admin/"}
    assert client.post(reverse("staff_code"), sent)["Location"] == reverse("admin:index")
