"""Positions of a split are exchangeable: every statistic that looks at positions is uniform (chi-square tests)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from redpacket.domain.split import split

PACKETS = 6_000
COUNT = 10
CRITICAL = {9: 27.88, 89: 135.98}
"""Quantiles 0.999 of chi-square by degrees of freedom, from the usual tables: one run of a thousand exceeds them."""


class Unshuffled(random.Random):
    """A control: the splitter without its shuffle, as many published ones are."""

    def shuffle(self, x: object) -> None:
        return None


def packets(rng: random.Random) -> list[list[int]]:
    return [split(total_fen=10_000, count=COUNT, min_fen=1, max_fen=20_000, rng=rng) for _ in range(PACKETS)]


def chi_square(observed: Sequence[int]) -> float:
    expected = sum(observed) / len(observed)
    return sum((number - expected) ** 2 / expected for number in observed)


def positions_of_best(rows: Sequence[Sequence[int]]) -> list[int]:
    """How often each position holds the packet's largest share; packets with two largest ones do not count."""
    found = Counter(row.index(max(row)) for row in rows if row.count(max(row)) == 1)
    return [found[position] for position in range(COUNT)]


def positions_of_two_best(rows: Sequence[Sequence[int]]) -> list[int]:
    """How often each ordered pair of positions holds the largest and the second largest share."""
    found: Counter[tuple[int, int]] = Counter()
    for row in rows:
        first, second, third = sorted(range(COUNT), key=row.__getitem__, reverse=True)[:3]
        if row[first] > row[second] > row[third]:
            found[first, second] += 1
    return [found[a, b] for a in range(COUNT) for b in range(COUNT) if a != b]


def positions_of_poor(rows: Sequence[Sequence[int]]) -> list[int]:
    """How often each position holds the smallest share."""
    found = Counter(row.index(min(row)) for row in rows if row.count(min(row)) == 1)
    return [found[position] for position in range(COUNT)]


Statistic = Callable[[Sequence[Sequence[int]]], list[int]]
STATISTICS: list[Statistic] = [positions_of_best, positions_of_two_best, positions_of_poor]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_positions_are_exchangeable(statistic: Statistic) -> None:
    observed = statistic(packets(random.Random(20261123)))
    assert sum(observed) > PACKETS * 0.9
    assert chi_square(observed) < CRITICAL[len(observed) - 1]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_without_the_shuffle_the_test_finds_it(statistic: Statistic) -> None:
    observed = statistic(packets(Unshuffled(20261123)))
    assert chi_square(observed) > 2 * CRITICAL[len(observed) - 1]


def test_every_position_is_worth_the_same_already_before_the_shuffle() -> None:
    """Each draw's mean is the average of what is left; only the spread grows, which the shuffle hides."""
    rows = packets(Unshuffled(7))
    mean = 10_000 / COUNT
    for position in range(COUNT):
        amounts = [row[position] for row in rows]
        spread = (sum((amount - mean) ** 2 for amount in amounts) / PACKETS) ** 0.5
        assert abs(sum(amounts) / PACKETS - mean) < 4 * spread / PACKETS**0.5


def test_the_marginal_distribution_is_the_documented_one() -> None:
    """docs/RED_PACKET_SPLIT.md: the shares of 10 from 100 yuan, cumulated."""
    amounts = [amount for row in packets(random.Random(3)) for amount in row]
    for below_fen, part in ((200, 0.106), (500, 0.267), (1000, 0.529), (1500, 0.767), (2000, 0.939), (3000, 0.995)):
        assert sum(amount < below_fen for amount in amounts) / len(amounts) == pytest.approx(part, abs=0.006)
