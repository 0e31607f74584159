"""Applicants with money and cards, staff with codes, and the provider's side."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import User

from foundation import clock, crypto
from identity.models import Employee
from orders.services import numbers
from tests import worlds
from withdrawals.domain.masking import mask_card, mask_phone
from withdrawals.models import (
    CARD_COLUMN,
    HOLDER_COLUMN,
    OPENID_COLUMN,
    PHONE_COLUMN,
    WECHAT_HOLDER_COLUMN,
    BankCard,
    WechatAccount,
    Withdrawal,
)
from withdrawals.services import application, approving
from withdrawals.services.application import Applicant
from withdrawals.services.approving import Approver


def rich(amount_fen: int = 1_000_000) -> Employee:
    """A fresh employee with money, a card and a WeChat account."""
    employee = worlds.make_world(1).employees[0]
    worlds.give_money(employee, amount_fen)
    bind_payees(employee)
    return employee


def bind_payees(employee: Employee) -> None:
    """A card and a WeChat account."""
    bind_card(employee)
    WechatAccount.objects.create(
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        openid=crypto.encrypt(f"o{uuid.uuid4().hex[:27]}", column=OPENID_COLUMN),
        openid_index=crypto.blind_index("o", column=OPENID_COLUMN),
        holder=crypto.encrypt("张三", column=WECHAT_HOLDER_COLUMN),
        bound_at=clock.now(),
    )


def bind_card(employee: Employee) -> BankCard:
    number, phone = f"622202{uuid.uuid4().int % 10**13:013d}", "13800005678"
    index = crypto.blind_index(number, column=CARD_COLUMN)
    return BankCard.objects.create(
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        holder=crypto.encrypt("张三", column=HOLDER_COLUMN),
        card_no=crypto.encrypt(number, column=CARD_COLUMN),
        card_index=index,
        active_index=index,
        card_masked=mask_card(number),
        phone=crypto.encrypt(phone, column=PHONE_COLUMN),
        phone_masked=mask_phone(phone),
        bank_code="ICBC",
        bank_name="工商银行",
        branch="上海分行",
        verification_no=uuid.uuid4().hex,
        created_at=clock.now(),
    )


def staff(name: str = "staff") -> User:
    return User.objects.create_user(f"{name}-{uuid.uuid4().hex[:8]}", is_staff=True)


def approver(user: User | None = None, *, employee_id: int | None = None) -> Approver:
    user = user or staff()
    return Approver(user_id=user.pk, name=user.username, employee_id=employee_id, code_device="totp:1")


def apply(employee: Employee, amount_fen: int = 10_000, channel: str = "kuaiqian") -> Withdrawal:
    card = BankCard.objects.filter(employee_id=employee.pk, removed_at=None).first()
    return application.apply(
        order_no=numbers.issue(prefix=numbers.Prefix.WITHDRAWAL, account_id=employee.pk),
        applicant=Applicant(employee_id=employee.pk, enterprise_id=employee.enterprise_id, account_age_days=100),
        amount_fen=amount_fen,
        channel=channel,
        bank_card_id=card.pk if card is not None and channel == "kuaiqian" else None,
        now=clock.now(),
    )


def approve(row: Withdrawal, who: Approver | None = None) -> Withdrawal:
    return approving.approve(
        order_no=row.order_no,
        approver=who or approver(),
        seen_digest=approving.digest_of(Withdrawal.objects.get(pk=row.pk)),
        comment="",
        now=clock.now(),
    )
