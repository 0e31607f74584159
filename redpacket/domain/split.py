"""Splits a total into random shares.

Source: the requirements (红包金额的算法) and design `money.md`: for each share draw at random, clamp to what still lets
the others have between the minimum and the maximum; the last share is the rest, so the sum is exact. The result is
shuffled: the position of a share tells nothing about its amount.
"""

from __future__ import annotations

import random


def is_splittable(*, total_fen: int, count: int, min_fen: int, max_fen: int) -> bool:
    """True when `count` shares of `min_fen` to `max_fen` can sum to `total_fen`."""
    return count >= 1 and 0 < min_fen <= max_fen and count * min_fen <= total_fen <= count * max_fen


def split(*, total_fen: int, count: int, min_fen: int, max_fen: int, rng: random.Random) -> list[int]:
    """`count` amounts in fen, each from `min_fen` to `max_fen`, that sum to `total_fen` exactly.

    Each draw is uniform around the average of what is left (from the minimum to twice the average), so early and late
    shares are worth the same on average. Raises ValueError when no such split exists.
    """
    if not is_splittable(total_fen=total_fen, count=count, min_fen=min_fen, max_fen=max_fen):
        raise ValueError(f"{total_fen} fen cannot be {count} shares of {min_fen} to {max_fen} fen")
    amounts = []
    rest = total_fen
    for left in range(count, 1, -1):
        lowest = max(min_fen, rest - (left - 1) * max_fen)
        highest = min(max_fen, rest - (left - 1) * min_fen)
        drawn = rng.randint(min_fen, max(min_fen, 2 * rest // left - min_fen))
        amounts.append(min(max(drawn, lowest), highest))
        rest -= amounts[-1]
    amounts.append(rest)
    rng.shuffle(amounts)
    return amounts
