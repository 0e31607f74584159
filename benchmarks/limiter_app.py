"""What `benchmarks.limiter` serves by granian: two addresses behind the product's own middleware and limiter.

GET /api/work/wait?ms=100   waits, as for a provider or a database: a slot costs a thread and nothing else
GET /api/work/burn?ms=5     works, as a page that is made here: a slot costs a processor
/open/…                     the same past the limiter
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from paysys import wsgi

OPEN = "/open"


def wait(request: HttpRequest) -> JsonResponse:
    time.sleep(float(request.GET["ms"]) / 1000)
    return JsonResponse({"result": "done"}, json_dumps_params={"separators": (",", ":")})


def burn(request: HttpRequest) -> JsonResponse:
    """Processor time of this thread, so that a crowd makes it last longer, not less."""
    end = time.thread_time() + float(request.GET["ms"]) / 1000
    while time.thread_time() < end:
        sum(range(50))
    return JsonResponse({"result": "done"}, json_dumps_params={"separators": (",", ":")})


urlpatterns = [path("api/work/wait", wait), path("api/work/burn", burn), path("", include("paysys.urls"))]
os.environ.setdefault("PAYSYS_LOG_LEVEL", "ERROR")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    address = environ["PATH_INFO"]
    if address.startswith(OPEN):
        environ["PATH_INFO"] = address[len(OPEN) :]
        return wsgi._serve(environ, start_response)
    return wsgi.application(environ, start_response)
