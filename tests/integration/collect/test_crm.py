"""Sales orders to the CRM: signed, at least once, the same bytes, given up after a day, sent again with a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import transaction
from pytest_django import Settings

from collect.domain.rules import CodeKind
from collect.models import Collection, CrmRecord
from collect.services import crm
from foundation import clock
from foundation.db import roles
from foundation.errors import InvalidRequest, NotFound
from foundation.models import Alert, AuditEntry
from payments.domain import callback_retries, signing
from tests.integration.collect.codes_and_collections import code_of, paid, shop
from tests.integration.payments.business import Receiver, receiving

pytestmark = pytest.mark.django_db(databases="__all__")
SECRET = "s" * 32
DAY = dt.timedelta(days=1)


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with receiving() as made:
        settings.COLLECT_CRM_URL = f"{made.url}/sales-orders?x=1"
        settings.COLLECT_CRM_PRODUCT_ID = "shop-1"
        settings.COLLECT_CRM_SECRET = SECRET
        yield made


def record(crm_order_no: str = "SO-1") -> CrmRecord:
    here = shop()
    code = code_of(here.cashier, kind=CodeKind.ORDER, amount_fen=700, subject="茶", crm_order_no=crm_order_no)
    row: Collection = paid(code, here.wechat, amount_fen=700)
    with transaction.atomic(using=roles.alias_for("default")):
        crm.queue(collection=row, crm_order_no=crm_order_no, now=clock.now())
    return CrmRecord.objects.get(pk=row.pk)


def send(after: dt.timedelta = dt.timedelta(0)) -> dict[str, int]:
    return crm.send_due(now=lambda: clock.now() + after)


def test_a_sales_order_is_told_signed_and_once(receiver: Receiver) -> None:
    row = record()
    assert send() == {"accepted": 1, "refused": 0}
    assert send(DAY) == {"accepted": 0, "refused": 0}
    row.refresh_from_db()
    assert (row.state, row.tries, row.last_error) == ("DELIVERED", 1, "")
    (event,) = receiver.events()
    assert (event["collection_no"], event["crm_order_no"], event["amount_fen"], event["subject"]) == (
        row.pk,
        "SO-1",
        700,
        "茶",
    )
    headers = receiver.headers[0]
    message = signing.SignedMessage(
        method="POST",
        target="/sales-orders?x=1",
        timestamp=headers[signing.TIMESTAMP_HEADER],
        nonce=headers[signing.NONCE_HEADER],
        body=receiver.bodies[0],
    )
    assert headers[signing.SIGNATURE_HEADER] == signing.sign(secret=SECRET, message=message)
    assert headers[signing.APP_HEADER] == "shop-1"


def test_what_is_not_accepted_is_sent_again_with_the_same_bytes(receiver: Receiver) -> None:
    row = record()
    receiver.statuses = [500, 302]
    assert send() == {"accepted": 0, "refused": 1}
    row.refresh_from_db()
    assert (row.state, row.tries, row.last_error[:3]) == ("WAITING", 1, "500")
    assert send(dt.timedelta(seconds=callback_retries.RETRY_SECONDS[0] - 1)) == {"accepted": 0, "refused": 0}
    assert send(dt.timedelta(minutes=1)) == {"accepted": 0, "refused": 1}
    assert send(dt.timedelta(minutes=5)) == {"accepted": 1, "refused": 0}
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


def test_after_a_day_it_is_given_up_until_somebody_sends_it_again(receiver: Receiver) -> None:
    row = record()
    receiver.statuses = [503, 503]
    send()
    assert send(DAY + dt.timedelta(hours=1)) == {"accepted": 0, "refused": 1}
    row.refresh_from_db()
    assert (row.state, row.done_at is not None) == ("DEAD", True)
    assert Alert.objects.filter(code="crm_record_dead", subject=row.pk).exists()
    assert send(2 * DAY) == {"accepted": 0, "refused": 0}
    with pytest.raises(InvalidRequest):
        crm.replay(collection_id=row.pk, reason=" ", staff="ann", now=clock.now())
    with pytest.raises(NotFound):
        crm.replay(collection_id="nothing", reason="again", staff="ann", now=clock.now())
    crm.replay(collection_id=row.pk, reason="the CRM is back", staff="ann", now=clock.now())
    with pytest.raises(crm.CrmRecordWaiting):
        crm.replay(collection_id=row.pk, reason="again", staff="ann", now=clock.now())
    entry = AuditEntry.objects.get(action="collect.crm_replay", object_key=row.pk)
    assert (entry.reason, entry.before, entry.after) == ("the CRM is back", {"state": "DEAD"}, {"state": "WAITING"})
    assert send() == {"accepted": 1, "refused": 0}
    assert len(set(receiver.bodies)) == 1


def test_without_an_address_it_waits_and_is_not_given_up(settings: Settings) -> None:
    settings.COLLECT_CRM_URL = ""
    row = record()
    assert send(3 * DAY) == {"accepted": 0, "refused": 0}
    row.refresh_from_db()
    assert (row.state, row.tries) == ("WAITING", 0)


def test_an_address_inside_is_refused(settings: Settings, receiver: Receiver) -> None:
    settings.CALLBACK_ALLOWED_NETWORKS = []
    row = record()
    assert send() == {"accepted": 0, "refused": 1}
    row.refresh_from_db()
    assert (row.last_error[:15], receiver.bodies) == ("refused address", [])
