"""Pages without state, written as files for the web server or a CDN before us (缓存设计: 页面静态化, 定时覆盖静态页).

A page is the answer to a GET of its address without log-in, cookie or query. All are written again every night and by
hand (`manage.py write_pages`), each by one rename, so that nobody reads half of one. deploy/nginx serves a file where
it is there and asks the web processes where it is not. settings.STATIC_PAGES_ROOT "" writes none.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.urls import resolve

from foundation import jobs
from foundation.errors import Broken


@dataclass(frozen=True, kw_only=True)
class Page:
    """`address`: its path, "/api/schema/". `file`: below the root. `accept`: what is asked for."""

    address: str
    file: str
    accept: str = "*/*"


PAGES = (
    Page(address="/api/schema/", file="api-schema.yaml", accept="application/vnd.oai.openapi"),
    Page(address="/api/schema/", file="api-schema.json", accept="application/vnd.oai.openapi+json"),
)
"""The document of the API: a second of computing for each reader, the same for all of them until the next release."""


def write_all(*, root: Path, pages: tuple[Page, ...] = PAGES) -> dict[str, int]:
    """Writes every page below `root` (made if it is missing); bytes by file. A page that is not 200 raises Broken."""
    root.mkdir(parents=True, exist_ok=True)
    return {page.file: _write(root / page.file, _read(page)) for page in pages}


def _read(page: Page) -> bytes:
    where = urlsplit(settings.PUBLIC_BASE_URL)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {
        "PATH_INFO": page.address,
        "HTTP_ACCEPT": page.accept,
        "HTTP_HOST": where.netloc,
        "wsgi.url_scheme": where.scheme,
        "wsgi.input": io.BytesIO(),
    }
    found = resolve(page.address)
    answer = found.func(WSGIRequest(environ), *found.args, **found.kwargs)
    if hasattr(answer, "render"):
        answer.render()
    if answer.status_code != 200:
        raise Broken({"page": page.address, "status": answer.status_code})
    return bytes(answer.content)


def _write(file: Path, content: bytes) -> int:
    """By a rename within the directory; readable for the web server."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return len(content)


class WritePages(jobs.Job):
    """Nightly, and by hand after a release."""

    name = "foundation.write_pages"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return write_all(root=Path(settings.STATIC_PAGES_ROOT)) if settings.STATIC_PAGES_ROOT else {}


jobs.register(WritePages())
