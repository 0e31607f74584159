"""Push to clients (推送): events for one owner, in order, kept for a while so that nobody who reconnects misses one.

An owner is a label such as "employee:42"; this module knows no more of him. Everything is in Redis, nothing of it is
the truth about money: a client that was told something reads it again over the API.

    push:stream:<owner>      stream  event, data (sealed); its last KEPT_EVENTS; ends KEEP_SECONDS after the last one
    push:feed                stream  number, owner, id, event, data: what the push processes read, all owners together
    push:number              counter of the feed: a reader that sees a hole in it reads the owners' own streams again
    push:once:<owner>:<key>  string  "" while `key` counts as published to the owner (KEEP_SECONDS)

Ids are those of the owner's stream: `<milliseconds>-<counter>`, growing. `data` is encrypted (foundation.crypto), for a
validator token passes through here that is nowhere else on our side: neither a dump of Redis nor its log shows one.
`paysys/push_app.py` is the reader. Every function may raise redis.RedisError.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.client import Pipeline

from foundation import crypto, outbox, redis

KEPT_EVENTS = 256
"""Per owner; one who missed more is told `push.gap` and reads the state again."""
KEEP_SECONDS = 24 * 3600
"""A client that was off for longer starts from the state of things, not from old news."""
FEED_EVENTS = 4096
"""Read within milliseconds; a process that hung for longer falls back on the owners' own streams."""
CHUNK = 500
"""Owners per round trip when an event goes to many."""
TOPIC = "push.event"
COLUMN = "push.event"
"""Associated data of the sealing."""
NOTHING = "0-0"
"""The position before every event."""
FEED_KEY, NUMBER_KEY = "push:feed", "push:number"

_OWNER = re.compile(r"[a-z]{1,16}:[0-9A-Za-z_-]{1,40}")
_EVENT = re.compile(r"[a-z]{1,32}(\.[a-z_]{1,32}){1,3}")
_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")

# KEYS stream feed number once; ARGV owner, event, sealed data, kept, seconds, feed length, "1" when once is looked at.
_PUBLISH = """
if ARGV[7] == '1' and not redis.call('SET', KEYS[4], '', 'NX', 'EX', ARGV[5]) then return false end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], '*', 'event', ARGV[2], 'data', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[5])
local number = redis.call('INCR', KEYS[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'number', number, 'owner', ARGV[1], 'id', id,
           'event', ARGV[2], 'data', ARGV[3])
return id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One event as it lies in Redis; `sealed` is its data, encrypted."""

    id: str
    event: str
    sealed: str

    def data(self) -> str:
        """The data as JSON text on one line."""
        return crypto.decrypt(self.sealed, column=COLUMN)


@functools.lru_cache(maxsize=1)
def _script() -> Any:
    return redis.client().register_script(_PUBLISH)


def publish(*, owner: str, event: str, data: Mapping[str, Any], once: str = "") -> None:
    """Publishes an event to the owner's open streams and to those he opens later.

    Call it after the commit of what it tells, or where nothing is committed; inside a transaction it is
    `publish_later`. With `once` the same key again is not published again (within KEEP_SECONDS).
    """
    publish_to_many(owners=[owner], event=event, data=data, once=once)


def publish_to_many(*, owners: Sequence[str], event: str, data: Mapping[str, Any], once: str = "") -> None:
    """As `publish`, the same event to each of the owners; with `once` it may be repeated after a failure half-way."""
    if not _EVENT.fullmatch(event) or not all(_OWNER.fullmatch(owner) for owner in owners):
        raise ValueError(f"not an event or not an owner: {event} {owners[:3]}")
    sealed = crypto.encrypt(json.dumps(dict(data), ensure_ascii=False, separators=(",", ":")), column=COLUMN)
    arguments = [event, sealed, KEPT_EVENTS, KEEP_SECONDS, FEED_EVENTS, "1" if once else ""]
    client = redis.client()
    for start in range(0, len(owners), CHUNK):
        chunk = owners[start : start + CHUNK]
        target = client if len(chunk) == 1 else client.pipeline(transaction=False)
        for owner in chunk:
            keys = [stream_key(owner), FEED_KEY, NUMBER_KEY, f"push:once:{owner}:{once}"]
            _script()(keys=keys, args=[owner, *arguments], client=target)
        if isinstance(target, Pipeline):
            target.execute()


def publish_later(
    *, using: str, owners: Sequence[str], event: str, data: Mapping[str, Any], key: str, now: dt.datetime
) -> None:
    """Publishes after the transaction open on `using` is committed, through the outbox; `key` names the fact.

    Each owner hears of it once. Not for secrets: the row stays readable in the database. Raises what outbox.publish
    raises; Redis is not touched here.
    """
    payload = {"owners": list(owners), "event": event, "data": dict(data)}
    outbox.publish(using=using, topic=TOPIC, key=key, payload=payload, now=now)


def deliver(event: outbox.Event) -> None:
    """The outbox's subscriber. Safe to repeat: the key of the row is the key of `once`."""
    publish_to_many(
        owners=event.payload["owners"], event=event.payload["event"], data=event.payload["data"], once=event.key
    )


def stream_key(owner: str) -> str:
    return f"push:stream:{owner}"


def is_id(text: str) -> bool:
    """Whether a text may be the id of an event."""
    found = _ID.fullmatch(text)
    return found is not None and all(int(part) < 2**63 for part in found.groups())


def order(event_id: str) -> tuple[int, int]:
    """For comparing ids."""
    milliseconds, _, counter = event_id.partition("-")
    return int(milliseconds), int(counter)


# --- for the reader ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedEvent:
    """One event of the feed. Numbers have no holes, unless the feed was cut or Redis lost data."""

    number: int
    owner: str
    stored: Stored


def parse_feed(entries: Sequence[tuple[str, Mapping[str, str]]]) -> Iterator[FeedEvent]:
    """What XREAD of the feed answered."""
    for _, fields in entries:
        stored = Stored(id=fields["id"], event=fields["event"], sealed=fields["data"])
        yield FeedEvent(number=int(fields["number"]), owner=fields["owner"], stored=stored)


@dataclass(frozen=True, kw_only=True)
class Missed:
    """What an owner has not seen after a position. `has_gap`: there was more, which is gone."""

    events: Sequence[Stored]
    position: str
    has_gap: bool


async def read_missed(client: Any, *, owner: str, after: str | None) -> Missed:
    """The owner's events after the id `after`; None is "from now on". `client` is a redis.asyncio client.

    A position that a stream was told is NOTHING or the id of one of its events. So one that is not found any more
    means that others may have gone with it.
    """
    newest = await client.xrevrange(stream_key(owner), count=1)
    end = newest[0][0] if newest else NOTHING
    if after is None:
        return Missed(events=[], position=end, has_gap=False)
    rows = await client.xrange(stream_key(owner), min=after)
    if after == NOTHING:
        has_gap = len(rows) >= KEPT_EVENTS
    else:
        has_gap = not rows or rows[0][0] != after
        rows = rows if has_gap else rows[1:]
    events = [Stored(id=row_id, event=fields["event"], sealed=fields["data"]) for row_id, fields in rows]
    return Missed(events=events, position=events[-1].id if events else end, has_gap=has_gap)
