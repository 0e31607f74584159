"""Order and attempt numbers: 32 alphanumeric characters whose parts can be read again.

    2 prefix · 1 version · 4 reserved (3 node in base 36, 1 gene in base 16) · 4 account · 17 time · 4 counter

Source: the requirements (全局唯一性ID) and design `sharding.md` decisions 2 and 9. Version 1 routes an order by
CRC-32 of the whole number, the same value SQL's CRC32() gives; version 2 routes by the account digits, so that one
employee's orders stand in one table (10 000 is a multiple of 16, so account mod 16 survives the cut to 4 digits).
The gene of an order is account mod 16, in version 2 its table (the same, but for a refund that stands beside an
original of version 1); the gene of an attempt is the table of its order, so that a provider's notice,
which knows only the attempt number, finds its table without a look-up.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

LENGTH = 32
TABLES = 16
ACCOUNTS = 10_000
COUNTERS = 9_999
"""The counter runs 1 … 9999 and then starts at 1 again, as the requirements say."""
NODES = 36**3
ZONE = ZoneInfo("Asia/Shanghai")
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VERSIONS = ("1", "2")


class Prefix(StrEnum):
    """The business a number belongs to."""

    RECHARGE = "RC"
    PAYMENT = "PM"
    TRANSFER = "TR"
    TRANSFER_RECEIPT = "TI"
    WITHDRAWAL = "WD"
    REFUND = "RF"
    COLLECT = "CO"
    REDPACKET_SEND = "RP"
    REDPACKET_RECEIPT = "RR"
    REDPACKET_REFUND = "RX"
    RETURN = "RT"
    ATTEMPT = "AT"


class InvalidNumber(ValueError):
    """The text is not a number of ours."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a number says. `moment` is aware, to the millisecond; `account` is the account id modulo 10 000."""

    prefix: Prefix
    version: str
    node_id: int
    gene: int
    account: int
    moment: dt.datetime
    counter: int


def compose(
    *, prefix: Prefix, version: str, node_id: int, gene: int, account_id: int, epoch_ms: int, counter: int
) -> str:
    """The number of these parts; ranges are asserted because a wrong one would be silently unreadable."""
    if not (version in _VERSIONS and 0 <= node_id < NODES and 0 <= gene < TABLES and 1 <= counter <= COUNTERS):
        raise InvalidNumber(f"parts out of range: {version} {node_id} {gene} {counter}")
    seconds, milliseconds = divmod(epoch_ms, 1000)
    local = dt.datetime.fromtimestamp(seconds, ZONE)
    node = _BASE36[node_id // 1296] + _BASE36[node_id // 36 % 36] + _BASE36[node_id % 36]
    return (
        f"{prefix.value}{version}{node}{gene:X}{account_id % ACCOUNTS:04d}"
        f"{local:%Y%m%d%H%M%S}{milliseconds:03d}{counter:04d}"
    )


def parse(number: str) -> Parts:
    """The parts of a number; raises InvalidNumber for anything that `compose` cannot have made."""
    if len(number) != LENGTH or not (number.isascii() and number.isalnum()):
        raise InvalidNumber(f"not a number of ours: {number!r}")
    try:
        return Parts(
            prefix=Prefix(number[:2]),
            version=_VERSIONS[_VERSIONS.index(number[2])],
            node_id=int(number[3:6], 36),
            gene=int(number[6], 16),
            account=_digits(number[7:11]),
            moment=dt.datetime.strptime(number[11:28] + "000", "%Y%m%d%H%M%S%f").replace(tzinfo=ZONE),
            counter=_digits(number[28:32]),
        )
    except ValueError as error:
        raise InvalidNumber(f"not a number of ours: {number!r}") from error


def _digits(text: str) -> int:
    if not text.isdigit():
        raise ValueError(text)
    return int(text)


def table_of(number: str) -> int:
    """The table (0 … 15) that an order or attempt number leads to; old versions keep their rule for ever."""
    if len(number) != LENGTH or number[2] not in _VERSIONS:
        raise InvalidNumber(f"not a number of ours: {number!r}")
    if number[:2] == Prefix.ATTEMPT or number[2] == "2":
        try:
            return int(number[6], 16)
        except ValueError as error:
            raise InvalidNumber(f"not a number of ours: {number!r}") from error
    return zlib.crc32(number.encode("ascii", "replace")) % TABLES


class Sequence:
    """Time and counter of one node: never the same pair twice, also when the clock steps back.

    Not safe for threads by itself: the issuer holds a lock around `next`.
    """

    def __init__(self, *, floor_ms: int = 0) -> None:
        self._last_ms = floor_ms
        self._counter = 0
        self._used_in_ms = 0

    def next(self, *, clock_ms: int) -> tuple[int, int]:
        """The next (epoch milliseconds, counter 1 … 9999); the time is at least that of the call before."""
        if clock_ms > self._last_ms:
            self._last_ms, self._used_in_ms = clock_ms, 0
        elif self._used_in_ms >= COUNTERS:
            self._last_ms, self._used_in_ms = self._last_ms + 1, 0
        self._used_in_ms += 1
        self._counter = self._counter % COUNTERS + 1
        return self._last_ms, self._counter
