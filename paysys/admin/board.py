"""The desk's page and the board of stuck money: providers asked, kept and drawn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from django.core.cache import cache
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from foundation import clock, desk
from foundation.desk import Asking, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from paysys.admin import drawing

logger = structlog.get_logger("desk")
STUCK_KEPT_SECONDS = 60
FORMAT = 1
"""Of what is kept: raise it when Panel or Stuck change."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One tile as the page draws it. `panel` None: it could not be read just now."""

    tile: Tile
    panel: Panel | None
    chart: drawing.Drawing | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of stuck money on the board."""

    kind: StuckKind
    found: Stuck | None
    amount: str
    limit: str


def asking_of(request: HttpRequest) -> Asking:
    return Asking(now=clock.now(), user_id=int(request.user.pk or 0), may=request.user.has_perm)


def read_tiles(asking: Asking) -> list[tuple[Section, list[Shown]]]:
    """The tiles this member of staff may see, by section. One that fails says so; the others stand."""
    wanted = [tile for tile in desk.tiles().values() if desk.may_any(asking.may, tile.permissions)]
    wanted.sort(key=lambda tile: (tile.order, tile.name))
    found: list[tuple[Section, list[Shown]]] = []
    for section in Section:
        shown = [_shown(tile, asking) for tile in wanted if tile.section is section]
        if shown:
            found.append((section, shown))
    return found


def _shown(tile: Tile, asking: Asking) -> Shown:
    panel = _kept(_key(tile, asking), tile.seconds, tile.name, lambda: tile.read(asking))
    chart = drawing.draw(panel.chart) if panel is not None and panel.chart is not None else None
    return Shown(tile=tile, panel=panel, chart=chart)


def _key(tile: Tile, asking: Asking) -> str:
    whose = f":{asking.user_id}" if tile.is_personal else ""
    return f"desk:{FORMAT}:{tile.name}:{translation.get_language()}{whose}"


def _kept(key: str, seconds: int, name: str, read: Any) -> Any:
    """What `read` says, from the cache for `seconds`; None when it fails. Without Redis everything is read anew."""
    if seconds:
        try:
            found = cache.get(key)
        except (RedisError, ConnectionInterrupted):
            found = None
        if found is not None:
            return found
    started = time.monotonic()
    try:
        found = read()
    except Exception:
        logger.exception("desk provider failed", provider=name)
        return None
    logger.debug("desk provider read", provider=name, seconds=round(time.monotonic() - started, 3))
    if seconds and found is not None:
        try:
            cache.set(key, found, seconds)
        except (RedisError, ConnectionInterrupted):
            logger.warning("desk not kept, Redis is away", provider=name)
    return found


def read_stuck(asking: Asking) -> list[Row]:
    """Every kind this member of staff may see, those with something in them first, largest amount on top."""
    rows = []
    for kind in desk.kinds().values():
        if not desk.may_any(asking.may, kind.permissions):
            continue
        key = f"desk:{FORMAT}:stuck:{kind.name}"
        found = _kept(key, STUCK_KEPT_SECONDS, kind.name, lambda kind=kind: kind.read(asking.now))
        amount = yuan_display(found.amount_fen) if found is not None and found.amount_fen is not None else ""
        limit = desk.span_text(kind.limit) if kind.limit else ""
        rows.append(Row(kind=kind, found=found, amount=amount, limit=limit))
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[bool, bool, int, str]:
    found = row.found
    count, amount = (found.count, found.amount_fen or 0) if found is not None else (1, 0)
    return (found is not None, not count, -amount, row.kind.name)


def stuck_tile(asking: Asking) -> Panel:
    """The board in short, on the desk."""
    rows = [row for row in read_stuck(asking) if row.found is None or row.found.count]
    lines = tuple(
        desk.Line(
            label=row.kind.title,
            value=" · ".join(part for part in (_count_text(row), row.amount) if part),
            link=row.found.link if row.found is not None else "",
            since=row.found.oldest if row.found is not None else None,
            tone=Tone.WRONG,
        )
        for row in rows
    )
    if not lines:
        return Panel(figure="0", note=gettext("Nothing is stuck."), tone=Tone.GOOD)
    return Panel(figure=str(len(lines)), note=gettext("kinds"), lines=lines, tone=Tone.WRONG)


def _count_text(row: Row) -> str:
    if row.found is None:
        return gettext("could not be read")
    return f"{row.found.count:,}" + ("+" if row.found.is_more else "")
