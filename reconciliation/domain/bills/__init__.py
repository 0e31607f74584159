"""Readers of bills: each takes a binary stream and yields records.Event, holding one row at a time.

Columns are found by their header's names. A row that makes no sense becomes an UnreadRow and the next one is read; the
totals are counted over the rows that were read and compared with the file's own summary at its end.
"""
