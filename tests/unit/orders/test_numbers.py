"""Order numbers: format, parts, routing, and a sequence that never repeats."""

from __future__ import annotations

import datetime as dt
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.domain import numbers
from orders.domain.numbers import InvalidNumber, Prefix, Sequence

MOMENT_MS = int(dt.datetime(2026, 11, 22, 10, 0, 0, 123000, tzinfo=numbers.ZONE).timestamp() * 1000)


def compose(**changes: object) -> str:
    parts: dict[str, object] = {
        "prefix": Prefix.RECHARGE,
        "version": "1",
        "node_id": 46_655,
        "gene": 10,
        "account_id": 3_000_042,
        "epoch_ms": MOMENT_MS,
        "counter": 7,
    }
    return numbers.compose(**{**parts, **changes})  # type: ignore[arg-type]


def test_number_has_the_parts_of_the_requirement_in_their_places() -> None:
    number = compose()
    assert number == "RC" + "1" + "ZZZA" + "0042" + "20261122100000123" + "0007"
    assert len(number) == 32
    assert number.isalnum()


def test_parts_are_readable_again() -> None:
    parts = numbers.parse(compose())
    assert (parts.prefix, parts.version, parts.node_id, parts.gene, parts.account, parts.counter) == (
        Prefix.RECHARGE,
        "1",
        46_655,
        10,
        42,
        7,
    )
    assert parts.moment == dt.datetime(2026, 11, 22, 10, 0, 0, 123000, tzinfo=numbers.ZONE)


@given(
    prefix=st.sampled_from(Prefix),
    version=st.sampled_from(["1", "2"]),
    node_id=st.integers(0, numbers.NODES - 1),
    gene=st.integers(0, 15),
    account_id=st.integers(0, 10**12),
    epoch_ms=st.integers(1_600_000_000_000, 4_000_000_000_000),
    counter=st.integers(1, 9999),
)
def test_every_number_parses_back(**parts: object) -> None:
    number = numbers.compose(**parts)  # type: ignore[arg-type]
    read = numbers.parse(number)
    assert (read.prefix, read.version, read.node_id, read.gene, read.counter) == (
        parts["prefix"],
        parts["version"],
        parts["node_id"],
        parts["gene"],
        parts["counter"],
    )
    assert int(read.moment.timestamp() * 1000 + 0.5) == parts["epoch_ms"]
    assert read.account % 16 == int(str(parts["account_id"])) % 16


def test_version_1_routes_by_crc32_of_the_whole_number() -> None:
    number = compose()
    assert numbers.table_of(number) == zlib.crc32(number.encode()) % 16


def test_version_2_routes_by_the_account() -> None:
    assert {numbers.table_of(compose(version="2", gene=3_000_042 % 16, counter=c)) for c in range(1, 200)} == {10}


def test_attempt_routes_to_the_table_in_its_gene() -> None:
    assert numbers.table_of(compose(prefix=Prefix.ATTEMPT, gene=13)) == 13


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RC1",
        compose()[:-1],
        compose() + "0",
        "XX" + compose()[2:],
        "RC9" + compose()[3:],
        compose()[:11] + "20261322100000123" + "0007",
        compose()[:7] + "00a2" + compose()[11:],
        "RC1ZZZG" + compose()[7:],
        "RC1-ZZA" + compose()[7:],
        "ＲC" + compose()[2:],
    ],
)
def test_text_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidNumber):
        numbers.parse(text)


@pytest.mark.parametrize(
    "changes", [{"node_id": 46_656}, {"gene": 16}, {"counter": 0}, {"counter": 10_000}, {"version": "3"}]
)
def test_parts_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidNumber):
        compose(**changes)


def test_sequence_never_repeats_within_one_millisecond() -> None:
    sequence = Sequence()
    seen = {sequence.next(clock_ms=MOMENT_MS) for _ in range(30_000)}
    assert len(seen) == 30_000
    assert {ms for ms, _ in seen} == {MOMENT_MS, MOMENT_MS + 1, MOMENT_MS + 2, MOMENT_MS + 3}


@given(st.lists(st.integers(-5000, 5000), min_size=1, max_size=400))
def test_sequence_is_unique_and_never_goes_back_when_the_clock_steps(steps: list[int]) -> None:
    sequence, clock_ms, issued = Sequence(), MOMENT_MS, []
    for step in steps:
        clock_ms += step
        issued.append(sequence.next(clock_ms=clock_ms))
    assert len(set(issued)) == len(issued)
    assert [ms for ms, _ in issued] == sorted(ms for ms, _ in issued)


def test_sequence_starts_after_the_floor_of_a_taken_over_node() -> None:
    assert Sequence(floor_ms=MOMENT_MS + 500).next(clock_ms=MOMENT_MS)[0] == MOMENT_MS + 500
