from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpacket.domain.split import is_splittable, split


@st.composite
def splittable(draw: st.DrawFn) -> dict[str, int]:
    count = draw(st.integers(1, 300))
    min_fen = draw(st.integers(1, 500))
    max_fen = draw(st.integers(min_fen, min_fen + 20_000))
    total_fen = draw(st.integers(count * min_fen, count * max_fen))
    return {"total_fen": total_fen, "count": count, "min_fen": min_fen, "max_fen": max_fen}


@settings(max_examples=500, deadline=None)
@given(wanted=splittable(), seed=st.integers(0, 2**32))
def test_the_sum_is_exact_and_every_share_is_within_bounds(wanted: dict[str, int], seed: int) -> None:
    amounts = split(**wanted, rng=random.Random(seed))
    assert len(amounts) == wanted["count"]
    assert sum(amounts) == wanted["total_fen"]
    assert all(wanted["min_fen"] <= amount <= wanted["max_fen"] for amount in amounts)
    assert all(type(amount) is int for amount in amounts)


@settings(max_examples=300, deadline=None)
@given(
    total_fen=st.integers(-5, 2000),
    count=st.integers(-2, 40),
    min_fen=st.integers(-1, 60),
    max_fen=st.integers(-1, 60),
)
def test_what_cannot_be_split_is_refused(total_fen: int, count: int, min_fen: int, max_fen: int) -> None:
    wanted = {"total_fen": total_fen, "count": count, "min_fen": min_fen, "max_fen": max_fen}
    is_possible = count > 0 and 0 < min_fen <= max_fen and count * min_fen <= total_fen <= count * max_fen
    assert is_splittable(**wanted) is is_possible
    if is_possible:
        assert sum(split(**wanted, rng=random.Random(1))) == total_fen
    else:
        with pytest.raises(ValueError, match="cannot be"):
            split(**wanted, rng=random.Random(1))


@pytest.mark.parametrize(
    ("total_fen", "count", "min_fen", "max_fen", "expected"),
    [
        (10, 10, 1, 20_000, [1] * 10),
        (40_000, 2, 1, 20_000, [20_000] * 2),
        (500, 1, 1, 20_000, [500]),
        (20_000 * 10_000, 10_000, 1, 20_000, [20_000] * 10_000),
    ],
)
def test_at_the_limits_there_is_one_split(
    total_fen: int, count: int, min_fen: int, max_fen: int, expected: list[int]
) -> None:
    rng = random.Random(3)
    assert split(total_fen=total_fen, count=count, min_fen=min_fen, max_fen=max_fen, rng=rng) == expected


def test_the_same_seed_gives_the_same_shares() -> None:
    wanted = {"total_fen": 500, "count": 5, "min_fen": 1, "max_fen": 20_000}
    first = split(**wanted, rng=random.Random(7))
    assert first == split(**wanted, rng=random.Random(7))
    assert first != split(**wanted, rng=random.Random(8))


def test_position_tells_nothing_about_the_amount() -> None:
    """The mean of every position lies near the average share: four standard errors of 4 000 packets."""
    rng = random.Random(20261123)
    rounds, count, total_fen = 4000, 5, 5000
    sums = [0] * count
    squares = 0
    for _ in range(rounds):
        for position, amount in enumerate(split(total_fen=total_fen, count=count, min_fen=1, max_fen=20_000, rng=rng)):
            sums[position] += amount
            squares += (amount - total_fen // count) ** 2
    error_fen = (squares / (rounds * count) / rounds) ** 0.5
    assert error_fen < 20
    assert all(abs(position_sum / rounds - total_fen / count) < 4 * error_fen for position_sum in sums)


def test_amounts_differ_within_a_packet() -> None:
    amounts = split(total_fen=10_000, count=100, min_fen=1, max_fen=20_000, rng=random.Random(5))
    assert len(set(amounts)) > 50
