"""Tables of the merchant that open in a spreadsheet (foundation.exports): amounts in yuan, times of Asia/Shanghai."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping

from collect.models import Collection
from collect.selectors import Figures
from foundation import clock
from foundation.exports import Cell
from foundation.money import yuan_text

COLLECTION_COLUMNS = (
    *("收款单 Collection", "订单号 Order", "状态 State", "渠道 Channel", "金额(元) Amount", "已退(元) Refunded"),
    *("事由 Subject", "CRM 订单 CRM order", "收款码 Code", "收款人 Collector"),
    *("发起 Begun", "付款 Paid", "渠道单号 Provider's number"),
)
FIGURE_COLUMNS = ("日期 Day", "渠道 Channel", "笔数 Count", "收款(元) Collected", "退款(元) Refunded", "净额(元) Net")


def collection_rows(rows: Iterable[Collection]) -> Iterator[tuple[Cell, ...]]:
    """A head line and one line for each collection."""
    yield COLLECTION_COLUMNS
    for row in rows:
        yield (
            row.pk,
            row.order_no,
            row.state,
            row.channel,
            yuan_text(row.amount_fen),
            yuan_text(row.refunded_fen),
            row.code.subject,
            row.code.crm_order_no,
            row.code_id,
            row.code.employee.code,
            _time(row.created_at),
            _time(row.paid_at),
            row.provider_no,
        )


def statement_rows(
    *, days: Mapping[dt.date, Figures], channels: Mapping[str, Figures], total: Figures
) -> Iterator[tuple[Cell, ...]]:
    """The month's days, then its channels, then the sum."""
    yield FIGURE_COLUMNS
    for day, figures in days.items():
        yield (day.isoformat(), "", *_figures(figures))
    for channel, figures in channels.items():
        yield ("", channel, *_figures(figures))
    yield ("合计 Total", "", *_figures(total))


def _figures(figures: Figures) -> tuple[Cell, ...]:
    return (
        figures.count,
        yuan_text(figures.amount_fen),
        yuan_text(figures.refunded_fen),
        yuan_text(figures.net_fen),
    )


def _time(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"
