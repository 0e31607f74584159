"""Merchants with accounts in use, codes of theirs, and collections as the flow leaves them."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Any

from django.test import Client

from collect.domain.rules import CodeKind
from collect.models import Binding, Code, Collection, Manager
from collect.services import codes
from collect.services.codes import CodeWish, Collector
from foundation import clock, ids
from identity.models import Employee
from tests import worlds
from tests.integration.collect import merchants

WECHAT_AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 MicroMessenger/8.0.50"
ALIPAY_AGENT = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile AliApp(AP/10.6) AlipayClient/10.6"
PHONE_AGENT = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36"


@dataclass(frozen=True)
class Shop:
    """An enterprise that takes WeChat and Alipay: its manager, a cashier beside him, the accounts."""

    manager: Employee
    cashier: Employee
    wechat: Binding
    alipay: Binding

    def client(self, who: Employee | None = None) -> Client:
        token = worlds.token_of(who or self.manager)
        return Client(headers={"authorization": f"Bearer {token}", "accept-language": "en"})


def shop() -> Shop:
    world = worlds.make_world(2)
    manager, cashier = world.employees
    Manager.objects.create(employee=manager, appointed_by=merchants.staff("boss"), appointed_at=clock.now())
    wechat = merchants.active(manager)
    number = f"2088{secrets.randbelow(10**12):012d}"
    row = merchants.draft(manager, channel="alipay", number=number, name="Corner shop")
    return Shop(manager=manager, cashier=cashier, wechat=wechat, alipay=in_use(row))


def in_use(row: Binding) -> Binding:
    """Verified, approved and taken into use, by two people."""
    first, second = merchants.staff("verifier"), merchants.staff("approver")
    now = clock.now()
    merchants.binding.verify(binding_id=row.pk, user_id=first.pk, evidence=merchants.EVIDENCE, now=now)
    merchants.binding.approve(binding_id=row.pk, user_id=second.pk, now=now)
    return merchants.binding.activate(binding_id=row.pk, actor=f"staff:{second.pk}", now=now)


def code_of(employee: Employee, **wish: Any) -> Code:
    """A plain code of any amount, unless the wish says more."""
    return codes.create_code(
        code_id=codes.issue_id(),
        collector=Collector(employee_id=employee.pk, enterprise_id=employee.enterprise_id),
        wish=CodeWish(**{"kind": CodeKind.PLAIN, **wish}),
        now=clock.now(),
    )


def opened(code: Code, account: Binding, *, amount_fen: int = 1_000, at: dt.datetime | None = None) -> Collection:
    """One that its payer has begun."""
    now = at or clock.now()
    return Collection.objects.create(
        id=codes.issue_id(),
        order_no=f"CO{ids.new_id()[:30]}",
        code=code,
        binding=account,
        enterprise_id=code.enterprise_id,
        employee_id=code.employee_id,
        channel=account.channel,
        amount_fen=amount_fen,
        once_code=code.pk if code.is_once else None,
        created_at=now,
        expires_at=now + dt.timedelta(minutes=30),
    )


def paid(code: Code, account: Binding, *, amount_fen: int = 1_000, at: dt.datetime | None = None) -> Collection:
    """One that was paid at `at`."""
    row = opened(code, account, amount_fen=amount_fen, at=at)
    moment = at or clock.now()
    row.state, row.paid_at, row.ended_at = "PAID", moment, moment
    row.attempt_no, row.provider_no = f"AT{ids.new_id()[:30]}", f"42000{ids.new_id()[:20]}"
    row.save()
    return row


def give_back(row: Collection, amount_fen: int) -> None:
    """As a refund leaves it."""
    row.refunded_fen += amount_fen
    row.state = "REFUNDED" if row.refunded_fen == row.amount_fen else "PAID"
    row.save()
