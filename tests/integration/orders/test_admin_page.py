"""The page of one order in the admin: everything the platform knows about it in one timeline, each part on its own."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from foundation import clock, outbox
from foundation.db import roles
from foundation.models import OutboxEvent
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import employee_account
from funds.services import ledger
from gateway.models import Notice
from orders import selectors
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import OrderKind
from orders.selectors import timeline
from orders.selectors.timeline import Cell, Column, DetailTable, EntryKind, Findings, Subject, TimelineEntry
from orders.services import numbers, opening
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
VIEWS = ("view_orderindex", "view_journal", "view_hold", "view_notice", "view_outboxevent")
_ids = itertools.count(uuid.uuid4().int % 10**12)


def client_with(*codenames: str) -> Client:
    user = User.objects.create_user(f"auditor-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


@pytest.fixture
def auditor() -> Client:
    return client_with(*VIEWS)


def shown(client: Client, order_no: str) -> Any:
    answer = client.get(reverse("admin:orders_orderindex_change", args=[order_no]))
    assert answer.status_code == 200
    return answer


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def entries_of(answer: Any) -> list[tuple[str, str, str]]:
    """(kind, title, number) of the timeline."""
    rows = [item["entry"] for item in answer.context["entries"]]
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    return [(row.kind.value, row.title, row.number) for row in rows]


@pytest.fixture
def paid() -> OrderRecord:
    """A finished recharge of ¥1,234.56 with its journal."""
    order_no = worlds.give_money(worlds.make_world(1).employees[0], 123_456)
    return selectors.get_order(order_no=order_no)


def add_notice(number: str, at: dt.datetime, **values: Any) -> Notice:
    row = {"channel": "wechat", "method": "POST", "path": "/notify/", "headers": {"secret": "header"}, **values}
    return Notice.objects.create(
        number=number,
        body=b"secret body",
        digest=uuid.uuid4().hex,
        kind="PAYMENT",
        state=Notice.State.PROCESSED,
        received_at=at,
        last_received_at=at,
        **row,
    )


def add_event(alias: str, key: str, at: dt.datetime) -> OutboxEvent:
    with transaction.atomic(using=alias):
        outbox.publish(using=alias, topic="test.order_page", key=key, payload={"secret": "payload"}, now=at)
    return OutboxEvent.objects.using(alias).get(topic="test.order_page", key=key)


def test_everything_that_mentions_the_order_stands_in_one_timeline_with_links(
    auditor: Client, paid: OrderRecord
) -> None:
    attempt = paid.attempts[0]
    journal = funds.list_journals(order_no=paid.order_no)[0]
    later = clock.now() + dt.timedelta(minutes=1)
    notice = add_notice(attempt.attempt_no, later, times_received=3, note="booked")
    events = [
        (alias, add_event(alias, key, later + dt.timedelta(seconds=place + 1)))
        for place, (alias, key) in enumerate(
            [(roles.alias_for("funds"), paid.order_no), (selectors.order_alias(paid.order_no), attempt.attempt_no)]
        )
    ]
    add_notice(uuid.uuid4().hex, later)
    add_event("default", uuid.uuid4().hex, later)

    answer = shown(auditor, paid.order_no)
    entries = entries_of(answer)
    assert sorted(entries[:-3]) == sorted(
        [
            ("order", "CREATED", paid.order_no),
            ("order", "PAID", paid.order_no),
            ("attempt", "CREATED", attempt.attempt_no),
            ("attempt", "SUCCESS", attempt.attempt_no),
            ("journal", "recharge", paid.order_no),
        ]
        + ([("order", "SUCCESS", paid.order_no)] if paid.closed_at not in (None, paid.paid_at) else [])
    )
    assert entries[0] == ("order", "CREATED", paid.order_no)
    assert entries[-3:] == [
        ("notice", "PAYMENT PROCESSED", attempt.attempt_no),
        ("outbox", "test.order_page", paid.order_no),
        ("outbox", "test.order_page", attempt.attempt_no),
    ]
    content = answer.content.decode()
    assert reverse("admin:funds_journal_change", args=[journal.pk]) in content
    assert reverse("admin:gateway_notice_change", args=[notice.pk]) in content
    for alias, event in events:
        address = reverse("admin:foundation_outboxevent_change", args=[event.pk])
        assert f"{address}?_changelist_filters=database%3D{alias}" in content
    assert "secret" not in content


def test_a_journal_shows_debits_and_credits_in_yuan_with_the_names_of_the_accounts(
    auditor: Client, paid: OrderRecord
) -> None:
    answer = shown(auditor, paid.order_no)
    words = text_of(answer)
    assert f"1110 Channel clearing · wechat ¥1,234.56 2010 Customer available · {paid.employee_id} ¥1,234.56" in words
    assert "123456" not in words.replace(paid.order_no, "").replace(paid.attempts[0].attempt_no, "")
    assert 'class="orders-amount">¥1,234.56</td>' in answer.content.decode()
    chinese = auditor.get(
        reverse("admin:orders_orderindex_change", args=[paid.order_no]), headers={"accept-language": "zh-hans"}
    )
    assert "1110 渠道待清算 · wechat" in chinese.content.decode()


def test_the_hold_of_the_order_is_shown_with_what_remains(auditor: Client, paid: OrderRecord) -> None:
    order_no = numbers.issue(prefix=Prefix.REDPACKET_SEND, account_id=paid.employee_id)
    opening.open_order(
        new=NewOrder(
            order_no=order_no,
            kind=OrderKind.REDPACKET_SEND,
            amount_fen=2_050,
            employee_id=paid.employee_id,
            enterprise_id=paid.enterprise_id,
            business_no="packet7",
        ),
        now=clock.now(),
    )
    entry = movements.freeze(
        order_no=order_no,
        owner=employee_account(paid.employee_id, paid.enterprise_id),
        amount_fen=2_050,
        hold_key="redpacket:packet7",
    )
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=clock.now()))
    words = text_of(shown(auditor, order_no))
    assert re.search(r"redpacket:packet7 ¥20\.50 ¥20\.50 OPEN \d{4}-", words)
    assert f"2020 Customer frozen · {paid.employee_id} ¥20.50" in words


def test_refunds_and_their_original_lead_to_each_other(auditor: Client, paid: OrderRecord) -> None:
    refund_no = numbers.issue(prefix=Prefix.RETURN, account_id=paid.employee_id, beside=paid.order_no)
    opening.open_order(
        new=NewOrder(
            order_no=refund_no,
            kind=OrderKind.RETURN,
            amount_fen=1_000,
            employee_id=paid.employee_id,
            enterprise_id=paid.enterprise_id,
            original_order_no=paid.order_no,
        ),
        now=clock.now(),
    )
    add_notice(refund_no, clock.now())
    original = shown(auditor, paid.order_no)
    assert "Refunds of this order" in text_of(original)
    assert [row["order"].order_no for row in original.context["refunds"]] == [refund_no]
    assert ("notice", "PAYMENT PROCESSED", refund_no) in entries_of(original)
    refund = shown(auditor, refund_no)
    address = reverse("admin:orders_orderindex_change", args=[paid.order_no])
    assert f'<a href="{address}">{paid.order_no}</a>' in refund.content.decode()
    assert refund.context["refunds"] == []


def test_orders_of_the_same_business_number_are_shown_apart_from_refunds(auditor: Client) -> None:
    business_no = uuid.uuid4().hex
    made = []
    for _ in range(2):
        employee = next(_ids)
        made.append(numbers.issue(prefix=Prefix.PAYMENT, account_id=employee))
        opening.open_order(
            new=NewOrder(
                order_no=made[-1],
                kind=OrderKind.PAYMENT,
                amount_fen=1,
                employee_id=employee,
                enterprise_id=1,
                business_no=business_no,
            ),
            now=clock.now(),
        )
    answer = shown(auditor, made[0])
    assert [row["order"].order_no for row in answer.context["related"]] == [made[1]]
    assert answer.context["refunds"] == []


@pytest.mark.parametrize(
    ("missing", "section"),
    [
        ("view_journal", "ledger"),
        ("view_hold", "ledger"),
        ("view_notice", "notices"),
        ("view_outboxevent", "outbox"),
    ],
)
def test_a_part_needs_its_own_permission(paid: OrderRecord, missing: str, section: str) -> None:
    add_notice(paid.order_no, clock.now())
    add_event("default", paid.order_no, clock.now())
    answer = shown(client_with(*(set(VIEWS) - {missing})), paid.order_no)
    parts = {item["section"].name: item["section"] for item in answer.context["sections"]}
    assert [name for name in ("ledger", "notices", "outbox") if parts[name].missing] == [section]
    assert parts[section].tables == ()
    assert f".{missing}" in text_of(answer)
    kinds = {kind for kind, _, _ in entries_of(answer)}
    hidden = {"ledger": "journal", "notices": "notice", "outbox": "outbox"}[section]
    assert kinds == {"order", "attempt", "journal", "notice", "outbox"} - {hidden}


class FakeSource:
    name = "fake"
    permissions: tuple[str, ...] = ()
    title = "Fake things"

    def __init__(self, findings: Findings | None) -> None:
        self.findings = findings
        self.subjects: list[Subject] = []

    def read(self, subject: Subject) -> Findings:
        self.subjects.append(subject)
        if self.findings is None:
            raise RuntimeError("secret reason")
        return self.findings


@pytest.fixture
def register() -> Iterator[Any]:
    yield timeline.register
    timeline.unregister("fake")


def test_a_part_that_fails_says_so_and_leaves_the_rest(auditor: Client, paid: OrderRecord, register: Any) -> None:
    register(FakeSource(None))
    answer = shown(auditor, paid.order_no)
    words = text_of(answer)
    assert "Fake things This could not be read just now (RuntimeError); the timeline is incomplete." in words
    assert "secret reason" not in words
    assert ("journal", "recharge", paid.order_no) in entries_of(answer)


def test_what_a_source_says_is_shown_escaped_and_its_numbers_can_be_copied(
    auditor: Client, paid: OrderRecord, register: Any
) -> None:
    entry = TimelineEntry(at=paid.created_at, kind=EntryKind.NOTICE, title="<script>1</script>", amount_fen=-5)
    table = DetailTable(
        title="<b>t</b>",
        columns=(Column(label="a"), Column(label="b", is_amount=True)),
        rows=((Cell(text="N1", is_number=True), Cell(amount_fen=1_234_567)),),
    )
    source = FakeSource(Findings(entries=(entry,), tables=(table,)))
    register(source)
    content = shown(auditor, paid.order_no).content.decode()
    assert "<script>1" not in content
    assert "<b>t" not in content
    assert 'data-copy="N1"' in content
    assert f'data-copy="{paid.order_no}"' in content
    assert "¥12,345.67" in content
    assert source.subjects[0].numbers == (paid.order_no, paid.attempts[0].attempt_no)


@pytest.mark.parametrize("number", ["x", "RC1000100012026112309164310600011", "订单", "%00"])
def test_what_is_no_order_is_not_found(auditor: Client, number: str) -> None:
    assert auditor.get(f"/admin/orders/orderindex/{number}/change/").status_code == 404


def test_the_pages_need_no_inline_script_or_style(auditor: Client, paid: OrderRecord) -> None:
    for address in (
        reverse("admin:orders_orderindex_changelist"),
        reverse("admin:orders_orderindex_change", args=[paid.order_no]),
    ):
        content = auditor.get(address).content.decode()
        assert re.findall(r"<script(?![^>]*\bsrc=)", content) == []
        ours = content.partition('id="content-main"')[2].partition('id="modal-overlay"')[0]
        assert ours
        assert not re.search(r"<style|\sstyle=|\son\w+=", ours)
