"""An employee binds his bank card or his WeChat to withdraw to (绑定银行卡, 银行卡实名认证)."""

from __future__ import annotations

import datetime as dt
import re
from typing import ClassVar

from django.db import IntegrityError, transaction

from foundation import crypto, ids
from foundation.db import roles
from foundation.errors import Busy, InvalidRequest, NotFound, Rejected
from gateway.ports import CardVerification, Outcome
from gateway.services import calls
from identity.services import phone_codes
from withdrawals import selectors
from withdrawals.domain.banks import BANKS
from withdrawals.domain.masking import mask_card, mask_phone
from withdrawals.models import (
    CARD_COLUMN,
    HOLDER_COLUMN,
    OPENID_COLUMN,
    PHONE_COLUMN,
    WECHAT_HOLDER_COLUMN,
    BankCard,
    WechatAccount,
)

VERIFYING_CHANNEL = "kuaiqian"
MAX_CARDS = 10
_CARD = re.compile(r"[0-9]{12,19}", re.ASCII)
_PHONE = re.compile(r"1[0-9]{10}", re.ASCII)
_OPENID = re.compile(r"[A-Za-z0-9_\-]{6,128}", re.ASCII)


class CardNotVerified(Rejected):
    """422: the bank says that card, name and phone do not belong together; `details` say which as far as it tells."""

    code: ClassVar[str] = "card_not_verified"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "The bank could not confirm these particulars."
    message_zh: ClassVar[str] = "银行卡信息核验未通过。"


class TooManyCards(Rejected):
    """422: ten cards at most."""

    code: ClassVar[str] = "too_many_bank_cards"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "You have bound as many cards as are allowed."
    message_zh: ClassVar[str] = "绑定的银行卡数量已达上限。"


def bind_card(
    *,
    employee_id: int,
    enterprise_id: int,
    holder: str,
    card_no: str,
    bank_code: str,
    branch: str,
    phone: str,
    phone_code: str,
    now: dt.datetime,
) -> BankCard:
    """Checks the phone code, asks the bank, and stores the card closed; the same card again is the one he has.

    Raises InvalidRequest, PhoneCodeInvalid, CardNotVerified, TooManyCards, ChannelUnavailable, and Busy when the bank
    gives no certain answer (nothing is stored, and the code is used up).
    """
    _check(holder, card_no, bank_code, phone)
    indexes = crypto.blind_indexes(card_no, column=CARD_COLUMN)
    index = indexes[0]
    present = BankCard.objects.filter(employee_id=employee_id, active_index__in=indexes).first()
    if present is None and len(selectors.list_cards(employee_id=employee_id)) >= MAX_CARDS:
        raise TooManyCards({"most": MAX_CARDS})
    phone_codes.use(employee_id=employee_id, purpose=phone_codes.Purpose.BANK_CARD, code=phone_code, now=now)
    if present is not None:
        return present
    verification_no = ids.new_id()
    result = calls.verify_card(
        channel=VERIFYING_CHANNEL,
        request=CardVerification(
            verification_no=verification_no,
            card_no=card_no,
            holder_name=holder,
            mobile=phone,
            bank_code=bank_code,
        ),
    )
    if result.outcome is Outcome.FAILED:
        raise CardNotVerified({"reason": result.code})
    if result.outcome is not Outcome.SUCCESS:
        raise Busy({"reason": "the bank does not answer"}, retry_after_seconds=30)
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            return BankCard.objects.create(
                employee_id=employee_id,
                enterprise_id=enterprise_id,
                holder=crypto.encrypt(holder, column=HOLDER_COLUMN),
                card_no=crypto.encrypt(card_no, column=CARD_COLUMN),
                card_index=index,
                active_index=index,
                card_masked=mask_card(card_no),
                phone=crypto.encrypt(phone, column=PHONE_COLUMN),
                phone_masked=mask_phone(phone),
                bank_code=bank_code,
                bank_name=BANKS[bank_code],
                branch=branch,
                verification_no=verification_no,
                created_at=now,
            )
    except IntegrityError:  # the same card at the same moment
        return BankCard.objects.get(employee_id=employee_id, active_index__in=indexes)


def _check(holder: str, card_no: str, bank_code: str, phone: str) -> None:
    problems: dict[str, list[str]] = {}
    if not 2 <= len(holder) <= 40 or not holder.isprintable():
        problems["holder"] = ["2 to 40 printable characters"]
    if not _CARD.fullmatch(card_no):
        problems["card_no"] = ["12 to 19 digits"]
    if bank_code not in BANKS:
        problems["bank_code"] = [f"one of {', '.join(BANKS)}"]
    if not _PHONE.fullmatch(phone):
        problems["phone"] = ["11 digits of a mobile phone"]
    if problems:
        raise InvalidRequest(problems)


def remove_card(*, card_id: str, employee_id: int, now: dt.datetime) -> None:
    """Takes a card off; withdrawals under way keep their copy. Again: no change. NotFound for anybody else's."""
    rows = BankCard.objects.filter(pk=card_id[:32], employee_id=employee_id) if card_id.isascii() else None
    if rows is None or not rows.exists():
        raise NotFound({"bank_card_id": card_id[:32]})
    rows.filter(removed_at=None).update(removed_at=now, active_index=None)


def bind_wechat(
    *, employee_id: int, enterprise_id: int, openid: str, holder: str, phone_code: str | None, now: dt.datetime
) -> WechatAccount:
    """Binds, or changes, the WeChat identity that withdrawals go to. `phone_code` None: staff or the set-up did it.

    Raises InvalidRequest, PhoneCodeInvalid.
    """
    if not _OPENID.fullmatch(openid) or not 2 <= len(holder) <= 40 or not holder.isprintable():
        raise InvalidRequest({"openid": ["6 to 128 letters and digits"], "holder": ["2 to 40 printable characters"]})
    if phone_code is not None:
        phone_codes.use(employee_id=employee_id, purpose=phone_codes.Purpose.WECHAT_ACCOUNT, code=phone_code, now=now)
    made, _ = WechatAccount.objects.update_or_create(
        employee_id=employee_id,
        defaults={
            "enterprise_id": enterprise_id,
            "openid": crypto.encrypt(openid, column=OPENID_COLUMN),
            "openid_index": crypto.blind_index(openid, column=OPENID_COLUMN),
            "holder": crypto.encrypt(holder, column=WECHAT_HOLDER_COLUMN),
            "bound_at": now,
        },
    )
    return made
