"""Shapes of orders and payments in the API (design api.md)."""

from __future__ import annotations

import datetime as dt

from rest_framework import serializers

from foundation.api.serializers import FenIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN
from orders.domain.states import OrderKind, OrderState

CHANNELS = ["wechat", "alipay", "kuaiqian"]
SCENES = ["native", "page", "h5", "jsapi"]


class AttemptSerializer(serializers.Serializer):
    attempt_no = serializers.CharField()
    channel = serializers.CharField()
    state = serializers.CharField()


class OrderSerializer(serializers.Serializer):
    """`order` of api.md; amounts in fen."""

    order_no = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    amount_fen = serializers.IntegerField()
    refunded_fen = serializers.IntegerField()
    subject = serializers.CharField()
    created_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    attempts = AttemptSerializer(many=True)


class PaymentSerializer(serializers.Serializer):
    """What the client needs to let the person pay."""

    kind = serializers.ChoiceField(choices=["code_url", "redirect", "jsapi", "form", "none"])
    code_url = serializers.CharField(required=False)


class PurchaseSerializer(serializers.Serializer):
    order = OrderSerializer()
    payment = PaymentSerializer()


class OrderAnswerSerializer(serializers.Serializer):
    order = OrderSerializer()


class OrderPageSerializer(serializers.Serializer):
    items = OrderSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class NumberedPageSerializer(serializers.Serializer):
    items = OrderSerializer(many=True)
    page = serializers.IntegerField()
    total = serializers.IntegerField()
    as_of = serializers.DateTimeField(help_text="hand it back to leaf through the same orders while new ones arrive")


class NumberedPageQuery(StrictSerializer):
    page = serializers.IntegerField(required=False, min_value=1, max_value=10**9, default=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)
    as_of = serializers.DateTimeField(required=False)

    def validate_as_of(self, value: dt.datetime) -> dt.datetime:
        """Near the ends of the calendar moving to another time zone overflows."""
        if not 2000 <= value.year <= 9000:
            raise serializers.ValidationError("must lie between the years 2000 and 9000")
        return value


class RechargeRequest(StrictSerializer):
    amount_fen = FenIntegerField(max_value=MAX_FEN)
    channel = serializers.ChoiceField(choices=CHANNELS)
    scene = serializers.ChoiceField(choices=SCENES)


class TransferRequest(StrictSerializer):
    to_employee = TextField(max_length=32)
    amount_fen = FenIntegerField(max_value=MAX_FEN)
    memo = TextField(required=False, allow_blank=True, default="", max_length=60)


class AttemptRequest(StrictSerializer):
    channel = serializers.ChoiceField(choices=CHANNELS)
    scene = serializers.ChoiceField(choices=SCENES)


class OrderListQuery(StrictSerializer):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)
    kind = serializers.ChoiceField(choices=[kind.value for kind in OrderKind], required=False)
    state = serializers.ChoiceField(choices=[state.value for state in OrderState], required=False)
