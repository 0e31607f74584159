"""What splitting a packet costs, and how its shares are distributed.

    .venv/bin/python -m benchmarks.split [--seconds 2] [--json] [--plot docs/red-packet-split.svg]

The baseline is the splitter that most articles show: uniform up to twice the average of the rest, with neither bounds
nor shuffle. Needs no server. The plot shows 100 yuan in 10 shares: the amounts, and the spread of each position.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Case, Step
from redpacket.domain.split import split

MIN_FEN, MAX_FEN = 1, 20_000
PLOT_PACKETS = 100_000
BAR_FEN = 100


def short_splitter(total_fen: int, count: int, rng: random.Random) -> list[int]:
    """The usual one of articles: may exceed an upper bound, and late shares vary more than early ones."""
    amounts = []
    for left in range(count, 1, -1):
        amounts.append(rng.randint(1, max(1, 2 * total_fen // left - 1)))
        total_fen -= amounts[-1]
    return [*amounts, total_fen]


def cases() -> list[Case]:
    made = []
    for count in (10, 100, 10_000):

        def ours(count: int = count) -> Callable[[int], Step]:
            rng = random.Random(1)
            return lambda worker: (
                lambda: len(split(total_fen=count * 500, count=count, min_fen=MIN_FEN, max_fen=MAX_FEN, rng=rng))
            )

        def usual(count: int = count) -> Callable[[int], Step]:
            rng = random.Random(1)
            return lambda worker: lambda: len(short_splitter(count * 500, count, rng))

        made.append(Case(name=f"usual splitter, {count:,} shares", prepare=usual(), unit="shares"))
        made.append(
            Case(
                name=f"split, {count:,} shares",
                prepare=ours(),
                unit="shares",
                baseline=f"usual splitter, {count:,} shares",
            )
        )
    return made


class _Unshuffled(random.Random):
    def shuffle(self, x: object) -> None:
        return None


def spread(rng: random.Random) -> list[float]:
    """Standard deviation in fen of each of 10 positions."""
    sums = [0] * 10
    for _ in range(PLOT_PACKETS // 10):
        row = split(total_fen=10_000, count=10, min_fen=MIN_FEN, max_fen=MAX_FEN, rng=rng)
        for position, amount in enumerate(row):
            sums[position] += (amount - 1000) ** 2
    return [(total / (PLOT_PACKETS // 10)) ** 0.5 for total in sums]


def plot() -> str:
    """The figure as SVG text: bars of one yuan's width left, spread by position right. The same for ever (seeded)."""
    rng = random.Random(20261123)
    bars = [0] * 41
    for _ in range(PLOT_PACKETS // 10):
        for amount in split(total_fen=10_000, count=10, min_fen=MIN_FEN, max_fen=MAX_FEN, rng=rng):
            bars[min(amount // BAR_FEN, 40)] += 1
    highest = max(bars)
    shapes = [
        f'<rect x="{40 + 9 * index}" y="{220 - 180 * number / highest:.1f}" width="8" '
        f'height="{180 * number / highest:.1f}"/>'
        for index, number in enumerate(bars)
    ]
    ticks = [
        f'<text x="{40 + 9 * yuan}" y="236" text-anchor="middle">{"≥ 40" if yuan == 40 else yuan}</text>'
        for yuan in range(0, 41, 10)
    ]
    lines, labels = [], []
    for title, colour, dash, source in (
        ("before the shuffle", "#b45309", "4 3", _Unshuffled(1)),
        ("as stored", "#1d4ed8", "", random.Random(1)),
    ):
        points = " ".join(f"{500 + 30 * at:.0f},{220 - value / 8:.1f}" for at, value in enumerate(spread(source)))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-dasharray="{dash}"/>')
        labels.append(f'<text x="500" y="{52 + 16 * len(labels)}" fill="{colour}">{title}</text>')
    positions = [f'<text x="{500 + 30 * at}" y="236" text-anchor="middle">{at + 1}</text>' for at in range(10)]
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 270" font-family="sans-serif" font-size="12">',
            "<title>Shares of 100 yuan in 10 shares</title>",
            '<rect width="800" height="270" fill="#ffffff"/>',
            f'<text x="40" y="20">{PLOT_PACKETS:,} shares by amount, yuan</text>',
            '<g fill="#1d4ed8">',
            *shapes,
            "</g>",
            *ticks,
            '<text x="500" y="20">standard deviation by position, yuan</text>',
            *labels,
            *lines,
            *positions,
            *(f'<text x="488" y="{224 - yuan * 12.5}" text-anchor="end">{yuan}</text>' for yuan in (0, 4, 8, 12)),
            '<path d="M40 220H410M494 220H780M494 220V70" stroke="#6b7280" fill="none"/>',
            "</svg>",
            "",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    parser = measure.parser("split", (__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="write the figure there")
    options = parser.parse_args(arguments)
    if options.plot:
        options.plot.write_text(plot(), encoding="utf-8")
    rows = measure.run(cases(), seconds=options.seconds, rounds=options.rounds)
    print(measure.table(rows))
    if options.json:
        print(measure.json_line("split", rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
