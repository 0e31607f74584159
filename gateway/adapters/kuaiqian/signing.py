"""`k=v` strings and their signatures. Pure.

A field that is empty is left out, values stand as they are (not URL-encoded), the order is the document's. So a value
with `&` in it can be read anew as further fields under the same signature: `is_unambiguous` must hold of what we sign
and of what we believe. PKI: RSA
PKCS#1 v1.5, base64. MD5: the string with `&key=…` behind, upper-case hex; compared without regard to case.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

HASHES: Mapping[str, type[HashAlgorithm]] = {"sha1": SHA1, "sha256": SHA256}
"""99bill's demos signed with SHA-1 until about 2019 and with SHA-256 since; the contract decides."""

REQUEST_FIELDS = (
    *("inputCharset", "pageUrl", "bgUrl", "version", "language", "signType", "merchantAcctId"),
    *("payerName", "payerContactType", "payerContact", "payerIdType", "payerId", "payerIP"),
    *("orderId", "orderAmount", "orderTime", "orderTimestamp"),
    *("productName", "productNum", "productId", "productDesc", "ext1", "ext2", "payType", "bankId"),
    *("period", "cardIssuer", "cardNum", "remitType", "remitCode", "redoFlag", "pid"),
    *("submitType", "orderTimeOut", "extDataType", "extDataContent"),
)
"""The gateway's request; the order is the signing order."""
NOTICE_FIELDS = (
    *("merchantAcctId", "version", "language", "signType", "payType", "bankId", "orderId", "orderTime"),
    *("orderAmount", "bindCard", "bindMobile", "dealId", "bankDealId", "dealTime", "payAmount", "fee"),
    *("ext1", "ext2", "payResult", "aggregatePay", "errCode"),
)
ORDER_QUERY_FIELDS = (
    *("inputCharset", "version", "signType", "merchantAcctId", "queryType", "queryMode"),
    *("startTime", "endTime", "requestPage", "orderId"),
)
ORDER_ANSWER_FIELDS = (
    *("version", "signType", "merchantAcctId", "errCode", "currentPage", "pageCount", "pageSize", "recordCount"),
)
ORDER_DETAIL_FIELDS = (
    *("orderId", "orderAmount", "orderTime", "dealTime", "payResult", "payType", "payAmount", "fee", "dealId"),
)
"""`signInfo` of one order. Unproven: the demos do not check it; to be confirmed with the contract."""
REFUND_FIELDS = ("merchant_id", "version", "command_type", "orderid", "amount", "postdate", "txOrder")
REFUND_QUERY_FIELDS = (
    *("version", "signType", "merchantAcctId", "startDate", "endDate", "orderId", "requestPage"),
    *("rOrderId", "seqId", "extra_output_column"),
)
REFUND_ANSWER_FIELDS = (
    *("version", "signType", "merchantAcctId", "recordCount", "pageCount", "currentPage", "pageSize", "errCode"),
)
REFUND_DETAIL_FIELDS = ("orderId", "rOrderId", "sequenceId", "orderAmout", "orderTime", "lastUpdateTime", "status")
"""`signInfo` of one refund; `orderAmout` is 99bill's spelling. Unproven, as ORDER_DETAIL_FIELDS."""


def pairs_of(fields: Mapping[str, str], order: Sequence[str]) -> list[tuple[str, str]]:
    """The fields that have a value, in the given order."""
    return [(name, fields[name]) for name in order if fields.get(name)]


def is_unambiguous(pairs: Sequence[tuple[str, str]]) -> bool:
    """No other fields give the same string: with no `&` in any value it can be taken apart in one way only."""
    return not any("&" in value for _, value in pairs)


def join(pairs: Sequence[tuple[str, str]], *, separator: str = "&") -> str:
    """`k=v` of the pairs that have a value."""
    return separator.join(f"{name}={value}" for name, value in pairs if value)


def md5_upper(text: str) -> str:
    """99bill's own choice of digest; where a merchant may choose, PKI is the better one."""
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()


def is_same_hex(wanted: str, given: str) -> bool:
    """In constant time, without regard to case."""
    return hmac.compare_digest(wanted.lower().encode(), given.lower().encode("utf-8", "surrogatepass"))


def sign_rsa(*, key: RSAPrivateKey, hash_name: str, content: bytes) -> str:
    """base64 without line breaks."""
    return base64.b64encode(key.sign(content, PKCS1v15(), HASHES[hash_name]())).decode("ascii")


def is_signed_rsa(*, key: RSAPublicKey, hash_name: str, content: bytes, signature: str) -> bool:
    """False for whatever is not base64 of the right signature. Line breaks, and spaces for `+`, are put up with."""
    compact = signature.replace("\r", "").replace("\n", "").replace(" ", "+")
    try:
        key.verify(base64.b64decode(compact, validate=True), content, PKCS1v15(), HASHES[hash_name]())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
