"""What `benchmarks.grab` serves by granian: the product, and the baselines beside it in the same processes.

POST /hello          a WSGI function that answers one word
POST /bare           a Django view without middleware, one Redis call
POST /twin/api/…     the product's grab by DRF, past the front door
everything else      the product as in production
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test.utils import override_settings
from django.urls import path

from foundation import redis
from paysys import wsgi

TWIN = "/twin"


def bare(request: HttpRequest) -> JsonResponse:
    answer = JsonResponse({"result": redis.client().get("bench:bare")})
    answer["Content-Length"] = str(len(answer.content))  # as Django's CommonMiddleware; chunks would cost more
    return answer


urlpatterns = [path("bare", bare)]


class BareHandler(WSGIHandler):
    """Django with no middleware of ours and one address."""

    def get_response(self, request: HttpRequest) -> HttpResponse:
        request.urlconf = __name__  # type: ignore[attr-defined]
        return super().get_response(request)  # type: ignore[return-value]


with override_settings(MIDDLEWARE=[]):
    _bare = BareHandler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    address = environ["PATH_INFO"]
    if address == "/hello":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
    if address == "/bare":
        return _bare(environ, start_response)
    if address.startswith(TWIN):
        environ["PATH_INFO"] = address[len(TWIN) :]
        return wsgi._serve(environ, start_response)
    return wsgi.application(environ, start_response)
