"""Who pays inside of WeChat: the silent log-in of a page (网页授权, snsapi_base), which tells the payer's openid.

The page sends the payer to WeChat's address, WeChat sends him back with a code, and the code is exchanged here, once.
No name and no picture is asked for, so that WeChat shows him nothing. Off without settings.WECHAT_OAUTH["appid"].
Source: WeChat Official Accounts, 网页授权; the code serves once and lives five minutes.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import requests
import structlog
from django.conf import settings

from foundation.errors import Rejected

logger = structlog.get_logger("gateway")

CONNECT_SECONDS, READ_SECONDS = 2.0, 4.0
"""The payer waits in front of an empty page meanwhile."""
_CODE = re.compile(r"[0-9A-Za-z_-]{1,128}", re.ASCII)
_OPENID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)


class OpenidUnknown(Rejected):
    """422: the code was no good, or WeChat did not answer; `details` hold WeChat's error code."""

    code = "openid_unknown"
    http_status = 422
    message_en = "WeChat did not say who you are."
    message_zh = "微信未返回用户身份。"


def is_set_up() -> bool:
    """Whether payers can be asked at all."""
    return bool(settings.WECHAT_OAUTH["appid"] and settings.WECHAT_OAUTH["secret"])


def authorize_url(*, return_url: str, state: str) -> str:
    """Where the payer's WeChat is sent; it comes back to `return_url` with `code` and `state` (128 bytes at most)."""
    oauth = settings.WECHAT_OAUTH
    # The order of the parameters is WeChat's demand.
    query = urlencode(
        [
            ("appid", oauth["appid"]),
            ("redirect_uri", return_url),
            ("response_type", "code"),
            ("scope", "snsapi_base"),
            ("state", state),
        ]
    )
    return f"{oauth['authorize_url']}?{query}#wechat_redirect"


def exchange(*, code: str) -> str:
    """The openid of the payer who came back with `code`. Raises OpenidUnknown; a code serves once."""
    oauth = settings.WECHAT_OAUTH
    if not _CODE.fullmatch(code):
        raise OpenidUnknown({"reason": "no code"})
    question = {
        "appid": oauth["appid"],
        "secret": oauth["secret"],
        "code": code,
        "grant_type": "authorization_code",
    }
    try:
        answer = requests.get(
            oauth["token_url"], params=question, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False
        )
        content: Any = answer.json()
    except (requests.RequestException, ValueError) as error:
        logger.warning("openid not told", error=type(error).__name__)  # the text would hold the secret
        raise OpenidUnknown({"reason": "no answer"}) from None
    openid = content.get("openid") if isinstance(content, dict) else None
    if answer.status_code != 200 or not isinstance(openid, str) or not _OPENID.fullmatch(openid):
        problem = content.get("errcode") if isinstance(content, dict) else None
        logger.warning("openid not told", status=answer.status_code, errcode=problem)
        raise OpenidUnknown({"reason": str(problem)[:16]})
    return openid
