"""Grabs a share (抢红包): Redis hands out a share number, the database makes it true, then it is acknowledged."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import structlog
from redis.exceptions import RedisError

from foundation.errors import Busy, NotFound, PermissionDenied, Rejected
from payments.domain.people import Person
from redpacket import cache, selectors
from redpacket.cache import Code, Ticket
from redpacket.domain import rules
from redpacket.domain.states import PacketState
from redpacket.services import claiming, publishing
from redpacket.services.claiming import Claim, Verdict

logger = structlog.get_logger("redpacket")

STALE_TRIES = 5
"""Numbers that Redis may hand out in vain before the database alone decides."""
DATABASE_PATHS = 4
"""Grabs of one process that may search the database at once while Redis is away; the connections stay for others."""
DATABASE_PATH_WAIT_SECONDS = 0.5
LOCKED_TRIES = 5
"""Looks for a share that nobody else is claiming at this very moment."""


class RedPacketEmpty(Rejected):
    code: ClassVar[str] = "redpacket_empty"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "All shares have been grabbed."
    message_zh: ClassVar[str] = "红包已被抢完。"


class RedPacketNotOpen(Rejected):
    code: ClassVar[str] = "redpacket_not_open"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "The red packet is not open."
    message_zh: ClassVar[str] = "红包尚未开放。"


class RedPacketExpired(Rejected):
    code: ClassVar[str] = "expired"
    http_status: ClassVar[int] = 410
    message_en: ClassVar[str] = "The red packet has expired."
    message_zh: ClassVar[str] = "红包已过期。"


@dataclass(frozen=True, kw_only=True)
class GrabResult:
    """`result` is "grabbed", or "already" when the same employee asks again; the share stays the same for ever."""

    result: str
    amount_fen: int
    share_no: int


_database_paths = threading.BoundedSemaphore(DATABASE_PATHS)


def grab(*, packet_id: str, employee: Person, now: dt.datetime) -> GrabResult:
    """Gives the employee a share of the packet; his claim is committed in the database before this returns.

    Packet and employee are the key: repeating, at once or later, answers the same share as "already". Raises
    RedPacketEmpty, RedPacketExpired, RedPacketNotOpen, PermissionDenied (not the receiver, not in the group), NotFound
    (also for another enterprise's packet) and Busy; none of them changes anything. Takes the packet row's shared lock
    for the length of one update. Works without Redis, slower and for a bounded number of callers at a time.
    """
    if not rules.is_packet_id(packet_id):
        raise NotFound()
    try:
        result = _through_redis(packet_id, employee, now)
    except RedisError:
        logger.warning("redis is away, the database decides", packet_id=packet_id, exc_info=True)
        result = None
    return result or _through_database(packet_id, employee, now)


def _through_redis(packet_id: str, employee: Person, now: dt.datetime) -> GrabResult | None:
    """None when Redis cannot decide: its list is stale, or nobody could build it in time."""
    is_built = False
    stale = 0
    while stale < STALE_TRIES:
        admission = cache.admit(
            packet_id=packet_id, employee_id=employee.employee_id, enterprise_id=employee.enterprise_id
        )
        if admission.code is Code.MISSING:
            if is_built or not _build(packet_id, employee, now):
                return None
            is_built = True
            continue
        if admission.ticket is None:
            _refuse(admission.code)
        if admission.code is Code.ALREADY:
            return _answer("already", admission.ticket)
        claim = claiming.claim_share(
            packet_id=packet_id, ticket=admission.ticket, employee_id=employee.employee_id, now=now
        )
        if claim.verdict is not Verdict.TAKEN:
            _tell_redis(packet_id, employee, admission.ticket, claim)
            return _conclude(claim)
        cache.discard(packet_id=packet_id, employee_id=employee.employee_id, ticket=admission.ticket)
        stale += 1
    logger.warning("redis list is stale, it will be built again", packet_id=packet_id)
    cache.forget(packet_id=packet_id)
    return None


def _build(packet_id: str, employee: Person, now: dt.datetime) -> bool:
    """Builds the keys of a packet that Redis does not know. Raises what the database says of a packet without keys."""
    packet = selectors.find_packet(packet_id=packet_id)
    if packet is None or packet.enterprise_id != employee.enterprise_id:
        raise NotFound()
    if packet.state == PacketState.DRAFT:
        if not selectors.is_member(packet=packet, employee_id=employee.employee_id):
            raise PermissionDenied()
        raise RedPacketNotOpen()
    return publishing.publish_packet(packet_id=packet_id, now=now)


def _through_database(packet_id: str, employee: Person, now: dt.datetime) -> GrabResult:
    if not _database_paths.acquire(timeout=DATABASE_PATH_WAIT_SECONDS):
        raise Busy({"reason": "too many grabs without the cache"})
    try:
        packet = selectors.find_packet(packet_id=packet_id)
        if packet is None or packet.enterprise_id != employee.enterprise_id:
            raise NotFound()
        if not selectors.is_member(packet=packet, employee_id=employee.employee_id):
            raise PermissionDenied()
        for _ in range(LOCKED_TRIES):
            claim = claiming.claim_any(packet_id=packet_id, employee_id=employee.employee_id, now=now)
            if claim.verdict is not Verdict.TAKEN:
                if claim.ticket is not None:
                    _confirm(packet_id, employee, claim.ticket)
                return _conclude(claim)
        raise Busy({"reason": "all free shares are being claimed"})
    finally:
        _database_paths.release()


def _tell_redis(packet_id: str, employee: Person, wanted: Ticket, claim: Claim) -> None:
    """After the commit: Redis learns the truth. Its failure changes nothing, the janitor or a rebuild comes after."""
    if claim.ticket is not None:
        _confirm(packet_id, employee, claim.ticket)
        return
    try:
        cache.discard(packet_id=packet_id, employee_id=employee.employee_id, ticket=wanted)
    except RedisError:
        logger.warning("refused share not discarded in redis", packet_id=packet_id, exc_info=True)
    if claim.verdict is Verdict.EMPTY:
        publishing.try_mark(packet_id=packet_id, state=PacketState.EXHAUSTED)
    if claim.verdict is Verdict.EXPIRED:
        publishing.try_mark(packet_id=packet_id, state=PacketState.EXPIRED)


def _confirm(packet_id: str, employee: Person, ticket: Ticket) -> None:
    try:
        cache.confirm(packet_id=packet_id, employee_id=employee.employee_id, ticket=ticket)
    except RedisError:
        logger.warning("claim committed, redis not told", packet_id=packet_id, exc_info=True)


def _conclude(claim: Claim) -> GrabResult:
    if claim.ticket is None:
        _refuse(Code(claim.verdict.value))
    return _answer("grabbed" if claim.verdict is Verdict.GRABBED else "already", claim.ticket)


def _answer(result: str, ticket: Ticket) -> GrabResult:
    return GrabResult(result=result, amount_fen=ticket.amount_fen, share_no=ticket.share_no)


def _refuse(code: Code) -> NoReturn:
    match code:
        case Code.EMPTY:
            raise RedPacketEmpty()
        case Code.EXPIRED:
            raise RedPacketExpired()
        case Code.NOT_OPEN:
            raise RedPacketNotOpen()
        case Code.FORBIDDEN:
            raise PermissionDenied()
        case Code.FOREIGN:
            raise NotFound()
        case _:
            raise AssertionError(f"not a refusal: {code}")
