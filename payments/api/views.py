"""Recharge and order endpoints. Each parses, makes one service call and translates the answer."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
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
from orders.domain.states import OrderKind, OrderState
from payments import selectors
from payments.api.serializers import (
    CHANNELS,
    NumberedPageQuery,
    NumberedPageSerializer,
    OrderAnswerSerializer,
    OrderListQuery,
    OrderPageSerializer,
    OrderSerializer,
    PurchaseSerializer,
    RechargeRequest,
    TransferRequest,
)
from payments.domain.channels import WALLET
from payments.domain.people import Person
from payments.services import closing, numbers, recharging, transferring
from payments.services.purchase import Purchase


def employee_of(request: Request) -> Employee:
    """The logged-in employee (the permission class let nobody else through)."""
    return cast(Employee, request.user)


def person_of(request: Request) -> Person:
    employee = employee_of(request)
    return Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def purchase_answer(bought: Purchase, **more: Any) -> dict[str, Any]:
    """`{order, payment}` plus `more`, as api.md has it."""
    return {"order": OrderSerializer(bought.order).data, "payment": dict(bought.payment), **more}


class RechargesView(APIView):
    """Recharge the own wallet through a channel."""

    @extend_schema(
        operation_id="recharges_create",
        request=RechargeRequest,
        responses={201: PurchaseSerializer, **error_responses(400, 401, 409, 413, 415, 422, 429)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(RechargeRequest, request)
        person = person_of(request)

        def work(order_no: str) -> Response:
            bought = recharging.recharge(order_no=order_no, payer=person, now=clock.now(), **data)
            return Response(purchase_answer(bought), status=201)

        return idempotency.respond(
            request=request,
            endpoint="recharges",
            reserve=lambda: numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=person.employee_id),
            work=work,
        )


class TransfersView(APIView):
    """Transfer money of the own balance to a colleague."""

    permission_classes = [IsEmployee, RequiresToken]

    @extend_schema(
        operation_id="transfers_create",
        request=TransferRequest,
        responses={201: OrderAnswerSerializer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(TransferRequest, request)
        person = person_of(request)

        def work(order_no: str) -> Response:
            order = transferring.transfer(
                order_no=order_no,
                payer=person,
                to_code=data["to_employee"],
                amount_fen=data["amount_fen"],
                memo=data["memo"],
                now=clock.now(),
            )
            return Response({"order": OrderSerializer(order).data}, status=201)

        return idempotency.respond(
            request=request,
            endpoint="transfers",
            reserve=lambda: numbers.issue(prefix=numbers.Prefix.TRANSFER, account_id=person.employee_id),
            work=work,
        )


FILTERS = [
    OpenApiParameter("kind", str, enum=[kind.value for kind in OrderKind]),
    OpenApiParameter("state", str, enum=[state.value for state in OrderState]),
    OpenApiParameter("channel", str, enum=[*CHANNELS, WALLET], description="Channel of the newest attempt."),
    OpenApiParameter("from", dt.datetime, description="Created at this moment or later."),
    OpenApiParameter("to", dt.datetime, description="Created before this moment."),
]


class OrderListView(APIView):
    """The own orders, newest first, over all tables."""

    @extend_schema(
        operation_id="orders_list",
        parameters=[
            OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
            *FILTERS,
        ],
        responses={200: OrderPageSerializer, **error_responses(400, 401, 503)},
    )
    def get(self, request: Request) -> Response:
        query = OrderListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        page = orders.list_orders(
            employee_id=employee_of(request).pk,
            limit=data["limit"],
            before=_before(data.get("cursor", "")),
            **query.filters(),
        )
        after = page.next_after
        cursor = cursors.encode([after[0].isoformat(), after[1]]) if after else None
        return Response({"items": OrderSerializer(page.items, many=True).data, "next_cursor": cursor})


class OrderPagesView(APIView):
    """The own orders by page number, newest first, with the total."""

    @extend_schema(
        operation_id="orders_pages",
        parameters=[
            OpenApiParameter("page", int),
            OpenApiParameter("page_size", int),
            OpenApiParameter("as_of", dt.datetime),
            *FILTERS,
        ],
        responses={200: NumberedPageSerializer, **error_responses(400, 401, 422, 503)},
    )
    def get(self, request: Request) -> Response:
        query = NumberedPageQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        page = orders.page_orders(
            employee_id=employee_of(request).pk,
            page=data["page"],
            page_size=data["page_size"],
            as_of=data.get("as_of") or clock.now(),
            **query.filters(),
        )
        return Response(NumberedPageSerializer(page).data)


def _before(cursor: str) -> tuple[dt.datetime, str] | None:
    if not cursor:
        return None
    values = cursors.decode(cursor)
    if len(values) != 2 or not isinstance(values[1], str):
        raise cursors.bad_cursor()
    return cursors.moment(values[0]), values[1]


class OrderCloseView(APIView):
    """Closes an unpaid order, at the provider first."""

    @extend_schema(
        operation_id="orders_close",
        request=None,
        responses={200: OrderAnswerSerializer, **error_responses(401, 404, 409, 503)},
    )
    def post(self, request: Request, order_no: str) -> Response:
        selectors.get_own_order(order_no=order_no, employee_id=employee_of(request).pk)
        order = closing.close_order(order_no=order_no, now=clock.now())
        return Response({"order": OrderSerializer(order).data})
