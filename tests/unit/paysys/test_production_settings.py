"""Production refuses to start with anything that is only good for a developer's machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.system import ROOT

GOOD = {
    "DJANGO_SETTINGS_MODULE": "paysys.settings.production",
    "DJANGO_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
    "DJANGO_ALLOWED_HOSTS": "pay.example.com",
    "PAYSYS_LEDGER_SEAL_KEYS": "2026:" + "ab" * 32,
    "PAYSYS_ENCRYPTION_KEYS": "2026:" + "cd" * 32,
    "PAYSYS_PUBLIC_BASE_URL": "https://pay.example.com",
    "DATABASE_URL": "mysql://user:secret@127.0.0.1:3306/paysys",
    "WECHAT_CREDENTIALS_FILE": "/etc/paysys/credentials.json",
    "PAYSYS_SHORT_MESSAGES": "https://sms.example.com/send",
    "PAYSYS_SHORT_MESSAGES_SECRET": "s" * 32,
}


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    """Loads the settings in a process of its own; an empty change removes the variable."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **GOOD, **changes}
    environment = {name: value for name, value in environment.items() if value}
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); from django.conf import settings; settings.DEBUG"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_good_settings_start() -> None:
    result = start()
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY is the default"),
        ({"DJANGO_SECRET_KEY": "short"}, "DJANGO_SECRET_KEY is the default"),
        ({"DJANGO_DEBUG": "on"}, "DJANGO_DEBUG is on"),
        ({"DATABASE_URL": "sqlite:////tmp/x.sqlite3"}, "database default is SQLite"),
        ({"FUNDS_DATABASE_URL": "sqlite:////tmp/x.sqlite3"}, "database funds is SQLite"),
        ({"WECHAT_BASE_URL": "http://127.0.0.1:8900"}, "WECHAT_BASE_URL"),
        ({"WECHAT_BASE_URL": "https://api.mch.weixin.qq.com.example.com"}, "WECHAT_BASE_URL"),
        ({"ALIPAY_GATEWAY_URL": "http://127.0.0.1:8900/gateway.do"}, "ALIPAY_GATEWAY_URL"),
        ({"KUAIQIAN_BASE_URL": "http://127.0.0.1:8900"}, "KUAIQIAN_BASE_URL"),
        ({"KUAIQIAN_CARD_BASE_URL": "http://127.0.0.1:8900"}, "KUAIQIAN_CARD_BASE_URL"),
        ({"PAYSYS_SHORT_MESSAGES": ""}, "PAYSYS_SHORT_MESSAGES"),
        ({"PAYSYS_SHORT_MESSAGES_SECRET": ""}, "PAYSYS_SHORT_MESSAGES"),
        ({"WECHAT_CREDENTIALS_FILE": ""}, "WECHAT_CREDENTIALS_FILE is not set"),
        ({"PAYSYS_PUBLIC_BASE_URL": "http://pay.example.com"}, "not https"),
        ({"PAYSYS_LEDGER_SEAL_KEYS": ""}, "PAYSYS_LEDGER_SEAL_KEYS is not set"),
        ({"PAYSYS_ENCRYPTION_KEYS": ""}, "PAYSYS_ENCRYPTION_KEYS is not set"),
        ({"PAYSYS_VALIDATOR": "when_sent"}, "PAYSYS_VALIDATOR is 'when_sent'"),
        ({"DJANGO_ALLOWED_HOSTS": ""}, "DJANGO_ALLOWED_HOSTS is not set"),
    ],
)
def test_production_refuses(changes: dict[str, str], reason: str) -> None:
    result = start(**changes)
    assert result.returncode != 0
    assert "Production refuses to start" in result.stderr
    assert reason in result.stderr


def test_deploy_check_is_clean() -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **GOOD},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
