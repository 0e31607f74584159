"""The simulator's own bills over HTTP, with every fault it knows, against payments that were really made there.

Times are the machine's: an hour from midnight a one-sided row waits for the next day, otherwise it is a difference. The
tests take both for found.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pytest_django import Settings

from foundation import clock
from gateway.ports import BillKind
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState
from orders.services import numbers
from payments.domain.people import Person
from payments.services import checking, recharging
from reconciliation.models import CarriedOver, Difference, RawFile, RowProblem, Run
from reconciliation.services import comparing, fetching, planning
from simulator import credentials, server
from tests import worlds
from tests.integration.reconciliation import bills

pytestmark = pytest.mark.django_db(databases="__all__")
SCENES = {"wechat": "native", "alipay": "page"}
OPERATIONS = {"wechat": "trade_bill", "alipay": ""}
AMOUNTS = (1000, 2000, 3000)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return credentials.initialise(directory=tmp_path_factory.mktemp("simulator")).parent


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[server.Handle]:
    handle = server.start(directory=directory, port=0)
    requests.post(f"{handle.url}/_sim/clock", json={"bill_offset_seconds": 2 * 86_400}, timeout=5).raise_for_status()
    yield handle
    handle.stop()


@pytest.fixture
def url(running: server.Handle, directory: Path, settings: Settings, tmp_path: Path) -> Iterator[str]:
    settings.RECONCILIATION_ROOT = tmp_path / "bills"
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:9"
    wechat, alipay = str(directory / "credentials.json"), str(directory / "alipay.json")
    settings.WECHAT = {**settings.WECHAT, "base_url": running.url, "credentials_file": wechat}
    settings.ALIPAY = {**settings.ALIPAY, "gateway_url": f"{running.url}/gateway.do", "credentials_file": alipay}
    yield running.url
    requests.delete(f"{running.url}/_sim/faults", timeout=5).raise_for_status()


def pay(url: str, person: Employee, channel: str, amount_fen: int) -> str:
    """A recharge that the provider has been paid and that we asked about; returns the attempt's number."""
    bought = recharging.recharge(
        order_no=numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=person.pk),
        payer=Person(employee_id=person.pk, enterprise_id=person.enterprise_id),
        amount_fen=amount_fen,
        channel=channel,
        scene=SCENES[channel],
        now=clock.now(),
    )
    requests.post(f"{url}/_sim/pay", json={"payment": dict(bought.payment)}, timeout=5).raise_for_status()
    attempt = orders.get_order(order_no=bought.order.order_no).attempts[-1]
    assert checking.check_attempt(attempt=attempt, now=clock.now()) is AttemptState.SUCCESS
    return attempt.attempt_no


def reconciled(run: Run, now: dt.datetime) -> Run:
    fetching.fetch(run_id=run.pk, now=now)
    return comparing.process(run_id=run.pk, now=now)


def named(run: Run) -> set[tuple[str, str]]:
    """What is different or waits for the next day, by kind and number."""
    waiting = {
        ("OURS_ONLY" if row.is_ours else "THEIRS_ONLY", row.number)
        for row in CarriedOver.objects.filter(run=run, state="WAITING")
    }
    rows = Difference.objects.filter(run=run).exclude(state="RESOLVED")
    return waiting | set(rows.values_list("kind", "number"))


@pytest.mark.parametrize("channel", ["wechat", "alipay"])
def test_every_fault_of_a_bill_is_found_and_the_right_one_ends_it(channel: str, url: str) -> None:
    person = worlds.make_world(1).employees[0]
    today = clock.business_date(clock.now())
    tomorrow = dt.datetime.combine(today + bills.ONE_DAY, dt.time(10, 5), bills.BEIJING)
    ours = {pay(url, person, channel, fen): fen for fen in AMOUNTS}
    run, _ = planning.plan_run(channel=channel, kind=BillKind.TRADE, day=today, now=tomorrow)

    def struck(fault: str) -> Run:
        rule = {"fault": fault, "channel": channel, "attempt_no": today.isoformat(), "times": 1}
        answer = requests.put(f"{url}/_sim/faults", json={"rules": [rule], "seed": 1}, timeout=5)
        assert answer.status_code < 300, answer.text
        return reconciled(run, tomorrow)

    assert struck("bill_not_ready").state == "WAITING"
    assert struck("bill_empty").state == "WAITING"  # our books have payments: "no bill" is not believed
    if channel == "wechat":  # Alipay gives no hash
        assert struck("bill_wrong_hash").last_code == "hash_mismatch"
        assert RawFile.objects.get(run=run).is_hash_wrong
    cut = struck("bill_cut")
    assert (cut.state, named(run)) == ("WAITING", set())
    assert struck("bill_wrong_summary").state == "MATCHED"
    assert {"count_mismatch", "total_mismatch"} & set(RowProblem.objects.filter(run=run).values_list("code", flat=True))
    assert named(run) == set()
    run.refresh_from_db()
    assert run.matched_rows == 3
    struck("bill_missing_row")
    ((kind, number),) = named(run)
    assert (kind, number in ours) == ("OURS_ONLY", True)
    struck("bill_changed_row")
    ((kind, number),) = named(run)
    assert (kind, number in ours) == ("AMOUNT", True)
    assert Difference.objects.get(run=run, kind="AMOUNT").value_fen == 1
    struck("bill_extra_row")
    ((kind, number),) = named(run)
    assert (kind, number in ours) == ("THEIRS_ONLY", False)
    requests.delete(f"{url}/_sim/faults", timeout=5).raise_for_status()
    right = reconciled(run, tomorrow)
    assert (right.state, right.matched_rows, right.our_total_fen, right.their_total_fen) == ("REVIEWED", 3, 6000, 6000)
    assert named(run) == set()
