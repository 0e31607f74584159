"""Readers of article packets (文章红包): when each began to read, and that he may grab when he has read long enough.

The database is the truth about readings. Redis learns only the outcome: who has read becomes one of the packet's
`members`, the set that the script of the grab looks at, so both ways of a grab ask the same question without knowing of
articles. The server's clock counts; that somebody really reads cannot be proved, only that he waited.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import ClassVar

import structlog
from redis.exceptions import RedisError

from foundation import redis
from foundation.db import roles, transactions
from foundation.errors import PermissionDenied, Rejected
from payments.domain.people import Person
from redpacket import cache, selectors
from redpacket.domain import articles
from redpacket.models import Reading, RedPacket

logger = structlog.get_logger("redpacket")


class NoArticle(Rejected):
    code: ClassVar[str] = "redpacket_without_article"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "The red packet has no article."
    message_zh: ClassVar[str] = "该红包没有绑定文章。"


class ReadingNotOver(Rejected):
    """`seconds_left` in the details; None for who has not begun."""

    code: ClassVar[str] = "redpacket_not_open"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "Read the article first; the red packet opens afterwards."
    message_zh: ClassVar[str] = "请先阅读文章，阅读后即可领取红包。"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a reading is; `seconds_left` is 0 when it is over, and the reader may grab."""

    started_at: dt.datetime
    reading_seconds: int
    seconds_left: int


def read_article(*, packet_id: str, reader: Person, now: dt.datetime) -> Progress:
    """Starts the reader's time, or tells what is left of it; when it is over he may grab from now on.

    Safe to repeat: the first start counts, and each call after the end tells Redis again. Raises NotFound (as the
    packet's details), PermissionDenied for who sees the packet but may not grab it, NoArticle.
    """
    packet = selectors.get_visible(packet_id=packet_id, viewer=reader)
    if not selectors.is_addressee(packet=packet, employee_id=reader.employee_id):
        raise PermissionDenied()
    if not packet.article_url or packet.reading_seconds is None:
        raise NoArticle()
    alias = roles.alias_for("redpacket")

    def work() -> Reading:
        return Reading.objects.get_or_create(
            packet_id=packet.pk, employee_id=reader.employee_id, defaults={"started_at": now}
        )[0]

    reading = transactions.run(work, using=alias)
    left = _seconds_left(reading, packet, now)
    if left == 0:
        if reading.finished_at is None:
            Reading.objects.filter(pk=reading.pk, finished_at=None).update(finished_at=now)
        _admit(packet.pk, reader.employee_id)
    return Progress(started_at=reading.started_at, reading_seconds=packet.reading_seconds, seconds_left=left)


def refuse_unread(*, packet_id: str, reader: Person, now: dt.datetime) -> None:
    """Raises ReadingNotOver when nothing but his reading keeps the employee from grabbing; else does nothing.

    For who refuses a grab as "not a member": it costs two or three indexed reads.
    """
    packet = selectors.find_packet(packet_id=packet_id)
    if packet is None or not packet.article_url or packet.enterprise_id != reader.enterprise_id:
        return
    if not selectors.is_addressee(packet=packet, employee_id=reader.employee_id):
        return
    reading = Reading.objects.filter(packet_id=packet_id, employee_id=reader.employee_id).first()
    if reading is None or reading.finished_at is None:
        raise ReadingNotOver({"seconds_left": None if reading is None else _seconds_left(reading, packet, now)})


def _seconds_left(reading: Reading, packet: RedPacket, now: dt.datetime) -> int:
    if reading.finished_at is not None or packet.reading_seconds is None:
        return 0
    return articles.seconds_left(started_at=reading.started_at, reading_seconds=packet.reading_seconds, now=now)


# KEYS meta members; ARGV employee. Without `meta` the builder of the keys reads the reader from the database.
_ADMIT_READER = """
local drop_ms = redis.call('HGET', KEYS[1], 'drop_ms')
if not drop_ms then return 0 end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], drop_ms)
return 1
"""


def _admit(packet_id: str, employee_id: int) -> None:
    """After the commit. When it fails, or a builder that read before the commit writes after it, a repeat mends it."""
    meta, *_, members = cache.keys_of(packet_id)
    try:
        redis.client().eval(_ADMIT_READER, 2, meta, members, str(employee_id))
    except RedisError:
        logger.warning("reader not told to redis, his next call will", packet_id=packet_id, exc_info=True)
