"""What apps put on the finance desk: numbers that can be found, tiles, kinds of money that is stuck.

Each app registers its own from its `admin` package, at start-up; `paysys.admin` asks for them, checks the permission
before it reads and draws what comes back. A provider reads in well under 100 ms or says in `seconds` for how long its
answer may be kept. Nothing here writes.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext

Text = str | Promise
PREFIX_LENGTH = 6
"""Characters of a number from which on its beginning is enough to find it."""


HOUR_SECONDS, DAY_SECONDS = 3600, 86_400


class Tone(enum.StrEnum):
    """How a line is to be taken; said by a word beside the colour too."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    WRONG = "wrong"


# --- Search ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that a number leads to. `description` says what it is, `link` is a page of the admin."""

    title: str
    description: str
    link: str
    icon: str = "tag"


@dataclass(frozen=True, kw_only=True)
class Finder:
    """`find(text, limit)` gives exact matches first, then those that begin with the text (PREFIX_LENGTH and longer).

    Asked only for staff with one of the `permissions`. The text is stripped, not empty, at most 64 characters.
    """

    name: str
    permissions: tuple[str, ...]
    find: Callable[[str, int], list[Found]]


# --- Tiles -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a tile: what, how much, since when; `link` is where one goes on. `since` is shown as an age."""

    label: Text
    value: Text = ""
    note: Text = ""
    link: str = ""
    tone: Tone = Tone.PLAIN
    since: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    name: Text
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Values by label, drawn by the server and told as a table besides. `is_money`: the values are fen."""

    title: Text
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    is_money: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What a tile shows. `figure`: the one number that matters; `as_of`: when it was true, where that is not now."""

    figure: Text = ""
    note: Text = ""
    tone: Tone = Tone.PLAIN
    lines: tuple[Line, ...] = ()
    chart: Chart | None = None
    as_of: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Who asks, and when. `may` answers for "app.codename"."""

    now: dt.datetime
    user_id: int
    may: Callable[[str], bool] = field(repr=False)


class Section(enum.StrEnum):
    """Where on the desk."""

    WAITING = "waiting"
    FLOW = "flow"
    STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Shown to staff with one of `permissions`; without any, to all of them.

    `seconds`: how long an answer is kept (0: never). `is_personal`: it depends on who asks, beyond the permission.
    """

    name: str
    title: Text
    section: Section
    order: int
    permissions: tuple[str, ...]
    read: Callable[[Asking], Panel]
    seconds: int = 0
    is_personal: bool = False


# --- Stuck money -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stuck:
    """What stands longer than it should. `amount_fen` None: it is not money. `examples`: (number, page) of the oldest.

    `is_more`: at least `count`; the count was ended there.
    """

    count: int
    amount_fen: int | None = None
    oldest: dt.datetime | None = None
    link: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    is_more: bool = False


@dataclass(frozen=True, kw_only=True)
class StuckKind:
    """One kind of it: from what age on, why it comes to that, what to do next."""

    name: str
    title: Text
    limit: dt.timedelta
    cause: Text
    step: Text
    permissions: tuple[str, ...]
    read: Callable[[dt.datetime], Stuck]


# --- Registration ----------------------------------------------------------------------------------------------------

_finders: dict[str, Finder] = {}
_tiles: dict[str, Tile] = {}
_kinds: dict[str, StuckKind] = {}


def register(*items: Finder | Tile | StuckKind) -> None:
    """Puts them on the desk; the same name again replaces it."""
    for item in items:
        if isinstance(item, Finder):
            _finders[item.name] = item
        elif isinstance(item, Tile):
            _tiles[item.name] = item
        else:
            _kinds[item.name] = item


def finders() -> Mapping[str, Finder]:
    return _finders


def tiles() -> Mapping[str, Tile]:
    return _tiles


def kinds() -> Mapping[str, StuckKind]:
    return _kinds


def may_any(may: Callable[[str], bool], permissions: tuple[str, ...]) -> bool:
    """True when no permission is asked for, or one of them is there."""
    return not permissions or any(may(name) for name in permissions)


def span_text(span: dt.timedelta) -> str:
    """A time in one unit, which is enough to see what is old: "3 min", "5 h", "2 days"."""
    seconds = int(span.total_seconds())
    if seconds < HOUR_SECONDS:
        return gettext("%d min") % (seconds // 60)
    if seconds < 2 * DAY_SECONDS:
        return gettext("%d h") % (seconds // HOUR_SECONDS)
    return gettext("%d days") % (seconds // DAY_SECONDS)
