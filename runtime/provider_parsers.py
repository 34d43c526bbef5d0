"""The parsers of the settings of an OpenID provider, in the form of those in parsers.py."""

import re
from importlib.util import find_spec

from formats.private_url import is_private
from observability.build import how_to_install
from runtime.parsers import require_printable
from runtime.settings_table import refuse


def issuer(name: str, value: str) -> str:
    """The `iss` of a provider, which its tokens repeat to the letter."""
    require_printable(name, value)
    if not is_private(value) or set(value) & set("?# "):
        raise refuse(name, "must be https://HOST[/PATH], or http:// on this machine, exactly as `iss` in its tokens")
    if "/.well-known/" in value:
        raise refuse(name, "must be the issuer alone: /.well-known/openid-configuration is appended")
    if find_spec("cryptography") is None:
        raise refuse(name, f"needs cryptography: `{how_to_install('oidc')}`")
    return value


def public_url(name: str, value: str) -> str:
    """The address of the service in a browser, without a slash at the end."""
    require_printable(name, value)
    url = value.removesuffix("/")
    if not is_private(url) or not re.fullmatch(r"https?://[^/]+(/[\w.~-]+)*", url, re.ASCII):
        raise refuse(name, "must be https://HOST[:PORT][/PATH], or http:// on this machine, as a browser sends it")
    return url


def scopes(name: str, value: str) -> tuple[str, ...]:
    """Scopes with spaces between (RFC 6749 section 3.3)."""
    found = tuple(value.split(" "))
    if "openid" not in found or not all(re.fullmatch(r"[!#-\[\]-~]+", scope) for scope in found):
        raise refuse(name, "must be scopes with one space between, openid among them")
    return found


def names(name: str, value: str) -> tuple[str, ...]:
    """Names with commas between; white space around each is no part of it."""
    require_printable(name, value)
    found = tuple(word.strip() for word in value.split(","))
    if not all(found):
        raise refuse(name, "must be names with commas between, none of them empty")
    return found


def chosen_names(name: str, value: str) -> tuple[str, ...]:
    """The same, without the one that stands for everybody."""
    found = names(name, value)
    if "*" in found:
        raise refuse(name, "must name the groups: * would make everybody an admin")
    return found


def text(name: str, value: str) -> str:
    require_printable(name, value)
    return value


def accept_or_refuse(name: str, value: str) -> bool:
    if value not in ("accept", "refuse"):
        raise refuse(name, "must be accept or refuse")
    return value == "accept"
