"""The employee's own wallet: balance and statement (design api.md)."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api import cursors
from foundation.api.schema import error_responses
from foundation.api.serializers import StrictSerializer
from funds import selectors
from funds.domain.entries import AccountRef, employee_account
from identity.models import Employee


class WalletSerializer(serializers.Serializer):
    available_fen = serializers.IntegerField()
    frozen_fen = serializers.IntegerField()
    currency = serializers.CharField()


class StatementLineSerializer(serializers.Serializer):
    """One movement; `amount_fen` is signed, the balance is that of the line's bucket afterwards."""

    id = serializers.CharField(source="posting_id")
    kind = serializers.CharField()
    order_no = serializers.CharField()
    bucket = serializers.CharField()
    category = serializers.CharField()
    amount_fen = serializers.IntegerField()
    balance_after_fen = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class StatementSerializer(serializers.Serializer):
    items = StatementLineSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class StatementQuery(StrictSerializer):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)


def _own_account(request: Request) -> AccountRef:
    employee = cast(Employee, request.user)
    return employee_account(employee.pk, employee.enterprise_id)


class WalletView(APIView):
    """Available and frozen money of the logged-in employee."""

    @extend_schema(operation_id="wallet_retrieve", responses={200: WalletSerializer, **error_responses(401)})
    def get(self, request: Request) -> Response:
        wallet = selectors.get_wallet(account=_own_account(request))
        return Response({"available_fen": wallet.available_fen, "frozen_fen": wallet.frozen_fen, "currency": "CNY"})


class WalletEntriesView(APIView):
    """Statement of the logged-in employee's wallet, newest first."""

    @extend_schema(
        operation_id="wallet_entries",
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses={200: StatementSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = StatementQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        page = selectors.list_statement(
            account=_own_account(request),
            before=_before(query.validated_data.get("cursor", "")),
            limit=query.validated_data["limit"],
        )
        cursor = cursors.encode([page.next_before]) if page.next_before is not None else None
        return Response({"items": StatementLineSerializer(page.items, many=True).data, "next_cursor": cursor})


def _before(cursor: str) -> int | None:
    if not cursor:
        return None
    values = cursors.decode(cursor)
    if len(values) != 1 or type(values[0]) is not int:
        raise cursors.bad_cursor()
    return values[0]
