"""Stored credentials: encrypted, used instead of the file, rotated without a restart, watched for their end."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import Settings

from foundation import clock, crypto
from foundation.models import Alert
from gateway import registry, selectors
from gateway.jobs import WatchCredentials
from gateway.models import SECRET_COLUMN, CallRecord, ChannelSetting, Credential, RoutingDecision
from gateway.services import credentials, health
from simulator import credentials as simulated
from tests import worlds
from tests.contract.gateway.provider import Provider

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = worlds.NOW
LIST = reverse("admin:gateway_credential_changelist")
ADD = reverse("admin:gateway_credential_add")


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    selectors.forget()
    with clock.frozen(NOW):
        yield
    selectors.forget()


def text(provider: Provider, name: str) -> str:
    return Path(provider.directory / name).read_text(encoding="utf-8")


def add(name: str, content: str, **more: object) -> Credential:
    values = {"valid_from": NOW, "expires_at": None, "channel": "wechat", **more}
    return credentials.add(name=name, content=content, note="", created_by="boss", now=NOW, **values)


def add_all(provider: Provider, **changes: str) -> None:
    for name in ("merchant.pem", "platform.pem"):
        add(name, text(provider, name))
    data = {**json.loads(provider.credentials_file.read_text(encoding="utf-8")), **changes}
    add("credentials.json", json.dumps(data))


def mchid() -> str:
    return registry.adapter("wechat")._credentials.mchid


def days(count: float) -> dt.datetime:
    return NOW + dt.timedelta(days=count)


def test_a_secret_is_stored_closed_with_a_fingerprint(provider: Provider) -> None:
    stored = add("merchant.pem", text(provider, "merchant.pem"))
    row = Credential.objects.get(pk=stored.pk)
    assert row.secret.startswith("v1:dev:")
    assert "PRIVATE KEY" not in row.secret
    assert crypto.decrypt(row.secret, column=SECRET_COLUMN) == text(provider, "merchant.pem")
    assert row.fingerprint == crypto.blind_index(text(provider, "merchant.pem"), column=SECRET_COLUMN)
    assert (row.channel, row.created_by, row.is_active) == ("wechat", "boss", True)


def test_a_stored_set_is_used_instead_of_the_file_and_the_file_again_without_it(provider: Provider) -> None:
    from_file = registry.adapter("wechat")
    add_all(provider, mchid="1900000999")
    assert mchid() == "1900000999"
    assert registry.adapter("wechat") is registry.adapter("wechat")
    for row in Credential.objects.filter(channel="wechat", name="credentials.json"):
        assert credentials.switch_off(credential_id=row.pk) is True
        assert credentials.switch_off(credential_id=row.pk) is False
    assert registry.adapter("wechat") is from_file


def test_a_stored_set_is_enough(provider: Provider, settings: Settings) -> None:
    settings.WECHAT = {**settings.WECHAT, "credentials_file": ""}
    assert "wechat" not in registry.payment_channels()
    add_all(provider)
    assert "wechat" in registry.payment_channels()
    assert mchid() == json.loads(provider.credentials_file.read_text(encoding="utf-8"))["mchid"]


def test_a_new_one_takes_over_at_its_moment_without_a_restart(provider: Provider) -> None:
    add_all(provider, mchid="1900000001")
    data = json.loads(provider.credentials_file.read_text(encoding="utf-8"))
    add("credentials.json", json.dumps({**data, "mchid": "1900000002"}), valid_from=days(1), expires_at=days(2))
    assert mchid() == "1900000001"
    with clock.frozen(days(1)):
        assert mchid() == "1900000002"
    with clock.frozen(days(2)):
        assert mchid() == "1900000001"


def test_another_process_sees_it_within_two_seconds(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(selectors.time, "monotonic", lambda: moment[0])
    before = mchid()
    monkeypatch.setattr(selectors, "forget", lambda: None)  # as in a process that did not make the change
    add_all(provider, mchid="1900000003")
    assert mchid() == before
    moment[0] += 1.0
    assert mchid() == "1900000003"


def test_key_files_never_touch_a_disk(provider: Provider) -> None:
    from gateway import vault

    add_all(provider)
    path = Path(vault.credentials_file(channel="wechat", now=NOW))
    data = json.loads(path.read_text(encoding="utf-8"))
    assert str(path).startswith("/proc/self/fd/")
    assert path.resolve().name.startswith("memfd:credentials.json") or "memfd" in str(path.readlink())
    key = Path(data["merchant_private_key_file"])
    assert "memfd:merchant.pem" in str(key.readlink())
    assert key.read_text(encoding="utf-8") == text(provider, "merchant.pem")


@pytest.mark.parametrize(
    ("name", "content", "more", "problem"),
    [
        ("x.pem", "x", {"channel": "paypal"}, "unknown channel"),
        ("../x.pem", "x", {}, "not a file name"),
        ("x.pem", "  \n", {}, "empty or too long"),
        ("x.pem", "x" * 65537, {}, "empty or too long"),
        ("x.pem", "x", {"expires_at": NOW}, "ends before it begins or has ended"),
        ("credentials.json", "no json", {}, "credentials.json is missing or no JSON object"),
        ("credentials.json", '{"a_file": "b.pem"}', {}, "b.pem (a_file) is not among the active credentials"),
        ("credentials.json", "{}", {}, "lacks"),
    ],
)
def test_what_cannot_be_used_is_not_stored(name: str, content: str, more: dict, problem: str) -> None:
    with pytest.raises(credentials.CredentialUnusable) as caught:
        add(name, content, **more)
    assert problem in caught.value.details["problem"]
    assert not Credential.objects.exists()


def test_a_value_that_does_not_open_stops_the_channel_and_is_ours(provider: Provider) -> None:
    add_all(provider)
    Credential.objects.filter(name="merchant.pem").update(
        secret=crypto.encrypt("x", column="other.column"), fingerprint="changed"
    )
    selectors.forget()
    with pytest.raises(registry.ChannelMisconfigured) as caught:
        registry.adapter("wechat")
    assert caught.value.details == {"channel": "wechat", "problem": "credentials unreadable"}


def test_what_ends_within_thirty_days_is_alerted_unless_something_follows() -> None:
    add("a.pem", "a", expires_at=days(31))
    add("b.pem", "b", expires_at=days(30))
    add("c.pem", "c", expires_at=days(7))
    add("d.pem", "d", expires_at=days(3))
    add("d.pem", "d2", valid_from=days(2), expires_at=days(400))
    add("e.pem", "e", expires_at=days(3))
    add("e.pem", "e2", valid_from=days(2))
    off = add("f.pem", "f", expires_at=days(1))
    credentials.switch_off(credential_id=off.pk)
    for _ in range(2):
        assert WatchCredentials().run(now=NOW) == {"expiring": 2, "re_encrypted": 0}
    found = Alert.objects.filter(code="credential_expiring").order_by("subject")
    assert list(found.values_list("subject", "severity", "times")) == [
        ("wechat:b.pem", "WARNING", 2),
        ("wechat:c.pem", "CRITICAL", 2),
    ]
    assert WatchCredentials().run(now=days(8))["expiring"] == 3  # a.pem now, too; c.pem has ended


def test_the_daily_job_closes_everything_with_the_newest_key() -> None:
    with override_settings(ENCRYPTION_KEYS={"2026": b"o" * 32}):
        stored = add("a.pem", "secret")
    with override_settings(ENCRYPTION_KEYS={"2026": b"o" * 32, "2027": b"n" * 32}):
        assert WatchCredentials().run(now=NOW) == {"expiring": 0, "re_encrypted": 1}
        assert WatchCredentials().run(now=NOW) == {"expiring": 0, "re_encrypted": 0}
    with override_settings(ENCRYPTION_KEYS={"2027": b"n" * 32}):
        stored.refresh_from_db()
        assert crypto.decrypt(stored.secret, column=SECRET_COLUMN) == "secret"


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="x"))
    return client


def form(**changes: str) -> dict[str, str]:
    return {
        "channel": "wechat",
        "name": "merchant.pem",
        "content": "line one\r\nTOP-SECRET-LINE",
        "valid_from_0": "2026-11-22",
        "valid_from_1": "10:00:00",
        "expires_at_0": "2027-11-22",
        "expires_at_1": "10:00:00",
        "note": "",
        **changes,
    }


def test_staff_write_a_secret_and_see_fingerprints_only(boss: Client) -> None:
    assert boss.post(ADD, form()).status_code == 302
    row = Credential.objects.get()
    assert crypto.decrypt(row.secret, column=SECRET_COLUMN) == "line one\nTOP-SECRET-LINE"
    assert (row.created_by, row.valid_from, row.expires_at) == (
        "boss",
        NOW,
        dt.datetime(2027, 11, 22, 2, tzinfo=dt.UTC),
    )
    page = boss.get(reverse("admin:gateway_credential_change", args=[row.pk]))
    for answer in (boss.get(LIST), page):
        shown = answer.content.decode()
        assert row.fingerprint[:16] in shown
        assert not any(secret in shown for secret in ("TOP-SECRET", row.secret, row.fingerprint))
    history = boss.get(reverse("admin:gateway_credential_history", args=[row.pk])).content.decode()
    assert "TOP-SECRET" not in history


def test_an_error_does_not_send_the_secret_back(boss: Client) -> None:
    answer = boss.post(ADD, form(expires_at_0="2026-11-21"))
    assert answer.status_code == 200
    assert "ends before it begins" in answer.content.decode()
    assert "TOP-SECRET" not in answer.content.decode()
    assert not Credential.objects.exists()


def test_a_credential_cannot_be_changed_only_switched_off_by_who_may(boss: Client) -> None:
    row = add("a.pem", "a")
    address = reverse("admin:gateway_credential_change", args=[row.pk])
    assert boss.post(address, form(name="b.pem")).status_code == 403
    off = {"action": "switch_off", "_selected_action": [str(row.pk)]}
    viewer = Client()
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_credential"))
    viewer.force_login(user)
    viewer.post(LIST, off)
    row.refresh_from_db()
    assert (row.name, row.is_active) == ("a.pem", True)
    assert viewer.get(ADD).status_code == 403
    boss.post(LIST, off)
    row.refresh_from_db()
    assert row.is_active is False


def test_staff_switch_a_channel_off_and_strangers_do_not(boss: Client) -> None:
    add_page = reverse("admin:gateway_channelsetting_add")
    data = {
        "code": "wechat",
        "min_fen": "0.01",
        "max_fen": "50,000.00",
        "kinds": ["recharge", "payment"],
        "scenes": ["native", "h5"],
        "client_classes": ["VIP"],
        "weight": "0",
        "large_weight": "10",
        "vip_weight": "20",
        "note": "banned 2026-11-22",
    }
    assert boss.post(add_page, {**data, "code": "paypal"}).status_code == 200
    assert boss.post(add_page, {**data, "max_fen": "0.00"}).status_code == 200
    assert selectors.get_terms(channel="wechat").is_enabled
    assert boss.post(add_page, data).status_code == 302
    terms = selectors.get_terms(channel="wechat")
    assert (terms.is_enabled, terms.min_fen, terms.max_fen) == (False, 1, 5_000_000)
    assert (terms.kinds, terms.scenes, terms.client_classes) == ({"recharge", "payment"}, {"native", "h5"}, {"VIP"})
    assert terms.weights == {"ORDINARY": 0, "LARGE": 10, "VIP": 20}
    shown = boss.get(reverse("admin:gateway_channelsetting_changelist")).content.decode()
    assert "¥50,000.00" in shown
    assert "kuaiqian" in shown
    row = ChannelSetting.objects.get()
    change = reverse("admin:gateway_channelsetting_change", args=[row.pk])
    assert Client().post(change, {**data, "is_enabled": "on"})["Location"].startswith("/admin/login/")
    assert not selectors.get_terms(channel="wechat").is_enabled
    assert boss.post(change, {**data, "is_enabled": "on"}).status_code == 302
    assert selectors.get_terms(channel="wechat").is_enabled
    assert boss.post(reverse("admin:gateway_channelsetting_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_staff_close_a_breaker(boss: Client) -> None:
    row = ChannelSetting.objects.create(code="wechat")
    now_ms = clock.epoch_ms()
    for _ in range(20):
        health.record(channel="wechat", is_error=True, milliseconds=1, now_ms=now_ms)
    address = reverse("admin:gateway_channelsetting_changelist")
    assert "open" in boss.get(address).content.decode()
    boss.post(address, {"action": "close_breaker", "_selected_action": [str(row.pk)]})
    assert health.look(channel="wechat", now_ms=now_ms) == health.Health(state=health.State.CLOSED)


def test_decisions_and_calls_are_read_and_found_by_number(boss: Client) -> None:
    RoutingDecision.objects.create(
        order_no="RC1",
        kind="recharge",
        scene="native",
        client_class="VIP",
        amount_fen=12_345,
        is_named=False,
        candidates=[{"channel": "alipay", "weight": 7, "exclusion": "amount"}],
        decided_at=NOW,
    )
    row = RoutingDecision.objects.get(order_no="RC1")
    page = boss.get(reverse("admin:gateway_routingdecision_change", args=[row.pk])).content.decode()
    assert "<li>alipay, 7: amount</li>" in page
    assert "¥123.45" in page
    for number in ("PA1", "PA2"):
        CallRecord.objects.create(
            channel="wechat", operation="query", number=number, outcome="SUCCESS", milliseconds=12, called_at=NOW
        )
    found = boss.get(reverse("admin:gateway_callrecord_changelist"), {"q": "PA2"}).content.decode()
    assert ("PA2" in found, "?q=PA1" in found) == (True, False)


@pytest.mark.parametrize(
    ("channel", "file"), [("wechat", "credentials.json"), ("alipay", "alipay.json"), ("kuaiqian", "kuaiqian.json")]
)
def test_every_adapter_is_built_from_memory(channel: str, file: str, tmp_path: Path, settings: Settings) -> None:
    simulated.initialise(directory=tmp_path)
    for path in tmp_path.glob("*.pem"):
        add(path.name, path.read_text(encoding="utf-8"), channel=channel)
    add("credentials.json", (tmp_path / file).read_text(encoding="utf-8"), channel=channel)
    name = channel.upper()
    setattr(settings, name, {**getattr(settings, name), "credentials_file": ""})
    for path in tmp_path.iterdir():
        path.unlink()
    assert registry.adapter(channel) is registry.adapter(channel)
