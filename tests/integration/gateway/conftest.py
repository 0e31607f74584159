"""The channel set up with a provider of our own (keys only; nothing is sent in these tests)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.contract.gateway.provider import Provider


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider.create(tmp_path_factory.mktemp("provider"))


@pytest.fixture(autouse=True)
def wechat_channel(provider: Provider) -> Iterator[None]:
    configured = {
        "base_url": "http://127.0.0.1:1",
        "credentials_file": str(provider.credentials_file),
        "connect_timeout_seconds": 0.2,
        "read_timeout_seconds": 0.2,
    }
    with override_settings(WECHAT=configured):
        yield
