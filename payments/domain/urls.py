"""Which addresses our callbacks may go to: against requests that a receiver bends to our own network (SSRF).

Source: design `faults.md` 4.8. The URL is judged when it is registered and again before each sending; the address it
resolves to is judged each time and then connected to, so that a second look-up cannot say something else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_URL_LENGTH = 500
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RefusedAddress(ValueError):
    """The URL or what it leads to is none that we call; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a callback goes. `host` without brackets; `target` is path and query as they are sent and signed."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str, *, is_http_allowed: bool) -> Target:
    """The parts of a callback URL; raises RefusedAddress.

    https only (http where allowed), no user name, no fragment, no backslash, nothing but visible ASCII.
    """
    if len(url) > MAX_URL_LENGTH or not _VISIBLE.fullmatch(url) or "\\" in url or "#" in url:
        raise RefusedAddress("not a plain URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedAddress("not a URL") from error
    if parts.scheme not in (("https", "http") if is_http_allowed else ("https",)):
        raise RefusedAddress("https only")
    if "@" in parts.netloc or parts.hostname is None:
        raise RefusedAddress("a host without user name is needed")
    host = parts.hostname.lower()
    if not _HOST.fullmatch(f"[{host}]" if ":" in host else host) or port == 0:
        raise RefusedAddress("not a host")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], target=target)


def choose_address(found: Iterable[str], *, allowed: Iterable[str] = ()) -> str:
    """The first of a host's addresses when every one of them may be called; raises RefusedAddress otherwise.

    `allowed` names networks ("127.0.0.1/32") that may be called though they are not public.
    """
    addresses = list(dict.fromkeys(found))
    networks = [ipaddress.ip_network(network) for network in allowed]
    if not addresses:
        raise RefusedAddress("the host has no address")
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            raise RefusedAddress("not an address") from error
        if not is_public(address) and not any(address in network for network in networks):
            raise RefusedAddress("the host is not on the public internet")
    return addresses[0]


def is_public(address: Address) -> bool:
    """False for private, loopback, link-local, shared, multicast and reserved addresses, in whatever disguise."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or address.is_site_local:
            return False
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if hidden is None and address in _NAT64:
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is None and int(address) >> 32 == 0:  # ::a.b.c.d, the old compatible form
            return False
        if hidden is not None:
            return is_public(hidden)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
