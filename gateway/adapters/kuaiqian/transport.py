"""HTTP towards 99bill: one POST, with time-outs, and whatever goes wrong as UNKNOWN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import requests
import structlog
from celery.exceptions import SoftTimeLimitExceeded

from gateway.adapters.kuaiqian.envelope import EnvelopeInvalid
from gateway.adapters.kuaiqian.markup import MarkupInvalid
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import Outcome, Result

logger = structlog.get_logger("gateway.kuaiqian")

MAX_ANSWER_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024
JSON_TYPE = "application/json;charset=utf-8"
XML_TYPE = "text/xml;charset=utf-8"
FORM_TYPE = "application/x-www-form-urlencoded;charset=utf-8"


class AnswerTooLarge(AnswerInvalid):
    """More than any answer of 99bill."""

    def __init__(self) -> None:
        super().__init__("answer_too_large")


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where to and how long to wait: (connect, read) seconds."""

    base_url: str
    timeout: tuple[float, float]

    def post(
        self,
        path: str,
        *,
        body: bytes,
        content_type: str,
        authorization: tuple[str, str] | None = None,
        certificate_file: str = "",
    ) -> bytes:
        """The body of a 200; AnswerInvalid `http_<status>` for another status, requests' own exceptions."""
        with requests.post(
            self.base_url.rstrip("/") + path,
            data=body,
            headers={"Content-Type": content_type},
            auth=authorization,
            cert=certificate_file or None,
            timeout=self.timeout,
            allow_redirects=False,
            stream=True,
        ) as answer:
            content = b""
            for chunk in answer.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise AnswerTooLarge
            if answer.status_code != 200:
                raise AnswerInvalid(f"http_{answer.status_code}")
            return content


def ask(call: str, number: str, work: Callable[[], Result]) -> Result:
    """`work` sends and reads; whatever it raises for the provider or the network is UNKNOWN."""
    try:
        result = work()
    except SoftTimeLimitExceeded:
        raise
    except requests.Timeout as error:
        result = unknown("timeout", type(error).__name__)
    except requests.RequestException as error:
        result = unknown("network_error", type(error).__name__)
    except (AnswerInvalid, MarkupInvalid) as error:
        result = unknown(error.reason)
    except EnvelopeInvalid:
        result = unknown("answer_unverified")
    if result.outcome is Outcome.UNKNOWN:
        logger.warning("99bill call undecided", call=call, number=number, code=result.code, reason=result.message)
    return result


def unknown(code: str, message: str = "") -> Result:
    return Result(outcome=Outcome.UNKNOWN, code=code[:64], message=message[:256])


def first_of(fields: Mapping[str, str], *names: str) -> str:
    """The first value that is not empty."""
    return next((fields[name] for name in names if fields.get(name)), "")
