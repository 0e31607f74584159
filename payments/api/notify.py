"""The addresses that providers call. Plain Django: the raw bytes matter, nothing may parse them before.

The views are DRF's by name only, so that the OpenAPI document has them: NoticeView.dispatch is Django's own, and no
parser, content negotiation, log-in or error shape of the API takes part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.views import View
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.views import APIView

from foundation import clock
from foundation.api.schema import ErrorSerializer
from foundation.errors import Rejected
from gateway.ports import Answer
from gateway.services import notices as gateway_notices
from payments.services import notices

REFUSALS: Mapping[int, str] = {
    400: "Malformed.",
    401: "Forged, stale or malformed: kept, nothing changed.",
    404: "Verified, but the number is not ours: kept and alerted.",
    409: "It contradicts what is already known.",
    413: "Larger than any notice: not kept.",
    422: "Verified, but the amount is not the order's, or the channel is not set up.",
}


class NoticeView(APIView):
    """A provider's notice. The signature in it is the only log-in."""

    authentication_classes = []
    permission_classes = []

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if (request.method or "").lower() not in self.http_method_names:
            return HttpResponseNotAllowed([name.upper() for name in self.http_method_names])
        return View.dispatch(self, request, *args, **kwargs)


def _documented(status: int, media_type: str, success: str, *, refusal_type: str = "") -> dict[Any, Any]:
    """The answers of a notice address: the provider's own texts; 503 before it is read has the API's shape of errors.

    `refusal_type`: the media type of refusals where it is another.
    """
    text = {(status, media_type): OpenApiResponse(OpenApiTypes.STR if status == 200 else None, description=success)}
    kind = refusal_type or media_type
    shape = OpenApiTypes.OBJECT if kind == "application/json" else OpenApiTypes.STR
    refused = {(code, kind): OpenApiResponse(shape, description=why) for code, why in REFUSALS.items()}
    return {**text, **refused, 503: ErrorSerializer}


WECHAT: dict[str, Any] = {
    "tags": ["notify"],
    "request": OpenApiTypes.OBJECT,
    "responses": _documented(204, "application/json", "Booked, or booked before."),
}


class WechatView(NoticeView):
    """WeChat Pay v3 notices of payments and refunds."""

    http_method_names = ["post"]

    @extend_schema(operation_id="notify_wechat", **WECHAT)
    def post(self, request: HttpRequest) -> HttpResponse:
        """204 when booked, else 4xx or 5xx with WeChat's failure text, and WeChat sends it again."""
        return _answer("wechat", request)


class WechatRefundView(NoticeView):
    """WeChat Pay v3 notices of refunds, at the address that refunds name."""

    http_method_names = ["post"]

    @extend_schema(operation_id="notify_wechat_refund", **WECHAT)
    def post(self, request: HttpRequest) -> HttpResponse:
        """204 when booked, else 4xx or 5xx with WeChat's failure text, and WeChat sends it again."""
        return _answer("wechat", request)


class AlipayView(NoticeView):
    """Alipay's notices of trades, refunds included."""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="notify_alipay",
        tags=["notify"],
        request={"application/x-www-form-urlencoded": OpenApiTypes.OBJECT},
        responses=_documented(200, "text/plain", "Exactly `success`: booked, or booked before."),
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        """`success` when booked, else 4xx or 5xx with `fail`, and Alipay sends it again."""
        return _answer("alipay", request)


class KuaiqianView(NoticeView):
    """99bill's notices of payments, a signed query string."""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="notify_kuaiqian",
        tags=["notify"],
        responses=_documented(200, "text/html", "`<result>1</result>` with the page to show: booked."),
    )
    def get(self, request: HttpRequest) -> HttpResponse:
        """`<result>1</result>` when booked, else 4xx or 5xx with `<result>0</result>`, and 99bill sends it again."""
        return _answer("kuaiqian", request, body=request.META["QUERY_STRING"].encode("latin-1", "replace"))


class KuaiqianPayoutView(NoticeView):
    """99bill's sealed notices of payouts."""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="notify_kuaiqian_payout",
        tags=["notify"],
        request={"text/xml": OpenApiTypes.STR},
        responses=_documented(200, "text/xml", "A sealed answer: booked, or booked before.", refusal_type="text/html"),
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        """The answer to a booked one is sealed, too; a refusal is not, and 99bill sends the notice again."""
        return _answer("kuaiqian", request)


def _answer(channel: str, request: HttpRequest, *, body: bytes | None = None) -> HttpResponse:
    """`body`: what stands for the body where the notice has none; the query string is then not kept as path, too."""
    try:
        answer = notices.handle(
            channel=channel,
            method=request.method or "POST",
            path=request.get_full_path() if body is None else request.path,
            headers=dict(request.headers),
            body=request.body if body is None else body,
            now=clock.now(),
        )
    except Rejected as error:
        refusal = gateway_notices.failure_answer(channel, error.code)
        return _response(Answer(status=error.http_status, content_type=refusal.content_type, body=refusal.body))
    return _response(answer)


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)
