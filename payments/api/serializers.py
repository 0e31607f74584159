"""Shapes of orders and payments in the API (design api.md)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rest_framework import serializers

from foundation.api.serializers import FenIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN
from orders.api.serializers import OrderSerializer as OrderSerializer  # the shape every answer about an order has
from orders.domain.states import OrderKind, OrderState
from payments.domain.channels import AUTO, WALLET

CHANNELS = ["wechat", "alipay", "kuaiqian"]
SCENES = ["native", "page", "h5", "jsapi"]
AUTO_HELP = "`auto`: the platform chooses among the channels that may take this payment; a repeated request keeps it."


class PaymentSerializer(serializers.Serializer):
    """What the client needs to let the person pay; which members there are depends on `kind`."""

    kind = serializers.ChoiceField(choices=["code_url", "redirect", "jsapi", "form", "none"])
    code_url = serializers.CharField(required=False, help_text="code_url: to be shown as a QR code")
    url = serializers.CharField(required=False, help_text="redirect: to be opened in the payer's browser")
    action = serializers.CharField(required=False, help_text="form: where it goes to")
    method = serializers.CharField(required=False, help_text="form: POST in either case of letters")
    html = serializers.CharField(required=False, help_text="form: the whole of it, submitting itself")
    appId = serializers.CharField(required=False, help_text="jsapi: this and the rest go to WeixinJSBridge as they are")
    timeStamp = serializers.CharField(required=False)
    nonceStr = serializers.CharField(required=False)
    package = serializers.CharField(required=False)
    signType = serializers.CharField(required=False)
    paySign = serializers.CharField(required=False)

    def get_fields(self) -> dict[str, Any]:
        """`fields` is a word of the framework's own, so it cannot be declared as the others are."""
        inputs = serializers.DictField(child=serializers.CharField(), required=False, help_text="form: its inputs")
        return {**super().get_fields(), "fields": inputs}


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


def _in_calendar(value: dt.datetime) -> None:
    """Near the ends of the calendar moving to another time zone overflows."""
    if not 2000 <= value.year <= 9000:
        raise serializers.ValidationError("must lie between the years 2000 and 9000")


class OrderFilterQuery(StrictSerializer):
    """What lists of orders can be narrowed by; `from` counts, `to` is the first moment that does not."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in OrderKind], required=False)
    state = serializers.ChoiceField(choices=[state.value for state in OrderState], required=False)
    channel = serializers.ChoiceField(choices=[*CHANNELS, WALLET], required=False)
    created_from = serializers.DateTimeField(required=False, validators=[_in_calendar])
    created_to = serializers.DateTimeField(required=False, validators=[_in_calendar])

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python: the two moments are declared by longer names than the query has."""
        fields = super().get_fields()
        fields["from"], fields["to"] = fields.pop("created_from"), fields.pop("created_to")
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "from" in attrs and "to" in attrs and attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": ["must be later than from"]})
        return attrs

    def filters(self) -> dict[str, Any]:
        """Arguments of orders.selectors.list_orders and page_orders."""
        data = self.validated_data
        return {
            "kind": OrderKind(data["kind"]) if "kind" in data else None,
            "state": OrderState(data["state"]) if "state" in data else None,
            "channel": data.get("channel", ""),
            "created_from": data.get("from"),
            "created_to": data.get("to"),
        }


class NumberedPageQuery(OrderFilterQuery):
    page = serializers.IntegerField(required=False, min_value=1, max_value=10**9, default=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)
    as_of = serializers.DateTimeField(required=False, validators=[_in_calendar])


class RechargeRequest(StrictSerializer):
    amount_fen = FenIntegerField(max_value=MAX_FEN)
    channel = serializers.ChoiceField(choices=[*CHANNELS, AUTO], help_text=AUTO_HELP)
    scene = serializers.ChoiceField(choices=SCENES)


class TransferRequest(StrictSerializer):
    to_employee = TextField(max_length=32)
    amount_fen = FenIntegerField(max_value=MAX_FEN)
    memo = TextField(required=False, allow_blank=True, default="", max_length=60)


class OrderListQuery(OrderFilterQuery):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)
