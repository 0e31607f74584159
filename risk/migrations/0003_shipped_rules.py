"""The rules the platform comes with, as version 1 of each rule set, made by nobody and active from the start.

Source: the requirements (每天提现次数不能超过 3 次，每天提现金额不能超过 1 万) and the limits of second-class bank accounts
(Ⅱ类户, 10 000 yuan a day, 200 000 yuan a year), which are templates and off. Frozen here: what later versions of the
code ship comes as migrations of their own or not at all.
"""

import datetime as dt
import hashlib
import json

from django.db import migrations

LISTS = [
    {
        "code": "ALLOW_LIST",
        "title_en": "On the allow list",
        "title_zh": "白名单",
        "expression": "on_allow_list",
        "action": "PASS",
    },
    {
        "code": "BLOCK_LIST",
        "title_en": "On the block list",
        "title_zh": "黑名单",
        "expression": "on_block_list",
        "action": "REJECT",
        "reason_en": "This request cannot be carried out. Please contact your administrator.",
        "reason_zh": "无法办理该业务，请联系管理员。",
    },
]
WITHDRAWAL = [
    {
        "code": "DAILY_COUNT",
        "title_en": "At most 3 withdrawals a day",
        "title_zh": "每天提现不超过 3 次",
        "expression": "count_today >= 3",
        "action": "REJECT",
        "reason_en": "You can withdraw 3 times a day. Please come back tomorrow.",
        "reason_zh": "每天最多提现 3 次，请明天再试。",
        "until": "DAY",
    },
    {
        "code": "DAILY_AMOUNT",
        "title_en": "At most 10 000 yuan a day",
        "title_zh": "每天提现不超过 1 万元",
        "expression": "amount_today_fen + amount_fen > 1000000",
        "action": "REJECT",
        "reason_en": "You can withdraw ¥10,000 a day. Please choose a smaller amount or come back tomorrow.",
        "reason_zh": "每天最多提现 10,000 元，请减少金额或明天再试。",
        "until": "DAY",
    },
    {
        "code": "SECOND_CLASS_DAY",
        "title_en": "Template: second-class account, at most 10 000 yuan a day",
        "title_zh": "模板：Ⅱ类户每天不超过 1 万元",
        "expression": "card_is_second_class and card_amount_today_fen + amount_fen > 1000000",
        "action": "REJECT",
        "mode": "OFF",
        "reason_en": "This bank account can take ¥10,000 a day.",
        "reason_zh": "该银行账户为Ⅱ类户，每天最多转入 10,000 元。",
        "until": "DAY",
    },
    {
        "code": "SECOND_CLASS_YEAR",
        "title_en": "Template: second-class account, at most 200 000 yuan a year",
        "title_zh": "模板：Ⅱ类户每年不超过 20 万元",
        "expression": "card_is_second_class and card_amount_this_year_fen + amount_fen > 20000000",
        "action": "REJECT",
        "mode": "OFF",
        "reason_en": "This bank account can take ¥200,000 a year.",
        "reason_zh": "该银行账户为Ⅱ类户，每年最多转入 200,000 元。",
        "until": "YEAR",
    },
]
TABLES = {
    "withdrawal": [*LISTS, *WITHDRAWAL],
    "transfer": LISTS,
    "recharge": LISTS,
    "redpacket_send": LISTS,
}
SHIPPED_AT = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
EMPTY = {"reason_en": "", "reason_zh": "", "until": "NONE", "mode": "LIVE", "score": 0}


def ship(apps, schema_editor):
    alias = schema_editor.connection.alias
    rule_sets, versions, rows = (
        apps.get_model("risk", name).objects.using(alias) for name in ("RuleSet", "RuleVersion", "RuleRow")
    )
    for action, table in TABLES.items():
        rule_set, _ = rule_sets.get_or_create(action=action)
        if versions.filter(rule_set=rule_set).exists():
            continue
        version = versions.create(
            rule_set=rule_set,
            number=1,
            state="DRAFT",
            note="Rules the platform comes with.",
            made_by_id=0,
            made_by_name="platform",
            made_at=SHIPPED_AT,
        )
        contents = [{**EMPTY, **row, "position": position} for position, row in enumerate(table, start=1)]
        for content in contents:
            rows.create(version=version, **content)
        versions.filter(pk=version.pk).update(
            state="ACTIVE",
            active_once=rule_set.pk,
            submitted_at=SHIPPED_AT,
            decided_at=SHIPPED_AT,
            digest=_digest(action, contents),
        )
        rule_sets.filter(pk=rule_set.pk).update(active=version, generation=1, activated_at=SHIPPED_AT)


def _digest(action, contents):
    """As risk.domain.versions.digest makes it."""
    content = [action, {"review_score": 0, "reject_score": 0}, contents]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class Migration(migrations.Migration):
    dependencies = [("risk", "0002_guards")]
    operations = [migrations.RunPython(ship, migrations.RunPython.noop, hints={"role": "default"})]
