"""Addresses under /api/v1/probe/ that do what a test tells them, in front of the real URL map.

Use as `ROOT_URLCONF`; set `Probe.run` with monkeypatch.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api import idempotency
from foundation.api.serializers import FenIntegerField, StrictSerializer, read
from paysys import urls as real
from paysys.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class ProbeBody(StrictSerializer):
    amount_fen = FenIntegerField()


class Probe(APIView):
    """GET runs `run`; POST runs `work` under the caller's idempotency key with a number from `reserve`."""

    run: Callable[[], object] = staticmethod(lambda: None)
    reserve: Callable[[], str] = staticmethod(lambda: "PR1")
    work: Callable[[str], Response] = staticmethod(lambda number: Response({"number": number}, status=201))

    def get(self, request: Request) -> Response:
        return Response({"result": self.run()})

    def post(self, request: Request, endpoint: str = "probe") -> Response:
        read(ProbeBody, request)
        return idempotency.respond(request=request, endpoint=endpoint, reserve=self.reserve, work=self.work)


class OpenProbe(Probe):
    authentication_classes: list = []
    permission_classes: list = []


def plain(request: HttpRequest) -> HttpResponse:
    """A view without DRF."""
    return HttpResponse(str(Probe.run()))


urlpatterns = [
    path("api/v1/probe", Probe.as_view()),
    path("api/v1/probe/open", OpenProbe.as_view()),
    path("api/v1/probe/plain", plain),
    path("api/v1/probe/post-only", require_POST(plain)),
    path("api/v1/probe/<endpoint>", Probe.as_view()),
    path("plain", plain),
    *real.urlpatterns,
]
