"""Where a key is good: the hosts that it is good for, and the networks that it may be used from. Pure functions."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

MAX_HOSTS = 20
MAX_NETWORKS = 50
MAX_HOST = 253  # characters (RFC 1035)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = rf"^(\*\.)?{_LABEL}(\.{_LABEL})*\Z"  # lower case; `*.` stands for exactly one label, as in a certificate
_PORT = re.compile(r":[0-9]{1,5}\Z")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """A CIDR block (RFC 4632). Raises ValueError, also for a block with bits beyond its length, which is a typo."""
    if "%" in text:
        raise ValueError("a zone means something on one machine alone")
    return ipaddress.ip_network(text)


def host_of(header: str) -> str | None:
    """The host name in a Host header, without the port; None for several, and for a pattern."""
    host = _PORT.sub("", header.strip()).lower().removesuffix(".")
    return None if not host or set(host) & set(", *") else host


def is_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host is one of these. A pattern is a host of itself, and covered by another one in the same way."""
    return any(host == pattern or _matches(host, pattern) for pattern in patterns)


def _matches(host: str, pattern: str) -> bool:
    first, dot, rest = host.partition(".")
    return pattern.startswith("*.") and bool(first and dot) and first != "*" and rest == pattern[2:]


@lru_cache(maxsize=1024)
def is_inside(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network(block) for block in networks)


def covers(networks: Iterable[str], wanted: str) -> bool:
    """Whether a network lies within one of these."""
    inner = network(wanted)
    return any(_within(inner, network(block)) for block in networks)


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
