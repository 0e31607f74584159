"""The silent log-in of pages inside of WeChat: authorise and exchange, as open.weixin.qq.com and api.weixin.qq.com.

Everybody is the same payer; nobody is asked. A code serves once and lives five minutes; codes are kept in memory.
"""

from __future__ import annotations

import json
import secrets
import threading
from urllib.parse import urlencode, urlsplit

from werkzeug.routing import Rule as Route
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from simulator.clock import Clock

AUTHORIZE, TOKEN = "/connect/oauth2/authorize", "/sns/oauth2/access_token"
CODE_SECONDS = 300.0
MAX_STATE_BYTES = 128
OPENID = "oSimulatedPayerOfTheDesk0001"
_INVALID_CODE, _USED_CODE, _MISSING = (40029, "invalid code"), (40163, "code been used"), (41002, "appid missing")


class Oauth:
    """Endpoints `wechat.oauth_authorize` and `wechat.oauth_token`; safe for threads."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: dict[str, float | None] = {}
        """Code → when it ends; None once it was used."""

    @staticmethod
    def routes() -> list[Route]:
        return [
            Route(AUTHORIZE, methods=["GET"], endpoint="wechat.oauth_authorize"),
            Route(TOKEN, methods=["GET"], endpoint="wechat.oauth_token"),
        ]

    def handle(self, *, action: str, request: Request) -> Response:
        return self._authorize(request) if action == "oauth_authorize" else self._token(request)

    def _authorize(self, request: Request) -> Response:
        asked, back = request.args, request.args.get("redirect_uri", "")
        is_right = asked.get("response_type") == "code" and asked.get("scope") in ("snsapi_base", "snsapi_userinfo")
        is_right = is_right and bool(asked.get("appid")) and urlsplit(back).scheme in ("http", "https")
        state = asked.get("state", "")
        if not is_right or len(state.encode()) > MAX_STATE_BYTES:
            return Response("参数错误 / wrong parameters", status=400, content_type="text/plain; charset=utf-8")
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes[code] = self._clock.seconds() + CODE_SECONDS
        joint = "&" if urlsplit(back).query else "?"
        return redirect(f"{back}{joint}{urlencode({'code': code, 'state': state})}", code=302)

    def _token(self, request: Request) -> Response:
        asked = request.args
        if not all(asked.get(name) for name in ("appid", "secret")) or asked.get("grant_type") != "authorization_code":
            return _refuse(*_MISSING)
        code = asked.get("code", "")
        with self._lock:
            ends = self._codes.get(code, 0.0)
            self._codes[code] = None
        if ends is None:
            return _refuse(*_USED_CODE)
        if ends <= self._clock.seconds():
            return _refuse(*_INVALID_CODE)
        return _json({"access_token": "x", "expires_in": 7200, "openid": OPENID, "scope": "snsapi_base"})


def _refuse(number: int, text: str) -> Response:
    """Errors of this interface come with status 200."""
    return _json({"errcode": number, "errmsg": text})


def _json(content: dict[str, object]) -> Response:
    return Response(json.dumps(content), content_type="text/plain")
