"""Many payments of one code at the same moment: the day's figure counts each once, and nobody is refused for it."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections, transaction

from collect import selectors
from collect.models import Collection
from collect.selectors import By, Figures
from foundation import clock
from tests.integration.collect.codes_and_collections import code_of, opened, shop

THREADS, EACH = 8, 6
AMOUNT_FEN = 100


@pytest.mark.usefixtures("committed_db")
def test_a_figure_counts_every_payment_and_refund_of_a_moment_once() -> None:
    here = shop()
    code = code_of(here.manager)
    rows = [opened(code, here.wechat, amount_fen=AMOUNT_FEN) for _ in range(THREADS * EACH)]
    barrier, now = Barrier(THREADS), clock.now()

    def pay(part: list[Collection]) -> None:
        barrier.wait(30)
        try:
            for row in part:
                with transaction.atomic():
                    row.state, row.paid_at, row.ended_at, row.attempt_no = "PAID", now, now, f"AT{row.pk}"
                    row.save()
                with transaction.atomic():
                    row.refunded_fen = 1
                    row.save()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(pay, rows[at::THREADS]) for at in range(THREADS)]:
            done.result(60)
    day = clock.business_date(now)
    found = selectors.get_statistics(
        enterprise_id=here.manager.enterprise_id, first=day, last=day + dt.timedelta(days=1), by=By.CODE
    )
    count = THREADS * EACH
    assert found == {code.pk: Figures(count=count, amount_fen=count * AMOUNT_FEN, refunded_fen=count)}
