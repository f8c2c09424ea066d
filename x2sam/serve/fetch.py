"""Media from addresses, where the service allows it: never from private ones, whatever a name or a redirect says."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urljoin, urlsplit

import httpx

from x2sam.errors import InputError, MediaError
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import too_many_bytes

REDIRECTS = 3
SECONDS = 20.0
TUNNELS = [ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/32", "2001::/32", "2002::/16")]
"""Addresses that stand for others, which may be private."""


def fetch(url: str, limits: Limits) -> bytes:
    """The bytes behind an http or https address.

    The name is looked up once and the connection goes to what was found, so that it cannot change in between.
    Raises InputError, MediaError, TooLarge.
    """
    if not limits.fetch_urls:
        raise InputError("Got an address for a medium", "a data: URL", "This service does not fetch from others")
    with httpx.Client(timeout=SECONDS, trust_env=False, follow_redirects=False) as client:
        for _ in range(REDIRECTS + 1):
            parts = urlsplit(url)
            host = parts.hostname or ""
            if parts.scheme not in ("http", "https") or parts.username is not None:
                raise InputError(f"Got the address {url[:200]!r}", "http or https, without a user")
            target = httpx.URL(url).copy_with(host=public_address(host))
            extensions = {"sni_hostname": host}
            try:
                with client.stream("GET", target, headers={"Host": parts.netloc}, extensions=extensions) as answer:
                    if answer.is_redirect:
                        url = urljoin(url, answer.headers["location"])
                        continue
                    answer.raise_for_status()
                    return _read(answer, limits)
            except httpx.HTTPError as error:
                raise MediaError(
                    f"Got {url[:200]}, which cannot be fetched ({type(error).__name__})", "an address that answers"
                ) from None
    raise MediaError(f"Got {url[:200]}, which leads on and on", f"at most {REDIRECTS} redirects")


def public_address(host: str) -> str:
    """An address of the host; raises InputError where any of them is not for the whole world."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        raise MediaError(f"Got the host {host[:100]!r}, which is not known", "a name that exists") from None
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        tunnelled = any(address in network for network in TUNNELS)
        if not address.is_global or address.is_multicast or tunnelled:
            raise InputError(f"Got the host {host[:100]!r}, which is private", "a public address")
    return sorted(found)[0]


def _read(answer: httpx.Response, limits: Limits) -> bytes:
    got = bytearray()
    for chunk in answer.iter_raw():
        got += chunk
        if len(got) > limits.json_bytes:
            raise too_many_bytes(limits.json_bytes)
    return bytes(got)
