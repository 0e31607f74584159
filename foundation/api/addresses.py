"""Whose address a request comes from, behind proxies of ours."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NEIGHBOURS_BITS = 64
"""An IPv6 line has a network of this size to itself: who counts requests must count all of it as one."""


def client_address(request: HttpRequest) -> str:
    """As `address_of`."""
    return address_of(request.META)


def address_of(environ: Mapping[str, Any]) -> str:
    """Who asks, as far as it is known; empty when settings.TRUSTED_PROXIES is None, and for what is no address.

    With n trusted proxies each has added the address it saw to X-Forwarded-For: the n-th from the end is the client's,
    what stands before it the client may have written himself. A peer outside of settings.TRUSTED_PROXY_NETWORKS is no
    proxy of ours: whatever it sends, the address is its own, as without any proxies. A local socket has no address, and
    only a proxy of ours can reach it.
    """
    proxies: int | None = settings.TRUSTED_PROXIES
    if proxies is None:
        return ""
    peer = str(environ.get("REMOTE_ADDR", ""))
    if proxies == 0 or (peer and not _is_proxy(peer, tuple(settings.TRUSTED_PROXY_NETWORKS))):
        return _plain(peer)
    seen = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    return _plain(seen[-proxies]) if len(seen) >= proxies else ""


def counted_address(address: str) -> str:
    """What stands for `address` where requests are counted: itself, of IPv6 its network."""
    found = ipaddress.ip_address(address)
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, NEIGHBOURS_BITS), strict=False))


@functools.lru_cache(maxsize=1024)
def _is_proxy(peer: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks)


def _plain(text: str) -> str:
    """The address in its usual form; IPv4 inside of IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text[:45])
    except ValueError:
        return ""
    inner = getattr(address, "ipv4_mapped", None)
    return str(inner or address)
