"""One code, one HTTP status: over every error class of the project."""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from foundation.errors import Broken, Busy, PaysysError, Rejected

OWN_APPS = [
    name.partition(".")[0]
    for name in settings.INSTALLED_APPS
    if name.partition(".")[0]
    in {"foundation", "identity", "gateway", "funds", "orders", "payments", "redpacket", "risk", "withdrawals"}
]
CONTRACT = {
    "invalid_request": 400,
    "idempotency_key_required": 400,
    "not_authenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "request_in_progress": 409,
    "expired": 410,
    "insufficient_funds": 422,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
    "busy": 503,
}
"""What api.md promises of the codes that exist so far."""


def error_classes() -> set[type[PaysysError]]:
    """Every subclass, after importing every module of the apps."""
    for app in OWN_APPS:
        package = importlib.import_module(app)
        for module in pkgutil.walk_packages([str(Path(str(package.__file__)).parent)], prefix=f"{app}."):
            if ".migrations." not in module.name:
                importlib.import_module(module.name)
    return set(_below(PaysysError)) | {PaysysError}


def _below(parent: type[PaysysError]) -> Iterator[type[PaysysError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _below(child)


def test_one_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = defaultdict(set)
    for error in error_classes():
        statuses[error.code].add(error.http_status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}
    assert {code: statuses[code] for code in CONTRACT} == {code: {status} for code, status in CONTRACT.items()}


def test_families_keep_to_their_statuses() -> None:
    """Broken is 500, Busy 503, Rejected 4xx; and each of the seven apps really was searched."""
    assert len(OWN_APPS) == 9
    for error in error_classes():
        if issubclass(error, Busy):
            assert error.http_status == 503, error
        elif issubclass(error, Broken):
            assert error.http_status == 500, error
        elif issubclass(error, Rejected):
            assert 400 <= error.http_status < 500, error


def test_messages_exist_in_both_languages() -> None:
    for error in error_classes():
        assert error.message_en.strip(), error
        assert error.message_en.isascii(), error
        assert not error.message_zh.isascii(), error


@pytest.mark.parametrize(("language", "is_chinese"), [("zh-hans", True), ("zh", True), ("ZH-CN", True), ("en", False)])
def test_message_by_language(language: str, is_chinese: bool) -> None:
    assert (Rejected().message(language) == Rejected.message_zh) is is_chinese
