"""The addresses that providers call. Plain Django: the raw bytes matter, nothing may parse them before."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

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


def _answer(channel: str, request: HttpRequest) -> HttpResponse:
    try:
        answer = notices.handle(
            channel=channel,
            method=request.method or "POST",
            path=request.get_full_path(),
            headers=dict(request.headers),
            body=request.body,
            now=clock.now(),
        )
    except Rejected as error:
        refusal = gateway_notices.failure_answer(channel, error.code)
        return _response(Answer(status=error.http_status, content_type=refusal.content_type, body=refusal.body))
    return _response(answer)


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)
