"""WSGI entry for granian: slots for so many requests at a time, the front door of grabs, Django behind it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while others want it. At Python's 5 ms a refusal that needs a fraction of
one waits 5 ms for each thread that computes a page (`benchmarks.limiter`, the case of the processor)."""

sys.setswitchinterval(SWITCH_SECONDS)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paysys.settings.production")
_django = get_wsgi_application()

from foundation.api.limiter import BoundedApplication  # noqa: E402 - needs the apps, which the line above loads
from redpacket.api.front_door import FrontDoor  # noqa: E402


def _serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, with the request's charset taken away: our input is UTF-8 (RFC 8259).

    Django decodes the query with whatever charset the Content-Type names and fails before any middleware when it is
    none for text ("charset=hex").
    """
    content_type = environ.get("CONTENT_TYPE", "")
    if "charset" in content_type.lower():
        environ["CONTENT_TYPE"] = content_type.partition(";")[0]
    return _django(environ, start_response)


application = BoundedApplication(FrontDoor(_serve))
