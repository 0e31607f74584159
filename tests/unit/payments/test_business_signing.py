"""The signature of business requests and the addresses callbacks may go to."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from payments.domain import callback_retries, signing, urls
from payments.domain.signing import SignedMessage

NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
MESSAGE = SignedMessage(
    method="POST", target="/api/v1/payments?a=1", timestamp="1795312800", nonce="nonce-0001", body=b'{"a":1}'
)
KNOWN = "b2801bd178453125c7fa15a8fa03decbbe0900810adbce9b32385dd801f708bc"
"""Made by `openssl dgst -sha256 -hmac`, not by our own code."""


def test_the_signature_is_the_hmac_of_five_lines():
    assert signing.sign(secret="s3cret", message=MESSAGE) == KNOWN


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"target": "/api/v1/payments?a=2"},
        {"timestamp": "1795312801"},
        {"nonce": "nonce-0002"},
        {"body": b'{"a":2}'},
    ],
)
def test_every_part_counts(change):
    signature = signing.sign(secret="s3cret", message=MESSAGE)
    assert signing.is_signed(secrets=["s3cret"], message=MESSAGE, signature=signature)
    assert not signing.is_signed(
        secrets=["s3cret"], message=dataclasses.replace(MESSAGE, **change), signature=signature
    )


def test_either_secret_of_an_overlap_signs_and_no_other():
    signature = signing.sign(secret="old", message=MESSAGE)
    assert signing.is_signed(secrets=["new", "old"], message=MESSAGE, signature=signature)
    assert not signing.is_signed(secrets=["new"], message=MESSAGE, signature=signature)
    assert not signing.is_signed(secrets=[], message=MESSAGE, signature=signature)
    assert not signing.is_signed(secrets=["old"], message=MESSAGE, signature="ü" + signature)


@pytest.mark.parametrize(("seconds", "is_fresh"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_window_is_300_seconds_to_either_side(seconds, is_fresh):
    timestamp = str(int(NOW.timestamp()) + seconds)
    assert signing.is_fresh(timestamp=timestamp, nonce="nonce-0001", now=NOW) is is_fresh


@pytest.mark.parametrize(
    ("timestamp", "nonce"),
    [
        ("", "nonce-0001"),
        ("-5", "nonce-0001"),
        ("1795312800.5", "nonce-0001"),
        ("١٧٩٥٣١٢٨٠٠", "nonce-0001"),
        ("1795312800", ""),
        ("1795312800", "short12"),
        ("1795312800", "n" * 65),
        ("1795312800", "with space"),
    ],
)
def test_malformed_times_and_nonces_are_not_fresh(timestamp, nonce):
    assert not signing.is_fresh(timestamp=timestamp, nonce=nonce, now=NOW)


def test_parts_of_a_callback_url():
    target = urls.parse_target("https://Shop.Example:8443/pay/cb?x=1", is_http_allowed=False)
    assert (target.scheme, target.host, target.port, target.target) == ("https", "shop.example", 8443, "/pay/cb?x=1")
    assert target.host_header == "shop.example:8443"
    plain = urls.parse_target("https://shop.example", is_http_allowed=False)
    assert (plain.port, plain.target, plain.host_header) == (443, "/", "shop.example")
    assert urls.parse_target("https://[2606:4700::1]/", is_http_allowed=False).host_header == "[2606:4700::1]"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "gopher://shop.example/",
        "//shop.example/",
        "shop.example/cb",
        "https://",
        "https:///cb",
        "https://user@shop.example/",
        "https://user:pass@shop.example/",
        "https://shop.example#@127.0.0.1/",
        "https://shop.example\\@127.0.0.1/",
        "https://shop.example/ a",
        "https://shop.example/\r\nX: 1",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example:port/",
        "https://ⓔxample.com/",
        "https://shop_example%2f/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://shop.example/" + "a" * 500,
    ],
)
def test_urls_that_are_refused(url):
    with pytest.raises(urls.RefusedAddress):
        urls.parse_target(url, is_http_allowed=False)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "2001:0:0:0:0:0:f5ff:fffe",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "100::1",
        "not an address",
        "0177.0.0.1",
    ],
)
def test_addresses_that_are_refused(address):
    with pytest.raises(urls.RefusedAddress):
        urls.choose_address([address])
    with pytest.raises(urls.RefusedAddress):
        urls.choose_address(["93.184.215.14", address])


def test_public_addresses_are_taken_in_their_order():
    assert urls.choose_address(["93.184.215.14", "2606:4700::1"]) == "93.184.215.14"
    assert urls.choose_address(["2606:4700::1"]) == "2606:4700::1"
    assert urls.choose_address(["64:ff9b::5db8:d70e"]) == "64:ff9b::5db8:d70e"
    with pytest.raises(urls.RefusedAddress):
        urls.choose_address([])


def test_an_allowed_network_opens_itself_only():
    assert urls.choose_address(["127.0.0.1"], allowed=["127.0.0.1/32"]) == "127.0.0.1"
    for address in ("127.0.0.2", "::ffff:127.0.0.1", "10.0.0.1"):
        with pytest.raises(urls.RefusedAddress):
            urls.choose_address([address], allowed=["127.0.0.1/32"])


def test_retries_grow_and_go_on_for_at_least_a_day():
    pauses = [
        (callback_retries.next_try(now=NOW, tries=tries, chance=0.0) - NOW).total_seconds() for tries in range(1, 12)
    ]
    assert pauses == [15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 3600, 3600]
    assert callback_retries.next_try(now=NOW, tries=1, chance=1.0) - NOW == dt.timedelta(seconds=18)
    assert dt.timedelta(hours=24) == callback_retries.RETRY_WINDOW


def test_the_breaker_pauses_from_the_fifth_failure_on():
    pauses = [callback_retries.pause(failures_in_row=count).total_seconds() for count in (1, 4, 5, 6, 7, 8, 100)]
    assert pauses == [0, 0, 30, 60, 120, 300, 300]
