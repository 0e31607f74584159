"""Banks that payouts go to: code of the API, name as 99bill writes it. Pure."""

from __future__ import annotations

BANKS: dict[str, str] = {
    "ICBC": "中国工商银行",
    "ABC": "中国农业银行",
    "BOC": "中国银行",
    "CCB": "中国建设银行",
    "BCOM": "交通银行",
    "CMB": "招商银行",
    "CMBC": "中国民生银行",
    "CITIC": "中信银行",
    "CEB": "中国光大银行",
    "HXB": "华夏银行",
    "SPDB": "上海浦东发展银行",
    "CIB": "兴业银行",
    "PAB": "平安银行",
    "GDB": "广发银行",
    "PSBC": "中国邮政储蓄银行",
    "BOS": "上海银行",
    "BOB": "北京银行",
}
