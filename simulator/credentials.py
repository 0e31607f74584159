"""Keys and numbers that the simulated provider and its one merchant share, kept in a directory.

`credentials.json` (WeChat), `alipay.json` and `kuaiqian.json` are what the merchant's side reads; key files are named
relative to them. All files have mode 0600.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from simulator.alipay import keys as alipay_keys
from simulator.alipay.keys import AlipayCredentials
from simulator.keyfiles import load_private, load_public, make_pair, write_new
from simulator.kuaiqian import keys as kuaiqian_keys
from simulator.kuaiqian.keys import KuaiqianCredentials

FILE_NAME = "credentials.json"
APIV3_KEY_LENGTH = 32
"""Characters, i.e. bytes of an AES-256 key."""
TRANSFER_SCENE_ID = "1005"
"""佣金报酬, the one scene of payouts that WeChat has granted to this merchant."""
TRANSFER_SCENE_REPORT: tuple[Mapping[str, str], ...] = (
    {"info_type": "岗位类型", "info_content": "员工"},
    {"info_type": "报酬说明", "info_content": "账户提现"},
)
"""What each payout of the scene must report: these types, any contents."""


class CredentialsMissing(Exception):
    """The directory has no readable credentials; `python -m simulator init` makes them."""


@dataclass(frozen=True, kw_only=True)
class CredentialsFile:
    """The fields of `credentials.json`, in this order."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_private_key_file: str
    merchant_public_key_file: str
    apiv3_key: str
    platform_public_key_id: str
    platform_public_key_file: str
    platform_private_key_file: str
    transfer_scene_id: str = TRANSFER_SCENE_ID
    transfer_scene_report_infos: tuple[Mapping[str, str], ...] = TRANSFER_SCENE_REPORT


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """What the provider's side works with; never printed."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_public_key: RSAPublicKey
    apiv3_key: str
    platform_public_key_id: str
    platform_private_key: RSAPrivateKey
    alipay: AlipayCredentials
    kuaiqian: KuaiqianCredentials


def initialise(*, directory: Path) -> Path:
    """Makes what is missing and returns the path of `credentials.json`; what exists is never overwritten.

    Safe to repeat, also after a crash in the middle: the JSON file is written last, all at once.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    alipay_keys.initialise(directory=directory)
    kuaiqian_keys.initialise(directory=directory)
    target = directory / FILE_NAME
    if target.exists():
        return target
    numbers = "".join(secrets.choice(string.digits) for _ in range(8))
    letters = string.ascii_letters + string.digits
    content = CredentialsFile(
        mchid=f"19{numbers}",
        appid=f"wx{secrets.token_hex(8)}",
        merchant_serial_no=secrets.token_hex(20).upper(),
        merchant_private_key_file="merchant_private_key.pem",
        merchant_public_key_file="merchant_public_key.pem",
        apiv3_key="".join(secrets.choice(letters) for _ in range(APIV3_KEY_LENGTH)),
        platform_public_key_id=f"PUB_KEY_ID_0119{numbers}{secrets.randbelow(10**16):016d}",
        platform_public_key_file="platform_public_key.pem",
        platform_private_key_file="platform_private_key.pem",
    )
    for private_name, public_name in (
        (content.merchant_private_key_file, content.merchant_public_key_file),
        (content.platform_private_key_file, content.platform_public_key_file),
    ):
        make_pair(private_file=directory / private_name, public_file=directory / public_name)
    write_new(target, (json.dumps(asdict(content), indent=2) + "\n").encode("ascii"))
    return target


def load(*, directory: Path) -> Credentials:
    """Reads the files; CredentialsMissing when one is missing or not of the documented form."""
    path = directory / FILE_NAME
    try:
        content = CredentialsFile(**json.loads(path.read_text(encoding="utf-8")))
        merchant_public_key = load_public(directory / content.merchant_public_key_file)
        platform_private_key = load_private(directory / content.platform_private_key_file)
        alipay = alipay_keys.load(directory=directory)
        kuaiqian = kuaiqian_keys.load(directory=directory)
    except (OSError, ValueError, TypeError) as error:
        raise CredentialsMissing(f"{path}: {error}; run: python -m simulator init --directory {directory}") from error
    return Credentials(
        mchid=content.mchid,
        appid=content.appid,
        merchant_serial_no=content.merchant_serial_no,
        merchant_public_key=merchant_public_key,
        apiv3_key=content.apiv3_key,
        platform_public_key_id=content.platform_public_key_id,
        platform_private_key=platform_private_key,
        alipay=alipay,
        kuaiqian=kuaiqian,
    )
