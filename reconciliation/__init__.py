"""Reconciliation (对账): the providers' bills against our books, row by row.

Pure so far: `domain.bills` reads WeChat's and Alipay's files and mapped tables as streams, `domain.matching` merges two
sorted sides into matches and named differences. Called by nobody yet; calls gateway.ports and foundation.money. No
tables. Invariant: every row of either side ends in exactly one finding, or is a row that a person must read.
"""
