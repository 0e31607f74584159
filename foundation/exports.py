"""Tables that people open in a spreadsheet. Every export goes through here.

A cell that begins with `=`, `+`, `-`, `@`, tab or carriage return is a formula to a spreadsheet, and its text may come
from a stranger: a memo, a greeting, a name. Such a text gets an apostrophe in front, which spreadsheets take for "text
follows" (OWASP, CSV Injection). Numbers are given as int and stay numbers: -5 is minus five. Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

Cell = str | int | None
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The last four: full-width forms, which some spreadsheets turn into the plain ones."""
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads UTF-8 as the code page of the machine."""


def safe_cell(value: Cell) -> str:
    """The text of one cell: nothing that a spreadsheet would calculate. "" for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(int(value))
    text = value.replace("\x00", "")
    # Blanks in front hide the sign from us, but not from every spreadsheet.
    return f"'{text}" if text.startswith(FORMULA_STARTS) or text.lstrip().startswith(FORMULA_STARTS) else text


def csv_lines(rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The rows as lines of CSV (RFC 4180, CRLF), one by one for answers that are streamed; a BOM before the first."""
    before = BYTE_ORDER_MARK
    for row in rows:
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([safe_cell(cell) for cell in row])
        yield before + line.getvalue()
        before = ""
