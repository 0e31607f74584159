"""The three families of errors and the one shape in which a caller sees them.

Rejected: the caller asked for something that is refused; nothing moved; asking again unchanged is refused again.
Busy: nothing is wrong, try again after `retry_after_seconds`.
Broken: our own invariant failed; answered as 500, always alerted.
Each concrete error is defined beside the code that raises it, has one code, and a code has one HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class PaysysError(Exception):
    """Base of all errors that carry a public code.

    `message_en` and `message_zh` are what a person reads, chosen by Accept-Language; `details` is JSON data that
    helps the caller's program (never a secret, never another owner's data).
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    message_en: ClassVar[str] = "Something went wrong on our side."
    message_zh: ClassVar[str] = "系统内部错误。"

    def __init__(self, details: Mapping[str, Any] | None = None) -> None:
        self.details: dict[str, Any] = dict(details or {})
        super().__init__(f"{self.code}: {self.details}" if self.details else self.code)

    def message(self, language: str) -> str:
        """The sentence for a person; `language` is a tag such as "zh-hans" or "en"."""
        return self.message_zh if language.lower().startswith("zh") else self.message_en


class Rejected(PaysysError):
    """The caller's request is refused and nothing moved."""

    code = "invalid_request"
    http_status = 400
    message_en = "The request is not valid."
    message_zh = "请求不合法。"


class InvalidRequest(Rejected):
    """400: malformed input; `details` maps a field to what is wrong with it."""


class NotAuthenticated(Rejected):
    code = "not_authenticated"
    http_status = 401
    message_en = "Log in first, or log in again."
    message_zh = "请先登录，或重新登录。"


class PermissionDenied(Rejected):
    code = "permission_denied"
    http_status = 403
    message_en = "You may not do this."
    message_zh = "您没有权限进行此操作。"


class NotFound(Rejected):
    """404: it does not exist, or it belongs to somebody else; the two must look alike."""

    code = "not_found"
    http_status = 404
    message_en = "There is no such thing here."
    message_zh = "未找到。"


class RateLimited(Rejected):
    code = "rate_limited"
    http_status = 429
    message_en = "Too many requests."
    message_zh = "请求过于频繁。"


class Busy(PaysysError):
    """503: try again after `retry_after_seconds` (1 to 60)."""

    code = "busy"
    http_status = 503
    message_en = "The system is busy. Please try again shortly."
    message_zh = "系统繁忙，请稍后重试。"

    def __init__(self, details: Mapping[str, Any] | None = None, *, retry_after_seconds: int = 1) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(details)


class Broken(PaysysError):
    """500: an invariant of ours does not hold. Whoever catches this must alert."""
