"""Shape of an order in the API (design api.md); amounts in fen."""

from __future__ import annotations

from rest_framework import serializers


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
