"""The same request many times at once is done once, under one number."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from django.test import Client
from rest_framework.response import Response

from foundation.models import IdempotencyRecord
from tests import worlds
from tests.concurrency.foundation.crowd import together
from tests.integration.foundation.probes import Probe

pytestmark = [
    pytest.mark.usefixtures("committed_db"),
    pytest.mark.urls("tests.integration.foundation.probes"),
    pytest.mark.filterwarnings("ignore:No directory at"),
]

CALLERS = 6


def test_the_same_request_at_once_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[str] = []
    done: list[str] = []
    guard = threading.Lock()

    def reserve() -> str:
        with guard:
            reserved.append(f"PR{len(reserved) + 1}")
            return reserved[-1]

    def work(number: str) -> Response:
        time.sleep(0.5)
        with guard:
            done.append(number)
        return Response({"number": number}, status=201)

    monkeypatch.setattr(Probe, "reserve", staticmethod(reserve))
    monkeypatch.setattr(Probe, "work", staticmethod(work))
    person = worlds.make_world(1).employees[0]
    headers = {"Authorization": f"Bearer {worlds.token_of(person)}", "Idempotency-Key": uuid.uuid4().hex}

    def post() -> tuple[int, str]:
        answer = Client().post("/api/v1/probe", {"amount_fen": 5}, content_type="application/json", headers=headers)
        content = answer.json()
        return answer.status_code, content.get("number") or content["error"]["code"]

    results = together([post] * CALLERS)
    record = IdempotencyRecord.objects.get(caller=f"employee:{person.pk}")
    assert done == [record.reserved_no]
    assert results.count((201, record.reserved_no)) == 1
    assert results.count((409, "request_in_progress")) == CALLERS - 1
    assert post() == (201, record.reserved_no)
    assert done == [record.reserved_no]
