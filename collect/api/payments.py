"""Endpoints of a payment: payers begin one and ask what became of it, merchants give it back."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from collect import selectors
from collect.api.serializers import (
    CollectionRefundAnswerSerializer,
    CollectionRefundRequest,
    CollectionRefundSerializer,
    PayerRequest,
    PayerStartedSerializer,
    PayerViewSerializer,
)
from collect.api.throttles import PayerThrottle
from collect.api.views import employee_of, viewer_of
from collect.domain import rules
from collect.services import collecting
from collect.services.collecting import CollectionView, PayerFacts
from foundation import clock, ids
from foundation.api import idempotency
from foundation.api.addresses import client_address
from foundation.api.schema import IDEMPOTENCY_HEADER, error_responses
from foundation.api.serializers import read
from identity.api.permissions import IsEmployee, RequiresToken

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
"""As foundation.api.idempotency takes it."""


def payer_facts(request: HttpRequest, *, openid: str = "") -> PayerFacts:
    """What is known of whoever pays."""
    agent = request.headers.get("User-Agent", "")
    digest = hashlib.sha256(agent.encode(errors="replace")).hexdigest() if agent else ""
    # WeChat's H5 must be told an address; where proxies are not counted the next one's is all there is.
    address = client_address(request) or request.META.get("REMOTE_ADDR", "")
    return PayerFacts(address=address, agent_digest=digest, openid=openid)


def collection_id_for(*, code_id: str, key: str, address: str) -> str:
    """The id of the payment that an idempotency key of a payer names: the same key, the same id.

    Payers have no log-in, so that a key is told apart by code and address. Nobody without our secret can compute it.
    """
    secret: str = settings.SECRET_KEY
    text = "\n".join(("collect payment", code_id, address, key))
    number = int.from_bytes(hmac.digest(secret.encode(), text.encode(), "sha256"))
    letters = []
    for _ in range(rules.ID_LENGTH):
        number, index = divmod(number, len(rules.ID_ALPHABET))
        letters.append(rules.ID_ALPHABET[index])
    return "".join(letters)


class PaymentsView(APIView):
    """Begin a payment by a code. For payers, who have no log-in; the code's id is all they need."""

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    throttle_classes = (*APIView.throttle_classes, PayerThrottle)

    @extend_schema(
        operation_id="collect_payments_create",
        request=PayerRequest,
        responses={201: PayerStartedSerializer, **error_responses(400, 404, 409, 410, 413, 415, 422, 429)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request, code_id: str) -> Response:
        data = read(PayerRequest, request)
        key = request.headers.get("Idempotency-Key", "")
        if not _KEY.fullmatch(key):
            raise idempotency.KeyRequired()
        payer = payer_facts(request._request, openid=data["openid"])
        collection_id = collection_id_for(code_id=code_id, key=key, address=payer.address)
        is_repeated = bool(selectors.find_code_id(collection_id=collection_id))
        try:
            started = collecting.start(
                collection_id=collection_id,
                code_id=code_id,
                amount_fen=data.get("amount_fen"),
                channel=data["channel"],
                scene=data["scene"],
                payer=payer,
                now=clock.now(),
            )
        except collecting.CollectionIdUsed as error:
            raise idempotency.KeyReused() from error
        answer = {
            "payment_no": started.collection_id,
            "state": started.state,
            "amount_fen": started.amount_fen,
            "expires_at": started.expires_at,
            "payment": dict(started.payment),
        }
        headers = {idempotency.REPLAYED_HEADER: "true"} if is_repeated else {}
        return Response(PayerStartedSerializer(answer).data, status=201, headers=headers)


class PaymentView(APIView):
    """What became of a payment, for who began it: nobody else knows its number."""

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    throttle_classes = (*APIView.throttle_classes, PayerThrottle)

    @extend_schema(
        operation_id="collect_payments_retrieve",
        responses={200: PayerViewSerializer, **error_responses(404, 429)},
    )
    def get(self, request: Request, payment_no: str) -> Response:
        """Asks the provider, at most once in some seconds, while the payment is open."""
        view = collecting.get(collection_id=payment_no, now=clock.now(), ask_provider=True)
        answer = Response(PayerViewSerializer(payer_view(view)).data)
        answer["Cache-Control"] = "no-store"
        return answer


def payer_view(view: CollectionView) -> dict[str, Any]:
    """What a payer is told; the merchant's numbers are not among it."""
    same = ("state", "subject", "channel", "amount_fen", "refunded_fen", "created_at", "expires_at", "paid_at")
    return {
        **{name: getattr(view, name) for name in same},
        "payment_no": view.collection_id,
        "merchant": view.merchant_name,
        "provider_no": view.provider_no,
    }


class CollectionRefundsView(APIView):
    """Give a collection back, all of it or a part, from the merchant's own account."""

    def get_permissions(self) -> list[BasePermission]:
        return [IsEmployee(), RequiresToken()]

    @extend_schema(
        operation_id="collect_refunds_create",
        request=CollectionRefundRequest,
        responses={
            201: CollectionRefundAnswerSerializer,
            **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request, collection_id: str) -> Response:
        data = read(CollectionRefundRequest, request)
        me, viewer = employee_of(request), viewer_of(request)
        selectors.get_own_collection(collection_id=collection_id, viewer=viewer)

        def work(refund_key: str) -> Response:
            made = collecting.refund(
                collection_id=collection_id,
                enterprise_id=me.enterprise_id,
                amount_fen=data["amount_fen"],
                reason=data["reason"],
                refund_key=refund_key,
                actor=f"employee:{me.pk}",
                now=clock.now(),
            )
            return Response({"refund": CollectionRefundSerializer(made).data}, status=201)

        return idempotency.respond(
            request=request, endpoint=f"collect/{collection_id}/refunds", reserve=ids.new_id, work=work
        )
