"""A request's id is in the answer and in every log line, Django's own included."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
from django.test import Client

from tests.integration.foundation.probes import Probe

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    pytest.mark.urls("tests.integration.foundation.probes"),
    pytest.mark.filterwarnings("ignore:No directory at"),
]


class Lines(logging.Handler):
    """Collects what the configured formatter would write, at the moment of writing."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict]]:
    root = logging.getLogger()
    configured = next(handler for handler in root.handlers if "ProcessorFormatter" in repr(handler.formatter))
    handler = Lines()
    handler.setFormatter(configured.formatter)
    root.addHandler(handler)
    yield handler.written
    root.removeHandler(handler)


@pytest.mark.parametrize("given", ["abcdefgh", "a.b-c_D9" * 8])
def test_a_sane_id_is_kept(client: Client, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize(
    "given", ["", "short", "a" * 65, "with space", "new\tline", "企业企业企业", "a;drop=table", "12345678\n"]
)
def test_any_other_id_is_replaced(client: Client, given: str) -> None:
    first = client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"]
    second = client.get("/healthz")["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


@pytest.mark.parametrize(
    "address", ["/healthz", "/nothing", "/api/v1/nothing", "/api/docs/", "/metrics", "/admin/login/"]
)
def test_every_answer_carries_one(client: Client, address: str) -> None:
    assert client.get(address)["X-Request-ID"]


def test_every_line_of_a_request_carries_its_id(monkeypatch: pytest.MonkeyPatch, lines: list[dict]) -> None:
    def run() -> None:
        logging.getLogger("some.library").warning("in between")
        raise ZeroDivisionError

    monkeypatch.setattr(Probe, "run", staticmethod(run))
    client = Client(raise_request_exception=False)
    client.get("/api/v1/probe/open", headers={"X-Request-ID": "first-request"})
    client.get("/api/v1/probe/plain", headers={"X-Request-ID": "second-request"})
    seen = [(line["logger"], line["request_id"]) for line in lines]
    assert seen == [
        ("some.library", "first-request"),
        ("api", "first-request"),
        ("alerts", "first-request"),
        ("django.request", "first-request"),
        *(("some.library", "second-request"), ("api", "second-request"), ("alerts", "second-request")),
        ("django.request", "second-request"),  # written by Django after all middleware
    ]
