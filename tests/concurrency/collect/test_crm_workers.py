"""Several workers send sales orders at the same moment."""

from __future__ import annotations

import threading

import pytest
from django.db import connections
from pytest_django import Settings

from collect.services import crm
from tests.integration.collect.test_crm import record
from tests.integration.payments.business import receiving

WORKERS = 3


@pytest.mark.usefixtures("committed_db")
def test_workers_at_the_same_moment_send_each_record_once(settings: Settings) -> None:
    settings.COLLECT_CRM_SECRET = "s" * 32
    mine = {record(f"SO-{number}").pk for number in range(6)}
    start = threading.Barrier(WORKERS)

    def work() -> None:
        start.wait()
        try:
            crm.send_due()
        finally:
            connections.close_all()

    with receiving() as receiver:
        settings.COLLECT_CRM_URL = receiver.url
        threads = [threading.Thread(target=work) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = [event["collection_no"] for event in receiver.events()]
    assert sorted(number for number in told if number in mine) == sorted(mine)
