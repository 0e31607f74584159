"""A provider of our own, one pair of keys per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.adapters.wechat import WechatAdapter, WechatConfig
from tests.contract.gateway.provider import Provider, Reply

READ_TIMEOUT_SECONDS = 0.6
"""Short, so that a test of the time-out does not wait; a local answer takes a few milliseconds."""


@pytest.fixture(scope="session")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    made = Provider.create(tmp_path_factory.mktemp("provider"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    running_provider.reply = Reply()
    running_provider.replies.clear()
    running_provider.seen.clear()
    return running_provider


@pytest.fixture
def adapter(provider: Provider) -> WechatAdapter:
    return WechatAdapter(
        WechatConfig(
            base_url=provider.url,
            credentials_file=str(provider.credentials_file),
            connect_timeout_seconds=1.0,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
        )
    )
