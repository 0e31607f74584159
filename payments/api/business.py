"""What business backends (业务后台) call: signed requests, no log-in. Source: design api.md."""

from __future__ import annotations

from typing import Any, cast

from django.core.validators import RegexValidator
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation import clock
from foundation.api import idempotency
from foundation.api.schema import IDEMPOTENCY_HEADER, error_responses
from foundation.api.serializers import FenIntegerField, StrictIntegerField, StrictSerializer, TextField, read
from foundation.errors import PermissionDenied
from identity.api.authentication import EmployeeTokenAuthentication
from identity.api.permissions import IsEmployee, RequiresToken
from payments.api import views
from payments.api.serializers import (
    AUTO_HELP,
    CHANNELS,
    SCENES,
    OrderAnswerSerializer,
    OrderSerializer,
    PurchaseSerializer,
)
from payments.domain import signing
from payments.domain.channels import AUTO, WALLET
from payments.domain.people import Person
from payments.models import BusinessApp
from payments.services import business_payments, checking, purchase, signed_requests
from payments.services.purchase import NOTHING_TO_PAY, Purchase

MINIMUM_LIFE_SECONDS, MAXIMUM_LIFE_SECONDS = 60, 24 * 3600
"""Of a payment: a person needs a minute, and a provider's code lives no longer than a day."""


class SignedRequestAuthentication(BaseAuthentication):
    """Sets request.user to the BusinessApp; any flaw is 401 signature_invalid, no X-Pay-App leaves it anonymous."""

    def authenticate(self, request: Request) -> tuple[BusinessApp, None] | None:
        headers = request.headers
        if signing.APP_HEADER not in headers:
            return None
        message = signing.SignedMessage(
            method=request.method or "",
            target=request.get_full_path(),
            timestamp=headers.get(signing.TIMESTAMP_HEADER, ""),
            nonce=headers.get(signing.NONCE_HEADER, ""),
            body=request._request.body,
        )
        app = signed_requests.authenticate(
            product_id=headers[signing.APP_HEADER],
            message=message,
            signature=headers.get(signing.SIGNATURE_HEADER, ""),
            now=clock.now(),
        )
        return app, None

    def authenticate_header(self, request: Request) -> str:
        return "Signature"


class SignedRequestScheme(OpenApiAuthenticationExtension):
    """The security scheme in the OpenAPI schema."""

    target_class = "payments.api.business.SignedRequestAuthentication"
    name = "signedRequest"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": signing.SIGNATURE_HEADER,
            "description": (
                "With X-Pay-App, X-Pay-Timestamp (seconds) and X-Pay-Nonce (8 to 64 characters, used once): hex "
                "HMAC-SHA256(secret, METHOD\\nPATH?QUERY\\nTIMESTAMP\\nNONCE\\nSHA256HEX(body))."
            ),
        }


class IsBusinessApp(BasePermission):
    """A business backend that signed its request."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, BusinessApp)


def app_of(request: Request) -> BusinessApp:
    """The signing app (the permission class let nobody else through)."""
    return cast(BusinessApp, request.user)


class BusinessPaymentRequest(StrictSerializer):
    """Body of `POST payments`; `employee` (a code of the app's enterprise) left out: any of its employees may pay."""

    business_order_no = TextField(max_length=64, validators=[RegexValidator(r"\A[\x21-\x7e]+\Z", "visible ASCII")])
    amount_fen = FenIntegerField()
    subject = TextField(max_length=60)
    employee = TextField(max_length=32, required=False)
    expires_in_seconds = StrictIntegerField(
        min_value=MINIMUM_LIFE_SECONDS, max_value=MAXIMUM_LIFE_SECONDS, required=False
    )


class BusinessPaymentsView(APIView):
    """A business backend asks for a payment."""

    authentication_classes = [SignedRequestAuthentication]
    permission_classes = [IsBusinessApp]

    @extend_schema(
        operation_id="payments_create",
        request=BusinessPaymentRequest,
        responses={201: OrderAnswerSerializer, **error_responses(400, 401, 404, 409, 413, 415, 422, 429)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(BusinessPaymentRequest, request)
        app = app_of(request)
        employee_code = data.get("employee", "")

        def work(order_no: str) -> Response:
            order = business_payments.open_payment(
                order_no=order_no,
                app=app,
                business_order_no=data["business_order_no"],
                amount_fen=data["amount_fen"],
                subject=data["subject"],
                employee_code=employee_code,
                expires_in_seconds=data.get("expires_in_seconds"),
                now=clock.now(),
            )
            return Response({"order": OrderSerializer(order).data}, status=201)

        return idempotency.respond(
            request=request,
            endpoint="payments",
            reserve=lambda: business_payments.issue_number(app=app, employee_code=employee_code),
            work=work,
        )


class SharedOrderView(APIView):
    """`GET orders/{order_no}` for whom it concerns: its employee, anyone who may pay it, or the app that asked."""

    authentication_classes = [EmployeeTokenAuthentication, SignedRequestAuthentication]
    permission_classes = [IsEmployee | IsBusinessApp]

    @extend_schema(operation_id="orders_retrieve", responses={200: OrderAnswerSerializer, **error_responses(401, 404)})
    def get(self, request: Request, order_no: str) -> Response:
        if isinstance(request.user, BusinessApp):
            business_payments.get_order(order_no=order_no, app=request.user)
        else:
            business_payments.get_payable(order_no=order_no, payer=views.person_of(request))
        order = checking.refresh_on_read(order_no=order_no, now=clock.now())
        return Response({"order": OrderSerializer(order).data})


class PayingRequest(StrictSerializer):
    """A channel, or `auto`, with a scene; or `wallet` without."""

    channel = serializers.ChoiceField(choices=[*CHANNELS, AUTO, WALLET], help_text=AUTO_HELP)
    scene = serializers.ChoiceField(choices=SCENES, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["channel"] != WALLET and "scene" not in attrs:
            raise serializers.ValidationError({"scene": ["needed for a channel"]})
        return attrs


class PayingView(APIView):
    """A further try on an unpaid order, on any channel or, for a business backend's order, from the own wallet."""

    @extend_schema(
        operation_id="orders_attempts_create",
        request=PayingRequest,
        responses={201: PurchaseSerializer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request, order_no: str) -> Response:
        data = read(PayingRequest, request)
        payer = views.person_of(request)
        business_payments.get_payable(order_no=order_no, payer=payer)
        if data["channel"] == WALLET and not RequiresToken().has_permission(request, self):
            raise PermissionDenied()

        def work(_: str) -> Response:
            return Response(views.purchase_answer(_attempt(order_no, payer, data)), status=201)

        return idempotency.respond(
            request=request, endpoint=f"orders/{order_no}/attempts", reserve=lambda: order_no, work=work
        )


def _attempt(order_no: str, payer: Person, data: dict[str, Any]) -> Purchase:
    if data["channel"] == WALLET:
        paid = business_payments.pay_from_wallet(order_no=order_no, payer=payer, now=clock.now())
        return Purchase(order=paid, payment=NOTHING_TO_PAY)
    return purchase.try_channel(order_no=order_no, channel=data["channel"], scene=data["scene"], now=clock.now())
