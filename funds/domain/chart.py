"""The chart of accounts (科目表): every code that can be posted to, and what it means.

Source: design `money.md` (Accounts) and `accounts.md` section 1. A red packet's and a withdrawal's frozen money is the
FROZEN bucket of its owner's account; in the trial balance that bucket carries a code of its own (`frozen_code`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccountType(StrEnum):
    """Decides on which side a balance normally stands. MEMO is off the books: it balances among itself."""

    ASSET = "ASSET"
    LIABILITY = "LIABILITY"
    EQUITY = "EQUITY"
    INCOME = "INCOME"
    EXPENSE = "EXPENSE"
    MEMO = "MEMO"


class OwnerKind(StrEnum):
    """Whose account it is."""

    EMPLOYEE = "EMPLOYEE"
    ENTERPRISE = "ENTERPRISE"
    PLATFORM = "PLATFORM"


@dataclass(frozen=True, kw_only=True)
class Title:
    """One line of the chart. `per`: what tells two accounts of this code apart (their `owner_id`).

    `max_age_days`: how old money in transit or in suspense may grow before it is reported; None: no limit.
    """

    code: str
    name: str
    name_zh: str
    type: AccountType
    owner: OwnerKind
    per: str
    frozen_code: str = ""
    max_age_days: int | None = None

    @property
    def is_debit_normal(self) -> bool:
        """Assets and expenses stand on the debit side, which is negative in signed postings."""
        return self.type in (AccountType.ASSET, AccountType.EXPENSE)


def _platform(
    code: str, name: str, name_zh: str, kind: AccountType, per: str = "channel", max_age_days: int | None = None
) -> Title:
    return Title(
        code=code,
        name=name,
        name_zh=name_zh,
        type=kind,
        owner=OwnerKind.PLATFORM,
        per=per,
        max_age_days=max_age_days,
    )


_A, _L, _Q = AccountType.ASSET, AccountType.LIABILITY, AccountType.EQUITY
_I, _X, _M = AccountType.INCOME, AccountType.EXPENSE, AccountType.MEMO

TITLES: tuple[Title, ...] = (
    _platform("1010", "Bank", "银行存款", _A, per="bank account"),
    _platform("1110", "Channel clearing", "渠道待清算", _A),
    _platform("1120", "Payout float", "付款备付金", _A),
    _platform("1190", "Receivable", "应收款", _A, per="employee or enterprise"),
    _platform("1910", "Suspense, short", "待处理短款", _A, max_age_days=30),
    Title(
        code="2010",
        name="Customer available",
        name_zh="用户可用余额",
        type=_L,
        owner=OwnerKind.EMPLOYEE,
        per="employee",
        frozen_code="2020",
    ),
    Title(
        code="2110",
        name="Enterprise available",
        name_zh="企业可用余额",
        type=_L,
        owner=OwnerKind.ENTERPRISE,
        per="enterprise",
        frozen_code="2120",
    ),
    _platform("2210", "Collected for merchants, unsettled", "代收未结算", _L, per="merchant"),
    _platform("2310", "Payout in transit", "付款在途", _L, max_age_days=7),
    _platform("2320", "Refund in transit", "退款在途", _L, max_age_days=7),
    _platform("2410", "Payments to return", "待退回款项", _L, max_age_days=3),
    _platform("2910", "Suspense, over", "待处理长款", _L, max_age_days=30),
    _platform("2990", "Fee collected, undetermined", "待定手续费", _L, per="one"),
    _platform("3010", "Operator capital", "运营资本", _Q, per="one"),
    _platform("4010", "Fee income: withdrawals", "提现手续费收入", _I, per="product"),
    _platform("4020", "Fee income: collection", "收款手续费收入", _I, per="product"),
    _platform("4030", "Fee income: other", "其他手续费收入", _I, per="product"),
    _platform("4090", "Found money written off", "长款核销收入", _I, per="one"),
    _platform("5010", "Channel cost", "渠道成本", _X),
    _platform("5020", "Subsidy", "补贴", _X, per="campaign"),
    _platform("5090", "Loss written off", "损失核销", _X, per="one"),
    _platform("9010", "Memo: collected directly, receivable", "直收备查（应收）", _M, per="enterprise"),
    _platform("9020", "Memo: collected directly, contra", "直收备查（对方）", _M, per="enterprise"),
)

CHART: dict[str, Title] = {title.code: title for title in TITLES}

FROZEN_NAMES: dict[str, tuple[str, str]] = {
    "2020": ("Customer frozen", "用户冻结余额"),
    "2120": ("Enterprise frozen", "企业冻结余额"),
}
"""Names of the frozen buckets' own lines in the trial balance."""


def title_of(code: str) -> Title:
    """The chart's line of a posting code; KeyError for a code that is not in the chart."""
    return CHART[code]


def report_code(code: str, *, is_frozen: bool) -> str:
    """The code under which a bucket stands in the trial balance."""
    return CHART[code].frozen_code if is_frozen else code


def report_name(code: str) -> tuple[str, str]:
    """(English, Chinese) name of a line of the trial balance, frozen buckets included."""
    if code in FROZEN_NAMES:
        return FROZEN_NAMES[code]
    return CHART[code].name, CHART[code].name_zh
