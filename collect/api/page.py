"""The payer's pages: by the phone that scanned a code, without a log-in, with or without JavaScript.

    GET  /c/{code}                  who receives, amount, ways to pay
    POST /c/{code}                  begins the payment that the form names (`id`), leads to its page
    GET  /c/{code}/{payment}        pay, wait, result, receipt
    POST /c/{code}/{payment}        gives up: closed at the provider first
    GET  /c/{code}/{payment}.svg    the channel's QR code
    GET  /c/{code}/poster           to print
    GET  /c/openid                  back from WeChat, which was asked silently who pays (payments.services.payer_ids)

The id of a payment is given with the form: a double click, a reload and a lost answer end at the same payment. There is
no session here and nothing that a foreign page could ride on, so the forms need no CSRF token: beginning a payment
moves nothing, its payer confirms it in his wallet. Nothing is decided by the user agent but what is shown.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from collect import selectors
from collect.api import throttles
from collect.api.payments import payer_facts
from collect.api.serializers import payer_url
from collect.api.views import PICTURE_SECONDS
from collect.api.words import words
from collect.domain import addresses, agents, rules
from collect.domain.rules import ALIPAY, CHANNELS, WECHAT, NotAnAmount
from collect.domain.states import CollectionState
from collect.models import Binding, Code
from collect.services import codes, collecting, pictures
from collect.services.collecting import CollectionView
from foundation import clock, crypto
from foundation.api import errors
from foundation.errors import Broken, Busy, NotFound, PaysysError, RateLimited
from foundation.money import yuan_display
from payments.services import payer_ids

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, in nobody's frame."""
AMOUNT_MAX_CHARACTERS = 16
"""Of what is shown again after a refusal."""
View = Callable[..., HttpResponse]
PAYER_COOKIE, PAYER_COOKIE_COLUMN, PAYER_COOKIE_SECONDS = "payer", "collect.payer_cookie", 3600
STATE_SALT, STATE_SECONDS = "collect.openid", 300
ASKED = "asked"
"""In the address of who came back from WeChat without an answer."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One button: `value` is what the form sends, "wechat:h5"."""

    channel: str
    scene: str
    label: str
    receiver: str

    @property
    def value(self) -> str:
        return f"{self.channel}:{self.scene}"


def _page(view: View) -> View:
    """What all pages have: the limit by address, refusals as pages, headers."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            throttles.count(request, throttles.STARTS if request.method == "POST" else throttles.LOOKS)
            answer = view(request, *args, **kwargs)
        except PaysysError as error:
            answer = _refusal(request, error)
        answer.headers.setdefault("Content-Security-Policy", POLICY)
        answer.headers.setdefault("Cache-Control", "no-store")
        patch_vary_headers(answer, ("Accept-Language", "User-Agent"))
        return answer

    return wrapped


def _refusal(request: HttpRequest, error: PaysysError) -> HttpResponse:
    texts = words(get_language())
    if isinstance(error, Broken):
        errors.report(error, error, request)
    pairs: Mapping[str, tuple[str, str]] = {
        codes.CodeExpired.code: (texts["gone"], texts["gone_text"]),
        NotFound.code: (texts["unknown"], texts["unknown_text"]),
        collecting.ReceiverMissing.code: (texts["no_receiver"], texts["no_receiver_text"]),
        RateLimited.code: (texts["too_many"], ""),
    }
    title, text = pairs.get(error.code, (error.message(get_language() or ""), ""))
    answer = _render(request, "over", {"title": title, "text": text}, status=error.http_status)
    for name, value in errors.headers(error, error).items():
        answer[name] = value
    return answer


def _render(request: HttpRequest, name: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    language = get_language() or ""
    shared = {"t": words(language), "lang": "zh-Hans" if language.startswith("zh") else "en"}
    return render(request, f"collect/{name}.html", {**shared, **context}, status=status)


# --- the form ---------------------------------------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@_page
def code_page(request: HttpRequest, code_id: str) -> HttpResponse:
    """Shows the form, or begins what was sent with it."""
    now = clock.now()
    code = codes.get_payable(code_id=code_id, now=now)
    receivers = selectors.get_receivers(enterprise_id=code.enterprise_id)
    if not receivers:
        raise collecting.ReceiverMissing()
    ways = _ways(request, receivers)
    if request.method == "GET" and _must_ask_wechat(request, receivers):
        return _ask_wechat(code)
    if request.method != "POST":
        return _form(request, code, receivers, ways)
    return _begin(request, code, receivers, ways)


def _ways(request: HttpRequest, receivers: Mapping[str, Binding]) -> list[Way]:
    """The best way first. Inside of a wallet only its own; on a phone the wallets' apps, then their QR codes."""
    texts = words(get_language())
    agent = request.headers.get("User-Agent", "")
    inside = agents.channel_of(agent)

    def way(channel: str, scene: str) -> Way:
        label = texts["with_code" if scene == "native" else "with_app"] % texts[channel]
        return Way(channel=channel, scene=scene, label=label, receiver=receivers[channel].display_name)

    if inside == WECHAT:
        return [way(WECHAT, "jsapi")] if WECHAT in receivers and _openid(request) else []
    if inside == ALIPAY:
        return [way(ALIPAY, "h5")] if ALIPAY in receivers else []
    scenes = ("h5", "native") if "mobile" in agent.lower() else ("native",)
    return [way(channel, scene) for scene in scenes for channel in CHANNELS if channel in receivers]


# --- who pays inside of WeChat ----------------------------------------------------------------------------------------


def _openid(request: HttpRequest) -> str:
    """WeChat's id of the payer, as WeChat told it within the last hour; "" while it is not known."""
    closed = request.COOKIES.get(PAYER_COOKIE, "")
    if not closed:
        return ""
    try:
        return crypto.decrypt(closed, column=PAYER_COOKIE_COLUMN)
    except crypto.CannotDecrypt:  # somebody else's writing, or a key that is gone: WeChat is asked again
        return ""


def _must_ask_wechat(request: HttpRequest, receivers: Mapping[str, Binding]) -> bool:
    """Once: who comes back without an answer is not sent again."""
    inside = agents.channel_of(request.headers.get("User-Agent", ""))
    is_new = ASKED not in request.GET and not _openid(request)
    return inside == WECHAT and WECHAT in receivers and is_new and payer_ids.is_set_up()


def _ask_wechat(code: Code) -> HttpResponse:
    base: str = settings.PUBLIC_BASE_URL
    back = base.rstrip("/") + reverse("collect_openid")
    state = _state(code.pk, int(clock.now().timestamp()))
    return HttpResponseRedirect(payer_ids.ask_address(return_url=back, state=state))


def _state(code_id: str, seconds: int) -> str:
    """Which code was scanned and when, signed. WeChat takes letters and digits only, 128 of them."""
    secret: str = settings.SECRET_KEY
    text = f"{code_id}{seconds:010d}"
    return text + hmac.digest(secret.encode(), f"{STATE_SALT} {text}".encode(), "sha256").hex()[:40]


def _read_state(state: str, *, now: dt.datetime) -> str:
    """The code's id again. Raises NotFound for what is not of ours, or too old."""
    code_id, seconds = state[: rules.ID_LENGTH], state[rules.ID_LENGTH : rules.ID_LENGTH + 10]
    if not (rules.is_id(code_id) and seconds.isascii() and seconds.isdecimal()):
        raise NotFound()
    is_ours = hmac.compare_digest(_state(code_id, int(seconds)).encode(), state.encode())
    if not is_ours or not 0 <= now.timestamp() - int(seconds) <= STATE_SECONDS:
        raise NotFound()
    return code_id


@require_safe
@_page
def openid_view(request: HttpRequest) -> HttpResponse:
    """Keeps who pays, closed, in a cookie of these pages alone, and leads back to the code that was scanned."""
    code_id = _read_state(request.GET.get("state", ""), now=clock.now())
    back = reverse("collect_page", args=[code_id])
    try:
        openid = payer_ids.openid_of(code=request.GET.get("code", ""))
    except payer_ids.OpenidUnknown:  # logged where it happened; the page says what the payer can do
        return HttpResponseRedirect(f"{back}?{ASKED}=1", status=303)
    answer = HttpResponseRedirect(back, status=303)
    answer.set_cookie(
        PAYER_COOKIE,
        crypto.encrypt(openid, column=PAYER_COOKIE_COLUMN),
        max_age=PAYER_COOKIE_SECONDS,
        path=f"/{addresses.PREFIX}",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return answer


# --- what the form says -----------------------------------------------------------------------------------------------


def _form(
    request: HttpRequest,
    code: Code,
    receivers: Mapping[str, Binding],
    ways: list[Way],
    *,
    problem: str = "",
    typed: str = "",
    collection_id: str = "",
    status: int = 200,
) -> HttpResponse:
    texts = words(get_language())
    inside = agents.channel_of(request.headers.get("User-Agent", ""))
    if not ways:
        problem = texts["other_app"] % texts[inside] if inside not in receivers else texts["outside"]
    shown = receivers.get(inside) or receivers[next(channel for channel in CHANNELS if channel in receivers)]
    context = {
        "code": code,
        "receiver": shown.display_name,
        "initial": shown.display_name[:1],
        "has_several": len({way.receiver for way in ways}) > 1,
        "ways": ways,
        "problem": problem,
        "typed": typed[:AMOUNT_MAX_CHARACTERS],
        "fixed": None if code.amount_fen is None else yuan_display(code.amount_fen),
        "max_yuan": rules.MAX_AMOUNT_FEN // 100,
        "limits": texts["limits"] % f"{rules.MAX_AMOUNT_FEN // 100:,}",
        "over_limit": texts["over_limit"] % f"{rules.MAX_AMOUNT_FEN // 100:,}",
        "collection_id": collection_id or codes.issue_id(),
    }
    return _render(request, "pay", context, status=status)


def _begin(request: HttpRequest, code: Code, receivers: Mapping[str, Binding], ways: list[Way]) -> HttpResponse:
    """Begins the payment once for its id. Every refusal shows the form again, with what was typed."""
    texts = words(get_language())
    typed, collection_id = request.POST.get("amount", ""), request.POST.get("id", "")
    if not rules.is_id(collection_id):
        collection_id = codes.issue_id()

    def again(problem: str, status: int, number: str = "") -> HttpResponse:
        return _form(request, code, receivers, ways, problem=problem, typed=typed, collection_id=number, status=status)

    chosen = next((way for way in ways if way.value == request.POST.get("way", "")), None)
    if chosen is None:
        return again(texts["no_way"], 400, collection_id)
    try:
        amount_fen = rules.read_typed_amount(typed) if code.amount_fen is None else None
    except NotAnAmount as error:
        problem = texts[error.reason]
        return again(problem % f"{rules.MAX_AMOUNT_FEN // 100:,}" if "%s" in problem else problem, 400, collection_id)
    try:
        collecting.start(
            collection_id=collection_id,
            code_id=code.pk,
            amount_fen=amount_fen,
            channel=chosen.channel,
            scene=chosen.scene,
            payer=payer_facts(request, openid=_openid(request) if chosen.scene == "jsapi" else ""),
            now=clock.now(),
        )
    except collecting.CollectionIdUsed as error:
        return again(texts["changed"], error.http_status)
    except (NotFound, codes.CodeExpired, collecting.ReceiverMissing, Broken):
        raise
    except PaysysError as error:
        # What may be repeated is repeated under the same number; what was refused for good begins anew.
        answer = again(
            error.message(get_language() or ""), error.http_status, collection_id if isinstance(error, Busy) else ""
        )
        for name, value in errors.headers(error, error).items():
            answer[name] = value
        return answer
    return HttpResponseRedirect(reverse("collect_payment", args=[code.pk, collection_id]), status=303)


# --- one payment ------------------------------------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@_page
def payment_page(request: HttpRequest, code_id: str, collection_id: str) -> HttpResponse:
    """The payment as it stands; a POST gives it up."""
    _check(code_id, collection_id)
    now = clock.now()
    if request.method == "POST":
        view = collecting.close(collection_id=collection_id, now=now)
        name, arguments = "collect_page", [code_id]
        if view.state is not CollectionState.CLOSED:
            name, arguments = "collect_payment", [code_id, collection_id]
        return HttpResponseRedirect(reverse(name, args=arguments), status=303)
    view = collecting.get(collection_id=collection_id, now=now, ask_provider=True)
    texts = words(get_language())
    context: dict[str, Any] = {
        "code_id": code_id,
        "view": view,
        "amount": yuan_display(view.amount_fen),
        "refunded": yuan_display(view.refunded_fen) if view.refunded_fen else "",
        "channel": texts[view.channel],
        "paid_at": _minute(view.paid_at),
        "status_url": f"/api/v1/collect/payments/{collection_id}",
    }
    if view.state is CollectionState.OPEN:
        context |= _payment(view, code_id, texts)
        return _render(request, "wait", context)
    return _render(request, "result", context)


def _check(code_id: str, collection_id: str) -> None:
    if selectors.find_code_id(collection_id=collection_id) != code_id:
        raise NotFound()


def _payment(view: CollectionView, code_id: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """What the page lets the payer do, by the kind of payment that the channel gave."""
    payment = view.payment
    kind = payment.get("kind", "none")
    url = str(payment.get("url", ""))
    found: dict[str, Any] = {
        "kind": kind,
        "until": texts["until"] % _minute(view.expires_at),
        "scan": texts["scan"] % texts[view.channel],
        "open": texts["open"] % texts[view.channel],
    }
    if kind == "redirect" and url.startswith(("https://", "http://")):
        found["url"] = url
    if kind == "code_url":
        found["picture"] = reverse("collect_payment_svg", args=[code_id, view.collection_id])
    if kind == "jsapi":
        found["jsapi"] = json.dumps({name: value for name, value in payment.items() if name != "kind"})
    return found


def _minute(moment: Any) -> str:
    return "" if moment is None else f"{moment.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"


@require_safe
@_page
def payment_svg(request: HttpRequest, code_id: str, collection_id: str) -> HttpResponse:
    """The QR code that the payer scans with his wallet."""
    _check(code_id, collection_id)
    view = collecting.get(collection_id=collection_id, now=clock.now())
    text = view.payment.get("code_url", "")
    if view.state is not CollectionState.OPEN or not text:
        raise NotFound()
    return HttpResponse(pictures.draw_svg(url=str(text)), content_type="image/svg+xml")


# --- to print ---------------------------------------------------------------------------------------------------------


@require_safe
@_page
def poster_page(request: HttpRequest, code_id: str) -> HttpResponse:
    """One sheet with the code, for whoever has it."""
    code = codes.get_payable(code_id=code_id, now=clock.now())
    receivers = selectors.get_receivers(enterprise_id=code.enterprise_id)
    names = [receivers[channel].display_name for channel in CHANNELS if channel in receivers]
    texts = words(get_language())
    context = {
        "code": code,
        "receiver": names[0] if names else code.enterprise.name,
        "amount": "" if code.amount_fen is None else yuan_display(code.amount_fen),
        "picture": reverse("collect_svg", args=[code.pk]),
        "url": payer_url(code.pk),
        "until": texts["valid_until"] % _minute(code.expires_at) if code.expires_at else "",
    }
    answer = _render(request, "poster", context)
    answer["Cache-Control"] = f"private, max-age={PICTURE_SECONDS // 24}"
    return answer
