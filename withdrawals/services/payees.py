"""Where a withdrawal may go: the employee's own bank cards, and his own WeChat.

Numbers, names and phones are closed in the tables and shown masked; equal ones are found by their blind index.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import ClassVar

from foundation import crypto
from foundation.errors import NotFound, Rejected
from withdrawals.domain.masking import mask_card
from withdrawals.models import (
    CARD_COLUMN,
    HOLDER_COLUMN,
    OPENID_COLUMN,
    PAYEE_COLUMN,
    PAYEE_NAME_COLUMN,
    PHONE_COLUMN,
    WECHAT_HOLDER_COLUMN,
    BankCard,
    WechatAccount,
    Withdrawal,
)

KUAIQIAN, WECHAT = "kuaiqian", "wechat"
CHANNELS = (WECHAT, KUAIQIAN)
NEW_CARD = dt.timedelta(days=1)


class NoPayee(Rejected):
    """422: the channel needs a bank card or a bound WeChat account, and there is none."""

    code: ClassVar[str] = "payee_missing"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "Bind a bank card or your WeChat account first."
    message_zh: ClassVar[str] = "请先绑定银行卡或微信账户。"


@dataclass(frozen=True, kw_only=True)
class Payee:
    """Who gets the money, in the clear: never stored like this, never logged."""

    account: str = field(repr=False)
    name: str = field(repr=False)
    masked: str
    phone: str = field(default="", repr=False)
    bank_code: str = ""
    bank_name: str = ""
    branch: str = ""
    card: BankCard | None = None
    is_new: bool = False
    is_second_class: bool = False


def resolve(*, employee_id: int, channel: str, bank_card_id: str | None, now: dt.datetime) -> Payee:
    """The payee of a new withdrawal. Raises NotFound for a card that is not his or is removed, and NoPayee."""
    if channel == WECHAT:
        account = WechatAccount.objects.filter(pk=employee_id).first()
        if account is None:
            raise NoPayee({"channel": channel})
        return Payee(
            account=crypto.decrypt(account.openid, column=OPENID_COLUMN),
            name=crypto.decrypt(account.holder, column=WECHAT_HOLDER_COLUMN),
            masked="WeChat",
            is_new=now - account.bound_at < NEW_CARD,
        )
    if not bank_card_id:
        raise NoPayee({"channel": channel})
    card = BankCard.objects.filter(pk=bank_card_id[:32], employee_id=employee_id, removed_at=None).first()
    if card is None:
        raise NotFound({"bank_card_id": bank_card_id[:32]})
    number = crypto.decrypt(card.card_no, column=CARD_COLUMN)
    return Payee(
        account=number,
        name=crypto.decrypt(card.holder, column=HOLDER_COLUMN),
        masked=f"{card.bank_name} {mask_card(number)}",
        phone=crypto.decrypt(card.phone, column=PHONE_COLUMN),
        bank_code=card.bank_code,
        bank_name=card.bank_name,
        branch=card.branch,
        card=card,
        is_new=now - card.created_at < NEW_CARD,
        is_second_class=card.is_second_class,
    )


def closed_fields(payee: Payee) -> dict[str, object]:
    """The payee's columns of a withdrawal."""
    return {
        "bank_card": payee.card,
        "payee_account": crypto.encrypt(payee.account, column=PAYEE_COLUMN),
        "payee_name": crypto.encrypt(payee.name, column=PAYEE_NAME_COLUMN),
        "payee_index": crypto.blind_index(payee.account, column=PAYEE_COLUMN),
        "payee_name_index": crypto.blind_index(payee.name, column=PAYEE_NAME_COLUMN),
        "payee_masked": payee.masked,
        "bank_code": payee.bank_code,
        "bank_name": payee.bank_name,
        "branch": payee.branch,
    }


def opened(row: Withdrawal) -> tuple[str, str]:
    """(account, name) of a stored withdrawal in the clear, for the provider's request only."""
    return (
        crypto.decrypt(row.payee_account, column=PAYEE_COLUMN),
        crypto.decrypt(row.payee_name, column=PAYEE_NAME_COLUMN),
    )


def phone_of(row: Withdrawal) -> str:
    """The phone bound to the card, in the clear; "" without a card."""
    return crypto.decrypt(row.bank_card.phone, column=PHONE_COLUMN) if row.bank_card is not None else ""
