"""One money story: a customer was charged twice, finance puts it right, and later undoes a mistake of its own.

Maker, checkers and the people who are told use the admin's own pages; events travel by the outbox; every step commits.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import clock, outbox
from foundation.models import StaffNotice
from funds.models import Adjustment, Journal
from tests import worlds
from tests.books import assert_books_balance
from tests.integration.funds import adjusting

pytestmark = pytest.mark.usefixtures("committed_db")


def browser(user: User) -> Client:
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def hidden(page: str, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found.group(1)


def propose(client: Client, url: str, **fields: object) -> Adjustment:
    page = client.get(url).content.decode()
    sent = {
        "request_key": hidden(page, "request_key"),
        "evidence": [SimpleUploadedFile("bank statement.pdf", adjusting.PDF)],
        **fields,
    }
    answer = client.post(url, sent)
    assert answer.status_code == 302, answer.content.decode()
    pk = re.search(r"/(\d+)/change/", answer["Location"])
    assert pk is not None
    return Adjustment.objects.get(pk=int(pk.group(1)))


def decide(client: Client, row: Adjustment, page: str, **fields: str) -> Adjustment:
    url = reverse(f"admin:funds_adjustment_{page}", args=[row.pk])
    digest = hidden(client.get(url).content.decode(), "digest")
    answer = client.post(url, {"digest": digest, **fields})
    assert answer.status_code == 302, answer.content.decode()
    row.refresh_from_db()
    return row


def titles(user: User, row: Adjustment) -> list[str]:
    """What he was told of this adjustment; other tests' proposals wait for approvers as well."""
    outbox.drain(using="funds", now=clock.now)
    told = StaffNotice.objects.filter(recipient_id=user.pk, key__endswith=row.number).order_by("id")
    return list(told.values_list("title_en", flat=True))


def test_a_correction_and_the_correction_of_the_correction(tmp_path: Path, settings: Settings) -> None:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"
    people = adjusting.team()
    maker, checker, other = browser(people.maker), browser(people.checker), browser(people.other)
    employee = worlds.make_world(1).employees[0]
    order_no = worlds.give_money(employee, 50_000)
    owner = f"{employee.enterprise.code}/{employee.code}"
    form = reverse("admin:funds_adjustment_add")

    # The bank took ¥88.88 twice and we keep the second payment: it becomes the customer's.
    fields = {
        "reason": "The bank collected ¥88.88 twice; the second payment sits in 2910.",
        "order_no": order_no,
        "line1-account": "2910",
        "line1-owner": "wechat",
        "line1-debit": "88.88",
        "line2-account": "2010",
        "line2-owner": owner,
        "line2-category": "RECHARGE",
        "line2-credit": "88.88",
    }
    first = propose(maker, form, **fields)
    assert titles(people.checker, first) == [
        f"Adjustment {first.number} of ¥88.88 by {people.maker.username} waits for approval"
    ]
    assert worlds.wallet_of(employee) == (50_000, 0)

    # The checker finds the evidence insufficient; the maker hears of it and proposes again.
    decide(checker, first, "reject", reason="The statement is of another account.")
    assert (
        titles(people.maker, first)[-1]
        == f"Your adjustment {first.number} of ¥88.88 was rejected by {people.checker.username}"
    )
    second = propose(maker, form, **fields)
    refused = maker.post(reverse("admin:funds_adjustment_approve", args=[second.pk]), {"digest": second.digest})
    assert "another person must" in refused.content.decode()
    decide(checker, second, "approve", reason="Statement seen.")
    assert worlds.wallet_of(employee) == (58_888, 0)
    assert titles(people.maker, second)[-1].endswith(f"was approved by {people.checker.username}")
    journal = Journal.objects.get(kind="adjustment", reference=second.number)
    assert (second.journal_id, journal.order_no) == (journal.pk, order_no)

    # It was the wrong customer after all: the opposite entry, checked by somebody else again.
    third = propose(
        maker,
        f"{form}?reverses={journal.pk}",
        reason=f"{second.number} credited the wrong customer.",
        order_no=order_no,
    )
    assert (third.state, third.reverses_id, third.total_fen) == ("PROPOSED", journal.pk, 8_888)
    decide(other, third, "approve")
    assert worlds.wallet_of(employee) == (50_000, 0)
    assert checker.get(f"{form}?reverses={journal.pk}").status_code == 302  # not a second time

    # A proposal nobody needs any more is taken back.
    fourth = propose(maker, form, **fields)
    answer = maker.post(reverse("admin:funds_adjustment_withdraw", args=[fourth.pk]))
    assert answer.status_code == 302
    fourth.refresh_from_db()
    assert fourth.state == "WITHDRAWN"
    assert titles(people.checker, fourth)[-1].endswith(f"was withdrawn by {people.maker.username}")

    assert Journal.objects.filter(kind="adjustment", order_no=order_no).count() == 2
    assert worlds.wallet_of(employee) == (50_000, 0)
    assert_books_balance()
