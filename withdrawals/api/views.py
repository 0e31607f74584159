"""Endpoints of withdrawals and bank cards. Each parses, makes one service call and translates the answer."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation import clock
from foundation.api import cursors, idempotency
from foundation.api.schema import IDEMPOTENCY_HEADER, error_responses
from foundation.api.serializers import read
from identity.api.permissions import IsEmployee, RequiresToken
from identity.models import Employee
from orders import selectors as orders
from orders.api.serializers import OrderSerializer
from orders.domain.numbers import Prefix
from orders.services import numbers
from withdrawals import selectors
from withdrawals.api.serializers import (
    BankCardAnswerSerializer,
    BankCardListSerializer,
    BankCardRequest,
    WechatAccountRequest,
    WechatAccountSerializer,
    WithdrawalAnswerSerializer,
    WithdrawalListQuery,
    WithdrawalMadeSerializer,
    WithdrawalPageSerializer,
    WithdrawalRequest,
    card_data,
    withdrawal_data,
)
from withdrawals.services import application, binding
from withdrawals.services.application import Applicant


def _me(request: Request) -> Employee:
    return cast(Employee, request.user)  # the permission class lets nobody else through


class WithdrawalsView(APIView):
    """Apply for a withdrawal; list the own ones."""

    def get_permissions(self) -> list[BasePermission]:
        return [IsEmployee(), RequiresToken()] if self.request.method == "POST" else [IsEmployee()]

    @extend_schema(
        operation_id="withdrawals_create",
        request=WithdrawalRequest,
        responses={201: WithdrawalMadeSerializer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 503)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(WithdrawalRequest, request)
        me = _me(request)
        applicant = Applicant(
            employee_id=me.pk,
            enterprise_id=me.enterprise_id,
            address=request.META.get("REMOTE_ADDR", ""),
            account_age_days=selectors.account_age_days(
                employee_id=me.pk, enterprise_id=me.enterprise_id, now=clock.now()
            ),
        )

        def work(order_no: str) -> Response:
            made = application.apply(
                order_no=order_no,
                applicant=applicant,
                amount_fen=data["amount_fen"],
                channel=data["channel"],
                bank_card_id=data.get("bank_card_id"),
                now=clock.now(),
            )
            order = orders.get_order(order_no=order_no)
            return Response({"withdrawal": withdrawal_data(made), "order": OrderSerializer(order).data}, status=201)

        return idempotency.respond(
            request=request,
            endpoint="withdrawals",
            reserve=lambda: numbers.issue(prefix=Prefix.WITHDRAWAL, account_id=me.pk),
            work=work,
        )

    @extend_schema(
        operation_id="withdrawals_list",
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses={200: WithdrawalPageSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = WithdrawalListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        rows, next_after = selectors.list_own(
            employee_id=_me(request).pk,
            after=_after(query.validated_data.get("cursor", "")),
            limit=query.validated_data["limit"],
        )
        cursor = cursors.encode(["withdrawals", *next_after]) if next_after else None
        return Response({"items": [withdrawal_data(row) for row in rows], "next_cursor": cursor})


def _after(cursor: str) -> list[str] | None:
    if not cursor:
        return None
    match cursors.decode(cursor):
        case ["withdrawals", str(created_at), str(order_no)] if order_no.isascii() and len(order_no) <= 32:
            return [cursors.moment(created_at).isoformat(), order_no]
        case _:
            raise cursors.bad_cursor()


class WithdrawalView(APIView):
    """One withdrawal of the caller."""

    @extend_schema(
        operation_id="withdrawals_retrieve",
        responses={200: WithdrawalAnswerSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, order_no: str) -> Response:
        row = selectors.get_own(order_no=order_no, employee_id=_me(request).pk)
        return Response({"withdrawal": withdrawal_data(row)})


class WithdrawalCancelView(APIView):
    """Take a withdrawal back before anybody decided about it."""

    @extend_schema(
        operation_id="withdrawals_cancel",
        request=None,
        responses={200: WithdrawalAnswerSerializer, **error_responses(401, 404, 409, 503)},
    )
    def post(self, request: Request, order_no: str) -> Response:
        selectors.get_own(order_no=order_no, employee_id=_me(request).pk)
        row = application.cancel(order_no=order_no, employee_id=_me(request).pk, now=clock.now())
        return Response({"withdrawal": withdrawal_data(row)})


class BankCardsView(APIView):
    """Bind a bank card; list the own ones. Numbers come back masked only."""

    @extend_schema(
        operation_id="bank_cards_create",
        request=BankCardRequest,
        responses={201: BankCardAnswerSerializer, **error_responses(400, 401, 413, 415, 422, 503)},
    )
    def post(self, request: Request) -> Response:
        data = read(BankCardRequest, request)
        me = _me(request)
        card = binding.bind_card(employee_id=me.pk, enterprise_id=me.enterprise_id, now=clock.now(), **data)
        return Response({"bank_card": card_data(card)}, status=201)

    @extend_schema(
        operation_id="bank_cards_list",
        responses={200: BankCardListSerializer, **error_responses(401)},
    )
    def get(self, request: Request) -> Response:
        return Response({"items": [card_data(card) for card in selectors.list_cards(employee_id=_me(request).pk)]})


class BankCardView(APIView):
    """Remove a bank card."""

    @extend_schema(operation_id="bank_cards_destroy", responses={204: None, **error_responses(401, 404)})
    def delete(self, request: Request, card_id: str) -> Response:
        binding.remove_card(card_id=card_id, employee_id=_me(request).pk, now=clock.now())
        return Response(status=204)


class WechatAccountView(APIView):
    """Bind the WeChat account that withdrawals go to, or change it."""

    @extend_schema(
        operation_id="wechat_account_update",
        request=WechatAccountRequest,
        responses={200: WechatAccountSerializer, **error_responses(400, 401, 413, 415, 422)},
    )
    def put(self, request: Request) -> Response:
        data = read(WechatAccountRequest, request)
        me = _me(request)
        made = binding.bind_wechat(employee_id=me.pk, enterprise_id=me.enterprise_id, now=clock.now(), **data)
        return Response({"bound_at": WechatAccountSerializer(made).data["bound_at"]})
