"""A bar chart drawn by the server as SVG: prints, needs no script, allowed by the policy of every page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from foundation.money import yuan_display

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 260, 90, 28, 12
LINES = 4


@dataclass(frozen=True, kw_only=True)
class Bar:
    """`label` stands below, `value_fen` is its height."""

    label: str
    value_fen: int


def draw(bars: Sequence[Bar], *, title: str) -> SafeString:
    """The chart; for one without eyes its title and each bar's own words. Empty for no bars."""
    if not bars:
        return SafeString("")
    top_fen = _round_up(max(1, *(bar.value_fen for bar in bars)))
    width, height = WIDTH - LEFT, HEIGHT - BOTTOM - TOP
    step = width / len(bars)
    every = -(-len(bars) // 16)  # labels that fit beside one another

    def y(value_fen: int) -> float:
        return TOP + height - height * value_fen / top_fen

    grid = format_html_join(
        "",
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity=".2"/>'
        '<text x="{}" y="{}" text-anchor="end">{}</text>',
        (
            (LEFT, WIDTH, _text(y(fen)), _text(y(fen)), LEFT - 8, _text(y(fen) + 4), yuan_display(fen))
            for fen in (top_fen * index // LINES for index in range(LINES + 1))
        ),
    )
    columns = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}" fill="#0b57c2"><title>{}: {}</title></rect>',
        (
            (
                _text(LEFT + step * index + step * 0.15),
                _text(y(bar.value_fen)),
                _text(step * 0.7),
                _text(height + TOP - y(bar.value_fen)),
                bar.label,
                yuan_display(bar.value_fen),
            )
            for index, bar in enumerate(bars)
        ),
    )
    labels = format_html_join(
        "",
        '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (_text(LEFT + step * (index + 0.5)), HEIGHT - 8, bar.label)
            for index, bar in enumerate(bars)
            if index % every == 0
        ),
    )
    return format_html(
        '<svg role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}" font-size="12" fill="currentColor">'
        "{}{}{}</svg>",
        title,
        WIDTH,
        HEIGHT,
        WIDTH,
        HEIGHT,
        grid,
        columns,
        labels,
    )


def _round_up(fen: int) -> int:
    """The next 1, 2 or 5 with zeros behind, so that the lines stand at round amounts; 4 fen at least."""
    unit = LINES
    while True:
        for factor in (1, 2, 5):
            if unit * factor >= fen:
                return unit * factor
        unit *= 10


def _text(value: float) -> str:
    return f"{value:.1f}"
