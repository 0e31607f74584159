"""Shapes of withdrawals and bank cards in the API (design api.md); amounts in fen, numbers masked."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from foundation import crypto
from foundation.api.serializers import FenIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN
from orders.api.serializers import OrderSerializer
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import HOLDER_COLUMN, BankCard, Withdrawal
from withdrawals.services.payees import CHANNELS

STATES = [state.value for state in WithdrawalState]


class WithdrawalRequest(StrictSerializer):
    """`bank_card_id` is needed for kuaiqian; wechat goes to the bound WeChat account."""

    amount_fen = FenIntegerField(max_value=MAX_FEN)
    channel = serializers.ChoiceField(choices=list(CHANNELS))
    bank_card_id = TextField(required=False, max_length=32)


class ConfirmationSerializer(serializers.Serializer):
    """What WeChat's client is given so that the payee confirms (wx.requestMerchantTransfer)."""

    kind = serializers.ChoiceField(choices=["confirm"])
    mchId = serializers.CharField()
    appId = serializers.CharField()
    package = serializers.CharField()


class WithdrawalSerializer(serializers.Serializer):
    """A withdrawal; `confirmation` is there while the payee must confirm, `reason` when it was rejected or failed."""

    id = serializers.CharField(help_text="the number of its order")
    order_no = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    amount_fen = serializers.IntegerField()
    fee_fen = serializers.IntegerField()
    channel = serializers.ChoiceField(choices=list(CHANNELS))
    payee = serializers.CharField(help_text="masked")
    bank_card_id = serializers.CharField(allow_null=True)
    is_in_review = serializers.BooleanField(help_text="risk control asked staff to look closer")
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    confirmation = ConfirmationSerializer(allow_null=True)


class WithdrawalMadeSerializer(serializers.Serializer):
    withdrawal = WithdrawalSerializer()
    order = OrderSerializer()


class WithdrawalAnswerSerializer(serializers.Serializer):
    withdrawal = WithdrawalSerializer()


class WithdrawalPageSerializer(serializers.Serializer):
    items = WithdrawalSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class WithdrawalListQuery(StrictSerializer):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)


class BankCardRequest(StrictSerializer):
    holder = TextField(max_length=40)
    card_no = TextField(max_length=19)
    bank_code = TextField(max_length=16)
    branch = TextField(required=False, allow_blank=True, default="", max_length=120)
    phone = TextField(max_length=11)
    phone_code = TextField(max_length=6)


class BankCardSerializer(serializers.Serializer):
    id = serializers.CharField()
    holder = serializers.CharField(help_text="masked")
    card_no = serializers.CharField(help_text="masked")
    bank_code = serializers.CharField()
    bank_name = serializers.CharField()
    branch = serializers.CharField()
    phone = serializers.CharField(help_text="masked")
    created_at = serializers.DateTimeField()


class BankCardAnswerSerializer(serializers.Serializer):
    bank_card = BankCardSerializer()


class BankCardListSerializer(serializers.Serializer):
    items = BankCardSerializer(many=True)


class WechatAccountRequest(StrictSerializer):
    openid = TextField(max_length=128)
    holder = TextField(max_length=40)
    phone_code = TextField(max_length=6)


class WechatAccountSerializer(serializers.Serializer):
    bound_at = serializers.DateTimeField()


def withdrawal_data(row: Withdrawal) -> dict[str, Any]:
    """`withdrawal` of api.md. Staff's notes stay inside; the provider's code says why a payout failed."""
    ended_badly = row.state in (WithdrawalState.FAILED, WithdrawalState.RETURNED)
    fields = {
        "id": row.order_no,
        "payee": row.payee_masked,
        "bank_card_id": row.bank_card_id,
        "is_in_review": row.needs_review,
        "reason": row.reason or (row.result_code if ended_badly else ""),
        "confirmation": row.confirmation,
    }
    same = ("order_no", "state", "amount_fen", "fee_fen", "channel", "created_at", "decided_at", "finished_at")
    return dict(WithdrawalSerializer({**fields, **{name: getattr(row, name) for name in same}}).data)


def card_data(card: BankCard) -> dict[str, Any]:
    """A card as its owner sees it: enough to tell it apart."""
    holder = crypto.decrypt(card.holder, column=HOLDER_COLUMN)
    fields = {
        "id": card.pk,
        "holder": f"{'*' * (len(holder) - 1)}{holder[-1:]}",
        "card_no": card.card_masked,
        "phone": card.phone_masked,
    }
    same = ("bank_code", "bank_name", "branch", "created_at")
    return dict(BankCardSerializer({**fields, **{name: getattr(card, name) for name in same}}).data)
