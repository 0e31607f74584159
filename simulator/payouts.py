"""What paying out means, the same for every provider: accepting, confirming, cancelling, settling, returning.

Each function is one transaction of the books. Refusals are desk.Refused; the caller puts them into its own words. The
merchant's account begins with OPENING_FEN; money is set aside when a payout is accepted and leaves when it succeeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from simulator import desk
from simulator.books import Payout
from simulator.faults import PAYOUT_FAULTS
from simulator.world import Channel, NoticeDraft, World

OPENING_FEN = 100_000_000_00
"""What stands on the merchant's account before anything moved: a hundred million yuan."""
RETURN_DELAY_SECONDS = 0.5
"""From the success of a payout to its return, where a fault returns it; providers take days."""
REASON_EXPIRED = "OVERDUE_CLOSE"
REASON_FAILED = "PAYEE_ACCOUNT_ABNORMAL"
REASON_RETURNED = "RETURNED"
RESULTS = ("confirmed", "success", "failed", "returned", "cancelled", "expired")
"""What `/_sim/payouts/{number}` can be told."""


class UnknownPayout(desk.Refused):
    """There is no payout of this number or code."""


class PayoutRefused(desk.Refused):
    """A fault: the provider does not take it, and stores nothing."""


class NotEnough(desk.Refused):
    """The merchant's account has not so much; nothing is stored."""


class PayoutOver(desk.Refused):
    """Its state does not allow this any more."""


class PayoutChannel(Channel, Protocol):
    """A provider that pays out."""

    def draft_payout_notice(self, payout: Payout) -> NoticeDraft | None:
        """What the merchant is told when the payout is at its end; None when the provider sends nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class PayoutRequest:
    """`parameters`: the merchant's request, decrypted. `code` and `payout_id` are new numbers of the provider.

    `expires_at`: None when the payee need not confirm. `notify_url` may be empty.
    """

    channel: str
    payout_no: str
    payout_id: str
    code: str
    amount_fen: int
    account: str
    name: str
    remark: str
    notify_url: str
    parameters: Mapping[str, Any]
    expires_at: float | None


def accept(*, world: World, wanted: PayoutRequest, operation: str) -> Payout:
    """WAITING or PROCESSING; the same number with the same content answers the same payout, as it is now.

    Raises NumberReused, PayoutRefused, NotEnough.
    """
    now = _sweep(world)
    with world.books.transaction():
        known = world.books.find_payout(channel=wanted.channel, payout_no=wanted.payout_no)
        if known is not None:
            if dict(known.parameters) != dict(wanted.parameters):
                raise desk.NumberReused
            return known
        struck = world.faults.draw(
            among=PAYOUT_FAULTS, channel=wanted.channel, operation=operation, attempt_no=wanted.payout_no
        )
        is_short = wanted.amount_fen > available_fen(world=world, channel=wanted.channel)
        refusal: type[desk.Refused] | None = None
        if "payout_refused" in struck:
            refusal = PayoutRefused
        elif is_short or "payout_not_enough" in struck:
            refusal = NotEnough
        if refusal is None:
            payout = _new(world=world, wanted=wanted, struck=frozenset(struck), now=now)
            world.books.add_payout(payout)
    if refusal is not None:  # raised outside of the transaction, so that the draw stays counted
        raise refusal
    world.wake.set()
    return payout


def get(*, world: World, channel: str, payout_no: str = "", payout_id: str = "") -> Payout:
    """By one of the two numbers, as it is now; UnknownPayout."""
    _sweep(world)
    if payout_id:
        return _known(world.books.find_payout_by_id(channel=channel, payout_id=payout_id))
    return _known(world.books.find_payout(channel=channel, payout_no=payout_no))


def get_by_code(*, world: World, code: str) -> Payout:
    """What the person opened; UnknownPayout."""
    _sweep(world)
    return _known(world.books.find_payout_by_code(code=code))


def confirm(*, world: World, code: str) -> Payout:
    """The payee takes the money, which is under way then. Raises UnknownPayout, PayoutOver."""
    now = _sweep(world)
    with world.books.transaction():
        payout = _known(world.books.find_payout_by_code(code=code))
        if payout.state != "WAITING" or payout.expires_at <= now:
            raise PayoutOver
        _move(world, payout, state="PROCESSING", settle_real_at=time.time(), now=now)
    world.wake.set()
    return get_by_code(world=world, code=code)


def cancel(*, world: World, channel: str, payout_no: str) -> Payout:
    """CANCELLING; one that is so already, or cancelled, is answered as it is. Raises UnknownPayout, PayoutOver."""
    now = _sweep(world)
    with world.books.transaction():
        payout = _known(world.books.find_payout(channel=channel, payout_no=payout_no))
        if payout.state not in ("CANCELLING", "CANCELLED"):
            if payout.state != "WAITING":
                raise PayoutOver
            settle_real_at = time.time() + world.options.refund_delay_seconds
            _move(world, payout, state="CANCELLING", settle_real_at=settle_real_at, now=now)
    world.wake.set()
    return get(world=world, channel=channel, payout_no=payout_no)


def decide(*, world: World, channels: Mapping[str, Channel], payout: Payout, result: str) -> Payout:
    """What `/_sim/payouts` commands, at once. `result`: one of RESULTS. Raises PayoutOver where it cannot come."""
    now = world.clock.seconds()
    if result == "confirmed":
        return confirm(world=world, code=payout.code)
    with world.books.transaction():
        payout = _known(world.books.find_payout(channel=payout.channel, payout_no=payout.payout_no))
        is_open = payout.state in ("WAITING", "PROCESSING", "CANCELLING")
        if result == "returned" and payout.state == "SUCCESS":
            _return(world, channels, payout, now=now)
        elif result == "success" and is_open:
            _succeed(world, channels, replace(payout, outcome="SUCCESS"), now=now)
        elif result in ("failed", "expired") and is_open:
            reason = REASON_EXPIRED if result == "expired" else REASON_FAILED
            _end(world, channels, payout, state="FAILED", reason=reason, now=now)
        elif result == "cancelled" and is_open:
            _end(world, channels, payout, state="CANCELLED", reason="", now=now)
        else:
            raise PayoutOver
    world.wake.set()
    return get(world=world, channel=payout.channel, payout_no=payout.payout_no)


def settle(*, world: World, channels: Mapping[str, Channel]) -> float:
    """Moves what is due and queues the notices; the machine's time of the next one. Called by the scheduler."""
    now = world.clock.seconds()
    for payout in world.books.list_expired_payouts(now=now):
        with world.books.transaction():
            _end(world, channels, payout, state="FAILED", reason=REASON_EXPIRED, now=now)
    for payout in world.books.list_unsettled_payouts():
        if payout.settle_real_at > time.time():
            return payout.settle_real_at
        finish(world=world, channels=channels, payout=payout)
    return math.inf


def finish(*, world: World, channels: Mapping[str, Channel], payout: Payout) -> None:
    """Moves one payout on now, whenever it was due; nothing when it was moved meanwhile."""
    now = world.clock.seconds()
    with world.books.transaction():
        if payout.state == "SUCCESS":
            _return(world, channels, payout, now=now)
        elif payout.state == "CANCELLING":
            _end(world, channels, payout, state="CANCELLED", reason="", now=now)
        elif payout.outcome == "FAILED":
            _end(world, channels, payout, state="FAILED", reason=REASON_FAILED, now=now)
        else:
            _succeed(world, channels, payout, now=now)


def balance_fen(*, world: World, channel: str, before: float = math.inf) -> int:
    """The merchant's account at a time, money set aside included."""
    moved = world.books.list_movements(channel=channel, start=-math.inf, end=before)
    return OPENING_FEN + sum(movement.amount_fen for movement in moved)


def available_fen(*, world: World, channel: str) -> int:
    """What can be paid out now."""
    return balance_fen(world=world, channel=channel) - world.books.held_for_payouts_fen(channel=channel)


def _new(*, world: World, wanted: PayoutRequest, struck: frozenset[str], now: float) -> Payout:
    outcome = "FAILED" if "payout_failed" in struck else "RETURNED" if "payout_returned" in struck else "SUCCESS"
    return Payout(
        channel=wanted.channel,
        payout_no=wanted.payout_no,
        payout_id=wanted.payout_id,
        code=wanted.code,
        amount_fen=wanted.amount_fen,
        account=wanted.account,
        name=wanted.name,
        remark=wanted.remark,
        state="PROCESSING" if wanted.expires_at is None else "WAITING",
        outcome=outcome,
        reason="",
        settle_real_at=time.time() + world.options.refund_delay_seconds,
        expires_at=now if wanted.expires_at is None else wanted.expires_at,
        notify_url=wanted.notify_url,
        parameters=wanted.parameters,
        created_at=now,
        updated_at=now,
        paid_at=None,
        returned_at=None,
    )


def _sweep(world: World) -> float:
    """Lets the scheduler expire what is over; the time it used. Until then a waiting one is still answered as such."""
    now = world.clock.seconds()
    if world.books.list_expired_payouts(now=now):
        world.wake.set()
    return now


def _known(payout: Payout | None) -> Payout:
    if payout is None:
        raise UnknownPayout
    return payout


def _move(world: World, payout: Payout, *, now: float, **changes: Any) -> bool:
    return world.books.move_payout(payout=payout, changed=replace(payout, updated_at=now, **changes))


def _succeed(world: World, channels: Mapping[str, Channel], payout: Payout, *, now: float) -> None:
    settle_real_at = time.time() + RETURN_DELAY_SECONDS
    outcome = "RETURNED" if payout.outcome == "RETURNED" else "SUCCESS"
    if _move(world, payout, state="SUCCESS", outcome=outcome, paid_at=now, settle_real_at=settle_real_at, now=now):
        _tell(world, channels, payout)


def _return(world: World, channels: Mapping[str, Channel], payout: Payout, *, now: float) -> None:
    if _move(world, payout, state="RETURNED", outcome="RETURNED", reason=REASON_RETURNED, returned_at=now, now=now):
        _tell(world, channels, payout)


def _end(world: World, channels: Mapping[str, Channel], payout: Payout, *, state: str, reason: str, now: float) -> None:
    if _move(world, payout, state=state, outcome="FAILED", reason=reason, now=now):
        _tell(world, channels, payout)


def _tell(world: World, channels: Mapping[str, Channel], payout: Payout) -> None:
    """Queues the notice of what the payout has become."""
    draft_of = getattr(channels[payout.channel], "draft_payout_notice", None)
    if not payout.notify_url or draft_of is None:
        return
    done = _known(world.books.find_payout(channel=payout.channel, payout_no=payout.payout_no))
    draft = draft_of(done)
    if draft is not None:
        desk.queue_notice(
            world=world,
            channel=done.channel,
            attempt_no=done.payout_no,
            refund_no="",
            operation=desk.OPERATION_PAYOUT_NOTICE,
            url=done.notify_url,
            draft=draft,
        )
