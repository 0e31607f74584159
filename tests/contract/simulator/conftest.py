"""One pair of keys per session, one simulator with empty books per test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import server
from simulator.credentials import initialise
from tests.contract.simulator.merchant import Merchant, Receiver

RETRY_SCALE = 0.01
"""15 s between tries become 0.15 s."""
REFUND_DELAY_SECONDS = 0.1


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    initialise(directory=directory)
    return directory


@pytest.fixture
def directory(keys: Path, tmp_path: Path) -> Path:
    target = tmp_path / "simulator"
    shutil.copytree(keys, target)
    return target


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def simulator(directory: Path) -> Iterator[server.Handle]:
    handle = server.start(
        directory=directory,
        notice_retry_scale=RETRY_SCALE,
        refund_delay_seconds=REFUND_DELAY_SECONDS,
        notice_timeout_seconds=0.5,
    )
    yield handle
    handle.stop()


@pytest.fixture
def merchant(simulator: server.Handle, directory: Path, receiver: Receiver) -> Merchant:
    return Merchant(directory=directory, url=simulator.url, receiver=receiver)
