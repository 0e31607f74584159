"""Registers business backends: a new business joins by a row, without code."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from foundation import crypto
from foundation.db import roles, transactions
from foundation.errors import InvalidRequest, Rejected
from payments.domain import urls
from payments.models import LONG_AGO, BusinessApp

OVERLAP = dt.timedelta(hours=24)
"""How long the previous secret stays good after a rotation, so that a backend changes over without a pause."""
COLUMN = "payments_businessapp.secret"
"""The previous secret is the same sealed text, moved: it is opened under the same name."""


class ProductIdTaken(Rejected):
    """Another business is registered under the product id."""

    code = "product_id_taken"
    http_status = 409
    message_en = "This product id is taken."
    message_zh = "该商品号已被使用。"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An app and its new secret in clear: to be shown once, kept nowhere."""

    app: BusinessApp
    secret: str


def register(*, product_id: str, name: str, enterprise_id: int, callback_url: str, now: dt.datetime) -> Registered:
    """Registers a backend under a new product id (3 to 32 letters, digits, - and _, a letter first).

    Raises InvalidRequest for a bad id or callback URL, ProductIdTaken.
    """
    check_callback_url(callback_url)
    secret = _new_secret()
    app = BusinessApp(
        product_id=product_id,
        name=name,
        enterprise_id=enterprise_id,
        callback_url=callback_url,
        secret=crypto.encrypt(secret, column=COLUMN),
        created_at=now,
    )
    try:
        app.clean_fields()
    except ValidationError as error:
        raise InvalidRequest(error.message_dict) from error
    try:
        transactions.run(lambda: app.save(force_insert=True), using=roles.alias_for("default"))
    except IntegrityError as error:
        raise ProductIdTaken({"product_id": product_id}) from error
    return Registered(app=app, secret=secret)


def rotate_secret(*, product_id: str, now: dt.datetime, overlap: dt.timedelta = OVERLAP) -> Registered:
    """Gives the app a new secret; the one before stays good for `overlap` (zero: it was stolen). Locks the app."""

    def work() -> Registered:
        app = BusinessApp.objects.select_for_update().get(product_id=product_id)
        secret = _new_secret()
        app.previous_secret, app.previous_until = app.secret, now + overlap
        app.secret = crypto.encrypt(secret, column=COLUMN)
        app.save(update_fields=["secret", "previous_secret", "previous_until"])
        return Registered(app=app, secret=secret)

    return transactions.run(work, using=roles.alias_for("default"))


def change(*, product_id: str, name: str, callback_url: str, is_active: bool) -> None:
    """Changes what staff may change. Switched off, an app can ask for nothing and its callbacks wait.

    The breaker starts anew, for the receiver may be another one now. Raises InvalidRequest for a bad callback URL.
    """
    check_callback_url(callback_url)
    BusinessApp.objects.filter(product_id=product_id).update(
        name=name, callback_url=callback_url, is_active=is_active, failures_in_row=0, paused_until=LONG_AGO
    )


def check_callback_url(url: str) -> None:
    """Raises InvalidRequest for a URL that no callback could go to, whatever its host resolves to."""
    try:
        urls.parse_target(url, is_http_allowed=settings.CALLBACK_HTTP_ALLOWED)
    except urls.RefusedAddress as error:
        raise InvalidRequest({"callback_url": [str(error)]}) from error


def current_secret(app: BusinessApp) -> str:
    """The secret our callbacks are signed with."""
    return crypto.decrypt(app.secret, column=COLUMN)


def valid_secrets(app: BusinessApp, *, now: dt.datetime) -> Sequence[str]:
    """What a request of the app may be signed with at `now`: the current secret and, in the overlap, the previous."""
    found = [current_secret(app)]
    if app.previous_secret and now < app.previous_until:
        found.append(crypto.decrypt(app.previous_secret, column=COLUMN))
    return found


def _new_secret() -> str:
    return secrets.token_hex(32)
