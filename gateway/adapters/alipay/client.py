"""The SDK behind one function: ask. Credentials, address, time-out, clock and the meaning of every failure.

What the SDK leaves to its user or does oddly is fenced here (design `providers.md` 1.2): the address is a private
attribute; the certificate client takes no time-out; the time stamp follows the zone of the process, so ours is passed;
an answer without signature is an exception and decides nothing; its search for the signed part fails on some genuine
answers, so a failed verification is "unknown", too.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alipay import AliPay, DCAliPay
from alipay.exceptions import AliPayException, AliPayValidationError
from alipay.utils import AliPayConfig
from celery.exceptions import SoftTimeLimitExceeded

from foundation import clock
from gateway.adapters.alipay import fields

SIGN_TYPE = "RSA2"
CERTIFICATE_FIELDS = ("app_certificate_file", "alipay_certificate_file", "alipay_root_certificate_file")
CODE_DONE = "10000"


@dataclass(frozen=True, kw_only=True)
class AlipayConfig:
    """`credentials_file`: JSON with the keys of read_credentials; key files are named relative to it.

    `timeout_seconds`: of each step of a call (connect, each read): the SDK knows no other.
    """

    gateway_url: str
    credentials_file: str
    timeout_seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """One merchant's secrets; never printed. The three certificates are all there or all empty."""

    app_id: str
    seller_id: str
    app_private_key: str
    alipay_public_key: str = ""
    app_certificate: str = ""
    alipay_certificate: str = ""
    alipay_root_certificate: str = ""

    @property
    def has_certificates(self) -> bool:
        return bool(self.app_certificate)


class AddressNotSettable(Exception):
    """The SDK does not keep its address or time-out where the adapter sets it; nothing may be sent anywhere."""


class NoAnswer(Exception):
    """There is no signed answer: whether the provider did anything is unknown. `code` is lower-case machine text."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message
        super().__init__(code)


def read_credentials(credentials_file: str) -> Credentials:
    """Reads the JSON file and the key files; OSError or ValueError when something is missing or empty.

    Keys: app_id, seller_id, app_private_key_file and either alipay_public_key_file (public-key mode) or the three
    CERTIFICATE_FIELDS (certificate mode, which transfers need).
    """
    path = Path(credentials_file)
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        has_certificates = any(data.get(name) for name in CERTIFICATE_FIELDS)
        files = ("app_private_key_file", *(CERTIFICATE_FIELDS if has_certificates else ("alipay_public_key_file",)))
        contents = {
            name.removesuffix("_file"): (path.parent / data[name]).read_text(encoding="ascii") for name in files
        }
        found = {"app_id": str(data["app_id"]), "seller_id": str(data["seller_id"]), **contents}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from error
    if not all(value.strip() for value in found.values()):
        raise ValueError(f"{path.name}: a value or a file is empty")
    return Credentials(**found)


def build_client(config: AlipayConfig, credentials: Credentials) -> AliPay | DCAliPay:
    """The SDK's client, pointed at the configured address. No network. The only use of private attributes."""
    if credentials.has_certificates:
        client = DCAliPay(
            appid=credentials.app_id,
            app_private_key_string=credentials.app_private_key,
            app_public_key_cert_string=credentials.app_certificate,
            alipay_public_key_cert_string=credentials.alipay_certificate,
            alipay_root_cert_string=credentials.alipay_root_certificate,
            sign_type=SIGN_TYPE,
        )
        if not client.alipay_root_cert_sn or not client.app_cert_sn:
            raise ValueError("a certificate has no serial number that Alipay could know")
    else:
        client = AliPay(
            appid=credentials.app_id,
            app_private_key_string=credentials.app_private_key,
            alipay_public_key_string=credentials.alipay_public_key,
            sign_type=SIGN_TYPE,
        )
    if not isinstance(getattr(client, "_gateway", None), str) or not isinstance(
        getattr(client, "_config", None), AliPayConfig
    ):
        raise AddressNotSettable("python-alipay-sdk has no _gateway or _config any more: nothing can be set")
    client._gateway = config.gateway_url
    client._config = AliPayConfig(timeout=config.timeout_seconds)
    return client


def ask(client: AliPay, method: str, content: Mapping[str, Any], **common: str) -> dict[str, Any]:
    """The signed part of Alipay's answer, business failures included. NoAnswer for everything else."""
    stamp = fields.beijing_text(clock.now())
    try:
        data = client.server_api(method, dict(content), timestamp=stamp, **common)
    except SoftTimeLimitExceeded:
        raise
    except urllib.error.HTTPError as error:
        raise NoAnswer(f"http_{error.code}", type(error).__name__) from error
    except urllib.error.URLError as error:
        code = "timeout" if isinstance(error.reason, TimeoutError) else "network_error"
        raise NoAnswer(code, type(error.reason).__name__) from error
    except TimeoutError as error:
        raise NoAnswer("timeout", type(error).__name__) from error
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer("network_error", type(error).__name__) from error
    except AliPayValidationError as error:
        raise NoAnswer("answer_unverified") from error
    except AliPayException as error:
        raise NoAnswer("answer_unsigned", str(error)[:200]) from error
    except Exception as error:  # broken JSON, odd base64, missing nodes: the SDK lets all of it through
        raise NoAnswer("call_failed", type(error).__name__) from error
    if not isinstance(data, dict):
        raise NoAnswer("call_failed", "the signed part is no object")
    return data


def signed_query(client: AliPay, method: str, content: Mapping[str, Any], **common: str) -> str:
    """The signed, URL-encoded parameters of a page that the payer's browser opens. No network."""
    query: str = client.client_api(method, dict(content), timestamp=fields.beijing_text(clock.now()), **common)
    return query


def is_signed(client: AliPay, parameters: Mapping[str, str], signature: str) -> bool:
    """Whether Alipay signed these parameters (without sign and sign_type); False for whatever is malformed."""
    try:
        return client.verify(dict(parameters), signature) is True
    except Exception:  # odd base64, lone surrogates, …: a forgery may be anything, it must only fail
        return False
