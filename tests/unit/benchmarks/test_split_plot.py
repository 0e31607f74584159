from __future__ import annotations

from pathlib import Path

from benchmarks import split

FIGURE = Path(__file__).resolve().parents[3] / "docs" / "red-packet-split.svg"


def test_the_figure_in_the_documents_is_the_one_that_the_program_draws() -> None:
    assert split.plot() == FIGURE.read_text(encoding="utf-8")
