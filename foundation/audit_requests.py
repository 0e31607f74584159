"""What staff do in the admin goes into the audit trail: one row for each POST, and for each log-in and log-out.

`before` and `after` are the rows that the address and the form name, read before and behind the view. What the view
itself records (`audit.record`) has the same origin, reason and request id. A look (GET) is not recorded.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.apps import apps
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, ResolverMatch, resolve, reverse

from foundation import audit
from foundation.api import door

logger = structlog.get_logger("audit")

REASON_FIELDS = ("reason", "comment")
"""Where the admin's forms ask why; the first that is filled counts."""
MAX_OBJECTS = 200
"""Of one POST; a list of the admin shows 100."""
MAX_NAMES = 80

_FORMSET_KEY = r"form-\d{1,4}-%s"


@dataclass(kw_only=True)
class _Seen:
    """What one POST is about. `made`: keys of rows of `model` that were added while it was answered."""

    action: str
    model: type[models.Model] | None
    keys: list[str]
    made: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


_present: contextvars.ContextVar[_Seen | None] = contextvars.ContextVar("audit_seen", default=None)


class AuditMiddleware:
    """Behind authentication, before everything that could refuse a member of staff: refusals are recorded, too.

    A log-out has the row of its signal only. The row is written when the view has answered, and commits by itself;
    what the view did stands by then. If it cannot be written the member of staff sees an error, and the log holds what
    was asked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user: Any = request.user
        is_ours = request.path.startswith(reverse("admin:index")) and request.path != reverse("admin:logout")
        if request.method != "POST" or not is_ours or not user.is_authenticated:
            return self.get_response(request)
        seen = _seen(request)
        reason = next((text for name in REASON_FIELDS if (text := request.POST.get(name, "").strip())), "")
        before = _snapshots(seen)
        with audit.acting(audit.Scene(origin=_origin(request, user), reason=reason)), _watching(seen):
            response = self.get_response(request)
            self._record(seen, before, response)
        return response

    @staticmethod
    def _record(seen: _Seen, before: Mapping[str, Any], response: HttpResponse) -> None:
        seen.keys = list(dict.fromkeys([*seen.keys, *seen.made]))[:MAX_OBJECTS]
        after = _snapshots(seen)
        changes = {key: audit.difference(before.get(key), after.get(key)) for key in seen.keys}
        is_one = len(seen.keys) == 1
        details = {**seen.details, "status": response.status_code}
        if not is_one and seen.keys:
            details["objects"] = seen.keys
        changed = {key: pair for key, pair in changes.items() if any(pair)}
        try:
            audit.record(
                action=seen.action,
                object_type=seen.model._meta.label_lower if seen.model else "",
                object_key=seen.keys[0] if is_one else "",
                before=_side(changed, 0, is_one),
                after=_side(changed, 1, is_one),
                details=details,
            )
        except Exception:
            logger.exception("audit row not written", action=seen.action, objects=seen.keys, details=details)
            raise


def _side(changed: Mapping[str, tuple[Any, Any]], side: int, is_one: bool) -> dict[str, Any] | None:
    kept = {key: pair[side] for key, pair in changed.items() if pair[side] is not None}
    if not kept:
        return None
    return next(iter(kept.values())) if is_one else kept


def _seen(request: HttpRequest) -> _Seen:
    """From the resolver: which model's page, which of its objects, and what was asked of them."""
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return _Seen(action="staff.unknown", model=None, keys=[], details={"path": request.path[:200]})
    model = _model(request)
    name = match.url_name or "page"
    if model is not None:
        name = name.removeprefix(f"{model._meta.app_label}_{model._meta.model_name}_")
    posted = request.POST
    names = sorted(name for name in posted if name != "csrfmiddlewaretoken" and not name.startswith("_"))
    details: dict[str, Any] = {"view": match.view_name, "fields": names[:MAX_NAMES]}
    if posted.get("action"):
        details["action"] = posted["action"][:64]
    return _Seen(
        action=re.sub(r"[^\x21-\x7e]", "", f"staff.{name}")[:40],
        model=model,
        keys=_keys(match, request, model) if model is not None else _texts(match),
        details=details,
    )


def _model(request: HttpRequest) -> type[models.Model] | None:
    """All pages of a ModelAdmin lie under /admin/<app>/<model>/."""
    parts = request.path_info.removeprefix(reverse("admin:index")).split("/")
    with contextlib.suppress(LookupError):  # a page that belongs to no model
        return apps.get_model(parts[0], parts[1]) if len(parts) > 1 else None
    return None


def _texts(match: ResolverMatch) -> list[str]:
    return [unquote(str(value))[:128] for value in match.kwargs.values()]


def _keys(match: ResolverMatch, request: HttpRequest, model: type[models.Model]) -> list[str]:
    """One argument of the address is the object's key; a list names its objects in the form."""
    keys = _texts(match)[:1]
    keys += request.POST.getlist("_selected_action")
    pattern = re.compile(_FORMSET_KEY % re.escape(model._meta.pk.name))
    if not match.kwargs:
        keys += [request.POST[name] for name in request.POST if pattern.fullmatch(name)]
    return [key[:128] for key in dict.fromkeys(keys) if key][:MAX_OBJECTS]


def _snapshots(seen: _Seen) -> dict[str, dict[str, Any]]:
    """Key → fields of each row that exists, secrets hidden. Nothing for pages whose model has no table of its own."""
    model = seen.model
    if model is None or not seen.keys or not model._meta.managed or getattr(model, "paysys_everywhere", False):
        return {}
    found = {}
    for key in seen.keys:
        try:
            row = model._base_manager.filter(pk=key).first()
        except (ValueError, TypeError, ValidationError, OverflowError):  # no key of this table: the view answers 404
            continue
        if row is not None:
            found[key] = _fields(row)
    return found


def _fields(row: models.Model) -> dict[str, Any]:
    shown = {item.attname: audit.hidden(item.attname, getattr(row, item.attname)) for item in row._meta.concrete_fields}
    for many in row._meta.many_to_many:
        shown[many.name] = sorted(str(key) for key in getattr(row, many.name).values_list("pk", flat=True))
    return audit.plain(shown)


@contextlib.contextmanager
def _watching(seen: _Seen) -> Iterator[None]:
    mark = _present.set(seen)
    try:
        yield
    finally:
        _present.reset(mark)


def note_made(sender: type[models.Model], instance: models.Model, created: bool, **_more: Any) -> None:
    """A row of the page's own model was added: its key is in no address and no form."""
    seen = _present.get()
    if seen is not None and created and sender is seen.model and len(seen.made) < MAX_OBJECTS:
        seen.made.append(str(instance.pk))


def note_log_in(sender: Any, request: HttpRequest | None, user: Any, **_more: Any) -> None:
    audit.record(action="staff.log_in", origin=_origin(request, user), **_account(user))


def note_log_out(sender: Any, request: HttpRequest | None, user: Any, **_more: Any) -> None:
    if user is not None:
        audit.record(action="staff.log_out", origin=_origin(request, user), **_account(user))


def note_failed(sender: Any, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_more: Any) -> None:
    """The typed name is kept only where such a member of staff exists: some type the password there."""
    typed = str(credentials.get(get_user_model().USERNAME_FIELD, ""))[:150]
    user: Any = get_user_model()._default_manager.filter(username=typed).first() if typed else None
    origin = _origin(request, user)
    known = _account(user) if user is not None else {}
    audit.record(action="staff.log_in_failed", origin=origin, details={"is_known": user is not None}, **known)


def _account(user: Any) -> dict[str, Any]:
    return {"object_type": user._meta.label_lower, "object_key": str(user.pk), "object_name": user.get_username()}


def _origin(request: HttpRequest | None, user: Any) -> audit.Origin:
    return audit.Origin(
        actor_name=user.get_username() if user is not None else "(unknown)",
        actor_id=user.pk if user is not None else None,
        address=_address(request) if request is not None else "",
        request_id=getattr(request, "request_id", ""),
    )


def _address(request: HttpRequest) -> str:
    """The client's where the proxies are known, else that of the connection."""
    return door.client_address(request) or str(request.META.get("REMOTE_ADDR", ""))


def connect() -> None:
    """Called once all apps are there."""
    post_save.connect(note_made, dispatch_uid="audit.note_made")
    user_logged_in.connect(note_log_in, dispatch_uid="audit.note_log_in")
    user_logged_out.connect(note_log_out, dispatch_uid="audit.note_log_out")
    user_login_failed.connect(note_failed, dispatch_uid="audit.note_failed")
