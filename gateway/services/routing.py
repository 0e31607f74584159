"""Which channel takes a payment: the one the client names, if it may, or a weighted choice among those that may.

Every decision is a row of RoutingDecision, refusals too. The first choice for an `attempt_key` stands for ever, so a
retry of the same request keeps its channel, whatever has changed since.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from foundation import clock
from foundation.db import roles
from gateway import registry, selectors
from gateway.domain import routing
from gateway.domain.routing import ClientClass, Exclusion, Judged, Kind, Wish
from gateway.models import RoutingDecision
from gateway.services import health


@dataclass(frozen=True, kw_only=True)
class Request:
    """A payment that wants a channel. `attempt_key`: the same for every retry of it (≤ 128 ascii characters)."""

    order_no: str
    attempt_key: str
    amount_fen: int
    kind: Kind
    scene: str
    client_class: ClientClass

    @property
    def wish(self) -> Wish:
        return Wish(amount_fen=self.amount_fen, kind=self.kind, scene=self.scene, client_class=self.client_class)


def choose(*, request: Request, now: dt.datetime, candidates: Sequence[str] | None = None) -> str:
    """One of `candidates` (None: every channel that takes payments here), as often as its weight for this class says.

    Raises ChannelUnavailable (`no_channel`, with the reason of each) when none may, and health.ChannelUnhealthy when
    one may and none answers at present. Repeating with the same key answers the first choice.
    """
    earlier = _rows().filter(attempt_key=request.attempt_key).values_list("chosen", flat=True).first()
    if earlier:
        return earlier
    codes = sorted(registry.payment_channels() if candidates is None else candidates)
    judged = [_judge(channel, request, is_named=False) for channel in codes]
    chosen = routing.pick(judged=judged, key=request.attempt_key)
    stored = _record(request=request, judged=judged, chosen=chosen, is_named=False, now=now)
    if stored:
        return stored
    if any(one.exclusion == Exclusion.UNHEALTHY for one in judged):
        raise health.ChannelUnhealthy({"reason": "channel_unhealthy"}, retry_after_seconds=health.OPEN_MS // 1000)
    excluded = {one.channel: one.exclusion for one in judged}
    raise registry.ChannelUnavailable({"reason": "no_channel", "excluded": excluded})


def confirm(*, channel: str, request: Request, now: dt.datetime) -> str:
    """The channel a client named, if it is set up and may take this payment.

    Raises ChannelUnavailable (with the `reason`), or health.ChannelUnhealthy while its breaker is open. Judged anew
    each time: a channel that was switched off since takes no retry either.
    """
    registry.adapter(channel)
    judged = _judge(channel, request, is_named=True)
    chosen = channel if judged.is_possible else ""
    _record(request=request, judged=[judged], chosen=chosen, is_named=True, now=now)
    if judged.is_possible:
        return channel
    details = {"channel": channel, "reason": judged.exclusion}
    if judged.exclusion == Exclusion.UNHEALTHY:
        raise health.ChannelUnhealthy({**details, "reason": "channel_unhealthy"}, retry_after_seconds=3)
    raise registry.ChannelUnavailable(details)


def _judge(channel: str, request: Request, *, is_named: bool) -> Judged:
    state = health.look(channel=channel, now_ms=clock.epoch_ms()).state
    return routing.judge(
        terms=selectors.get_terms(channel=channel),
        wish=request.wish,
        is_healthy=state is not health.State.OPEN,
        is_named=is_named,
    )


def _rows() -> QuerySet[RoutingDecision]:
    return RoutingDecision.objects.using(roles.alias_for("default"))


def _record(*, request: Request, judged: Sequence[Judged], chosen: str, is_named: bool, now: dt.datetime) -> str:
    """Writes the decision and returns what stands: another thread of the same request may have been first."""
    alias = roles.alias_for("default")
    row = RoutingDecision(
        order_no=request.order_no,
        attempt_key=request.attempt_key if chosen else None,
        kind=request.kind.value,
        scene=request.scene,
        client_class=request.client_class.value,
        amount_fen=request.amount_fen,
        is_named=is_named,
        candidates=[asdict(one) for one in judged],
        chosen=chosen,
        decided_at=now,
    )
    try:
        with transaction.atomic(using=alias):
            row.save(using=alias, force_insert=True)
    except IntegrityError:
        return _rows().values_list("chosen", flat=True).get(attempt_key=request.attempt_key)
    return chosen
