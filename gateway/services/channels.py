"""Changes to what channels and clients may do, at once visible in this process and within a second in the others."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Model

from gateway import registry, selectors
from gateway.domain.routing import ClientClass, Terms
from gateway.services import health
from gateway.services.health import Health


@dataclass(frozen=True, kw_only=True)
class ChannelOverview:
    """A channel as staff see it. `is_set_up`: it takes payments here."""

    terms: Terms
    is_set_up: bool
    health: Health


def save(*, row: Model) -> None:
    """Stores a ChannelSetting or ClientGrade as a form made and checked it. Repeating is safe."""
    row.save()
    selectors.forget()


def list_overviews(*, now: dt.datetime) -> list[ChannelOverview]:
    """Every channel there is an adapter for; `is_set_up` says whether it takes payments here."""
    set_up = registry.payment_channels()
    now_ms = int(now.timestamp() * 1000)
    return [
        ChannelOverview(
            terms=selectors.get_terms(channel=code),
            is_set_up=code in set_up,
            health=health.look(channel=code, now_ms=now_ms),
        )
        for code in registry.codes()
    ]


def get_client_class(*, enterprise_id: int) -> ClientClass:
    """How much this enterprise counts; ORDINARY without a row."""
    return selectors.get_client_class(enterprise_id=enterprise_id)
