"""`refunds`: a business backend gives back part or all of what one of its own orders was paid with."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation import clock
from foundation.api import idempotency
from foundation.api.schema import IDEMPOTENCY_HEADER, error_responses
from foundation.api.serializers import FenIntegerField, StrictSerializer, TextField, read
from foundation.errors import NotFound
from foundation.money import MAX_FEN
from orders import selectors as orders
from payments.api.business import IsBusinessApp, SignedRequestAuthentication, app_of
from payments.api.serializers import OrderAnswerSerializer, OrderSerializer
from payments.services import business_payments, checking, refund_results, refunds


class RefundRequest(StrictSerializer):
    """Body of `POST refunds`."""

    order_no = TextField(max_length=32)
    amount_fen = FenIntegerField(max_value=MAX_FEN)
    reason = TextField(max_length=60)


class RefundsView(APIView):
    """Opens a refund; how it ends is told by callback and by `GET refunds/{order_no}`."""

    authentication_classes = [SignedRequestAuthentication]
    permission_classes = [IsBusinessApp]

    @extend_schema(
        operation_id="refunds_create",
        request=RefundRequest,
        responses={201: OrderAnswerSerializer, **error_responses(400, 401, 404, 409, 413, 415, 422)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(RefundRequest, request)
        app = app_of(request)
        order_no = business_payments.get_order(order_no=data["order_no"], app=app).order_no

        def work(refund_no: str) -> Response:
            refund = refunds.refund_order(
                refund_no=refund_no,
                order_no=order_no,
                amount_fen=data["amount_fen"],
                reason=data["reason"],
                requested_by=f"app:{app.product_id}",
                now=clock.now(),
            )
            return Response({"order": OrderSerializer(refund).data}, status=201)

        return idempotency.respond(
            request=request,
            endpoint="refunds",
            reserve=lambda: refunds.issue_refund_number(order_no=order_no),
            work=work,
        )


class RefundView(APIView):
    """The refund's own order, for the app whose order it refunds; asks the provider (rate-limited) while pending."""

    authentication_classes = [SignedRequestAuthentication]
    permission_classes = [IsBusinessApp]

    @extend_schema(operation_id="refunds_retrieve", responses={200: OrderAnswerSerializer, **error_responses(401, 404)})
    def get(self, request: Request, refund_no: str) -> Response:
        if not refund_no.isascii():
            raise NotFound({"order_no": refund_no[:32]})
        refund = orders.get_order(order_no=refund_no)
        if not refund_results.is_payment_refund(refund):
            raise NotFound({"order_no": refund_no[:32]})
        try:
            business_payments.get_order(order_no=refund.original_order_no, app=app_of(request))
        except NotFound as error:  # which names the original: a stranger has not asked for that one
            raise NotFound({"order_no": refund_no[:32]}) from error
        order = checking.refresh_on_read(order_no=refund_no, now=clock.now())
        return Response({"order": OrderSerializer(order).data})
