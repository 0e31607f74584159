"""Grabs a share (抢红包): Redis hands out a share number, the database makes it true, then it is acknowledged."""

from __future__ import annotations

import datetime as dt
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import structlog
from django.conf import settings
from django.core.signals import setting_changed
from redis.exceptions import RedisError

from foundation.api.errors import RateLimited
from foundation.errors import Busy, NotAuthenticated, NotFound, PermissionDenied, Rejected
from identity.services import login
from identity.services.validator import PresentedToken, SequenceUsed, TokenInvalid
from payments.domain.people import Person
from redpacket import cache, selectors
from redpacket.cache import Admission, Code, Rates, Ticket
from redpacket.domain import rules
from redpacket.domain.states import PacketState
from redpacket.services import claiming, publishing
from redpacket.services.batching import Batcher
from redpacket.services.claiming import Claim, Verdict, Wanted

logger = structlog.get_logger("redpacket")

STALE_TRIES = 5
"""Numbers that Redis may hand out in vain before the database alone decides."""
DATABASE_PATHS = 4
"""Grabs of one process that may search the database at once while Redis is away; the connections stay for others."""
DATABASE_PATH_WAIT_SECONDS = 0.5
MAX_BATCH = 64
"""Claims of one commit: enough to spread its cost, few enough that one bad claim costs little when all go on alone."""
PAUSE_SECONDS = 0.003
"""What a winner may wait for others in a crowd: about as long as a commit, whose cost they then share."""
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


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A winner in Redis who waits for his claim; `session` is the digest of a token that Redis alone vouched for."""

    wanted: Wanted
    session: str
    now: dt.datetime


class KeptOut(PermissionDenied):
    """The door (foundation.door) is shut for the employee or his address; who answers him says why."""


@dataclass(frozen=True, kw_only=True)
class _Caller:
    """Who asks: a person, or the holder of an access token whom Redis may know."""

    person: Person | None = None
    access_token: str = ""
    presented: PresentedToken | None = None
    address: str = ""


_database_paths = threading.BoundedSemaphore(DATABASE_PATHS)


def grab(*, packet_id: str, employee: Person, now: dt.datetime, presented: PresentedToken | None = None) -> GrabResult:
    """Gives the employee a share of the packet; his claim is committed in the database before this returns.

    Packet and employee are the key: repeating, at once or later, answers the same share as "already". `presented` is
    his validator token, consumed in the same script. Raises RedPacketEmpty, RedPacketExpired, RedPacketNotOpen,
    PermissionDenied (not the receiver, not in the group), TokenInvalid, SequenceUsed, RateLimited, NotFound (also for
    another enterprise's packet) and Busy; none of them changes anything but the validator's number. Takes the packet
    row's shared lock for the length of one update. Works without Redis, slower, for a bounded number of callers at a
    time, without rates and without the validator: the same request can still not be paid twice.
    """
    if not rules.is_packet_id(packet_id):
        raise NotFound()
    try:
        result = _through_redis(packet_id, _Caller(person=employee, presented=presented), now)
    except RedisError:
        logger.warning("redis is away, the database decides", packet_id=packet_id, exc_info=True)
        result = None
    return result or _through_database(packet_id, employee, now)


def grab_with_access_token(
    *,
    packet_id: str,
    access_token: str,
    now: dt.datetime,
    presented: PresentedToken | None = None,
    address: str = "",
) -> GrabResult:
    """As `grab`, for whoever holds the access token; without a database query when the grab is refused or repeated.

    Redis remembers the holder of a token for settings.REDPACKET_SESSION_SECONDS, and is told when it is revoked or the
    account is closed. A winner's token is looked up in the database in any case before his claim, whatever Redis was
    told. `address` is the network address it is asked from, where that is known. Raises KeptOut, NotAuthenticated, and
    redis.RedisError when Redis is away (nobody is authenticated then: use `grab`).
    """
    caller = _Caller(access_token=access_token, presented=presented, address=address)
    result = _through_redis(packet_id, caller, now)
    if result is not None:
        return result
    employee = login.authenticate_token(token=access_token, now=now)
    person = Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)
    return _through_database(packet_id, person, now)


def _through_redis(packet_id: str, caller: _Caller, now: dt.datetime) -> GrabResult | None:
    """None when Redis cannot decide: its list is stale, or nobody could build it in time."""
    session = login.digest_of(caller.access_token) if caller.access_token else ""
    person = caller.person
    rates = _rates()
    is_built = False
    stale = 0
    while stale < STALE_TRIES:
        admission = cache.admit(
            packet_id=packet_id,
            employee_id=person.employee_id if person else 0,
            enterprise_id=person.enterprise_id if person else 0,
            session="" if person else session,
            presented=caller.presented,
            rates=rates,
            address=caller.address,
        )
        if admission.code is Code.UNKNOWN:
            person = _authenticate(caller.access_token, now)
            continue
        rates = cache.NO_LIMITS  # one request pays once
        if person is None:
            asker, unverified = _person(admission), session
        else:
            asker, unverified = person, ""
        if admission.code is Code.MISSING:
            if is_built or not _build(packet_id, asker, now):
                return None
            is_built = True
            continue
        if admission.ticket is None:
            _refuse(admission)
        if admission.code is Code.ALREADY:
            return _answer("already", admission.ticket)
        claim = _claim(packet_id, asker, admission.ticket, unverified, now)
        if claim.verdict is not Verdict.TAKEN:
            return _conclude(claim)
        cache.discard(packet_id=packet_id, employee_id=asker.employee_id, ticket=admission.ticket)
        stale += 1
    logger.warning("redis list is stale, it will be built again", packet_id=packet_id)
    cache.forget(packet_id=packet_id)
    return None


@functools.cache
def _rates() -> Rates:
    """Read once: nothing but tests changes settings."""
    return Rates(
        employee_per_second=settings.REDPACKET_EMPLOYEE_GRABS_PER_SECOND,
        employee_burst=settings.REDPACKET_EMPLOYEE_GRABS_AT_ONCE,
        packet_per_second=settings.REDPACKET_PACKET_GRABS_PER_SECOND,
        packet_burst=settings.REDPACKET_PACKET_GRABS_AT_ONCE,
    )


def _forget_rates(**_: Any) -> None:
    _rates.cache_clear()


setting_changed.connect(_forget_rates, dispatch_uid="redpacket.grab")


def _person(admission: Admission) -> Person:
    return Person(employee_id=admission.employee_id, enterprise_id=admission.enterprise_id)


def _authenticate(access_token: str, now: dt.datetime) -> Person:
    """Whose token it is, by the database; Redis remembers it. Raises NotAuthenticated."""
    found = login.find_session(token=access_token, now=now)
    login.remember_session(session=found)
    return Person(employee_id=found.employee_id, enterprise_id=found.employee.enterprise_id)


# --- Claims, committed together -------------------------------------------------------------------------------------


def _claim(packet_id: str, person: Person, ticket: Ticket, session: str, now: dt.datetime) -> Claim:
    """The claim of a share that Redis handed out, committed with those who wait at the same moment, or alone.

    Redis knows the outcome when this returns, unless it is away. Raises NotAuthenticated for a `session` that has
    ended; the share is free again then.
    """
    wanted = Wanted(packet_id=packet_id, ticket=ticket, employee_id=person.employee_id)
    claim = _claims.submit(_Candidate(wanted=wanted, session=session, now=now))
    if claim is not None and claim.verdict is Verdict.GRABBED:
        return claim
    if session and not login.list_valid_digests(digests=[session], now=now):
        login.end_sessions(digests=[session])
        cache.give_back(packet_id=packet_id, employee_id=person.employee_id, ticket=ticket)
        raise NotAuthenticated()
    claim = claiming.claim_share(packet_id=packet_id, ticket=ticket, employee_id=person.employee_id, now=now)
    if claim.verdict is not Verdict.TAKEN:
        _tell_redis(packet_id, person, ticket, claim)
    return claim


def _claim_together(candidates: Sequence[_Candidate]) -> list[Claim | None]:
    """One batch: who may still win, one commit for all of them, one word to Redis. None: he goes on alone."""
    now = max(candidate.now for candidate in candidates)
    sessions = [candidate.session for candidate in candidates if candidate.session]
    valid = login.list_valid_digests(digests=sessions, now=now) if sessions else set()
    chosen = [one for one in candidates if not one.session or one.session in valid]
    committed = claiming.claim_together(wanted=[one.wanted for one in chosen], now=now)
    winners = [one for one, is_committed in zip(chosen, committed, strict=True) if is_committed]
    try:
        cache.confirm_all(claims=[(one.wanted.packet_id, one.wanted.employee_id, one.wanted.ticket) for one in winners])
    except RedisError:
        logger.warning("claims committed, redis not told", claims=len(winners), exc_info=True)
    grabbed = {id(one) for one in winners}
    return [
        Claim(verdict=Verdict.GRABBED, ticket=one.wanted.ticket) if id(one) in grabbed else None for one in candidates
    ]


_claims: Batcher[_Candidate, Claim | None] = Batcher(_claim_together, max_size=MAX_BATCH, pause_seconds=PAUSE_SECONDS)


# --- Without Redis, and what the answers say ------------------------------------------------------------------------


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
        _refuse(Admission(code=Code(claim.verdict.value)))
    return _answer("grabbed" if claim.verdict is Verdict.GRABBED else "already", claim.ticket)


def _answer(result: str, ticket: Ticket) -> GrabResult:
    return GrabResult(result=result, amount_fen=ticket.amount_fen, share_no=ticket.share_no)


def _refuse(admission: Admission) -> NoReturn:
    match admission.code:
        case Code.SHUT:
            raise KeptOut()
        case Code.LIMITED:
            raise RateLimited({"retry_after_seconds": admission.wait_seconds})
        case Code.TOKEN_INVALID:
            raise TokenInvalid()
        case Code.SEQUENCE_USED:
            raise SequenceUsed()
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
            raise AssertionError(f"not a refusal: {admission.code}")
