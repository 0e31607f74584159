"""Charts drawn by the server: SVG without a script, that prints and follows the theme, and the same as a table."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.desk import Chart
from foundation.money import yuan_display

WIDTH, HEIGHT = 640, 190
LEFT, BOTTOM, TOP = 8, 22, 14
GAP = 0.28
"""Share of a label's width that stays empty."""
MAX_LABELS = 7


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar; `style` is the number of its series."""

    x: float
    y: float
    width: float
    height: float
    style: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What the template draws. `top` is the highest value as text; `rows`: label, then each series as text."""

    title: str
    top: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    width: int = WIDTH
    height: int = HEIGHT
    base: int = HEIGHT - BOTTOM


def value_text(chart: Chart, value: int) -> str:
    return yuan_display(value) if chart.is_money else f"{value:,}"


def draw(chart: Chart) -> Drawing:
    """Bars side by side for each label. Values below zero are drawn as nothing; the table says them."""
    highest = max((value for series in chart.series for value in series.values), default=0)
    step = (WIDTH - 2 * LEFT) / max(len(chart.labels), 1)
    width = step * (1 - GAP) / max(len(chart.series), 1)
    room = HEIGHT - BOTTOM - TOP
    bars = []
    for number, label in enumerate(chart.labels):
        for style, series in enumerate(chart.series):
            value = series.values[number]
            height = room * max(value, 0) / highest if highest > 0 else 0.0
            x = LEFT + number * step + step * GAP / 2 + style * width
            title = f"{label} {series.name}: {value_text(chart, value)}"
            bars.append(
                Bar(
                    x=round(x, 1),
                    y=round(HEIGHT - BOTTOM - height, 1),
                    width=round(width, 1),
                    height=round(height, 1),
                    style=style,
                    title=title,
                )
            )
    every = max(1, -(-len(chart.labels) // MAX_LABELS))
    ticks = [
        Tick(x=round(LEFT + (number + 0.5) * step, 1), text=label)
        for number, label in enumerate(chart.labels)
        if number % every == 0
    ]
    rows = [
        (label, tuple(value_text(chart, series.values[number]) for series in chart.series))
        for number, label in enumerate(chart.labels)
    ]
    return Drawing(
        title=str(chart.title),
        top=value_text(chart, max(highest, 0)),
        bars=tuple(bars),
        ticks=tuple(ticks),
        names=tuple(str(series.name) for series in chart.series),
        rows=tuple(rows),
    )
