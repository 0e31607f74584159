"""Article packets (文章红包): a packet bound to an article opens for a reader after he has read for a set time.

Source: the requirements (development direction: a red packet rewards who reads an article that is promoted).
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from urllib.parse import urlsplit

URL_MAX_CHARACTERS = 500
MIN_READING_SECONDS = 3
MAX_READING_SECONDS = 1800
"""Nobody is kept on a page longer than half an hour."""


@dataclass(frozen=True, kw_only=True)
class Article:
    """Where it is (http or https, ASCII) and how many seconds it must be read."""

    url: str
    reading_seconds: int


def find_problem(*, article: Article, lifetime_seconds: int) -> str | None:
    """What is wrong with the article; None when a packet that lives `lifetime_seconds` may be bound to it."""
    if not MIN_READING_SECONDS <= article.reading_seconds <= MAX_READING_SECONDS:
        return f"reading_seconds must be {MIN_READING_SECONDS} to {MAX_READING_SECONDS}"
    if article.reading_seconds >= lifetime_seconds:
        return "reading_seconds must be shorter than the packet's life"
    return None if _is_web_address(article.url) else "url must be an http or https address in ASCII, without a password"


def _is_web_address(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or len(url) > URL_MAX_CHARACTERS or set(url) & set(" \"'<>\\^`{|}"):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def seconds_left(*, started_at: dt.datetime, reading_seconds: int, now: dt.datetime) -> int:
    """Whole seconds, rounded up, until a reading is over; 0 when it is."""
    rest = started_at + dt.timedelta(seconds=reading_seconds) - now
    return max(0, math.ceil(rest.total_seconds()))
