"""The addresses that providers call. Plain Django: the raw bytes matter, nothing may parse them before."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from foundation import clock
from foundation.errors import Rejected
from gateway.ports import Answer
from gateway.services import notices as gateway_notices
from payments.services import notices


@csrf_exempt
@require_POST
def wechat(request: HttpRequest) -> HttpResponse:
    """WeChat Pay v3 notices of payments and refunds: 204 when booked, else 4xx/5xx with WeChat's failure text."""
    return _answer("wechat", request)


@csrf_exempt
@require_POST
def alipay(request: HttpRequest) -> HttpResponse:
    """Alipay's notices of trades, refunds included: `success` when booked, else 4xx/5xx with `fail`."""
    return _answer("alipay", request)


@require_GET
def kuaiqian(request: HttpRequest) -> HttpResponse:
    """99bill's notices of payments, a signed query string: `<result>1</result>` when booked, else 4xx/5xx with 0."""
    return _answer("kuaiqian", request, body=request.META["QUERY_STRING"].encode("latin-1", "replace"))


@csrf_exempt
@require_POST
def kuaiqian_payout(request: HttpRequest) -> HttpResponse:
    """99bill's sealed notices of payouts; the answer is sealed, too."""
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
