"""What a provider publishes (OpenID Connect Discovery 1.0): its addresses, and the keys that one of them leads to.

Its lists of algorithms are never read: what may be believed is decided here.
"""

from typing import Any, NamedTuple

from formats.private_url import is_private
from oidc.fetching import FetchFailed, fetch_object
from oidc.keyset import NO_KEYS, Keys, usable

WELL_KNOWN = "/.well-known/openid-configuration"


class Metadata(NamedTuple):
    """The addresses of a provider, None where it names none of use."""

    authorization: str | None = None
    token: str | None = None
    userinfo: str | None = None
    end_session: str | None = None
    scopes: frozenset[str] | None = None  # None: it does not say which it knows
    secret_in_body: bool = False  # how a client tells its secret; False: as RFC 6749 section 2.3.1 prefers
    names_itself: bool = False  # whether its answers to a browser say who it is (RFC 9207)


class Published(NamedTuple):
    """Both, as they were read at one time."""

    metadata: Metadata
    keys: Keys


NOTHING = Published(Metadata(), NO_KEYS)


def read_published(issuer: str) -> Published:
    """What the issuer publishes now. Raises FetchFailed, also for keys of which none is of use."""
    told = fetch_object(issuer.removesuffix("/") + WELL_KNOWN)
    keys = usable(fetch_object(_place_of_keys(told, issuer)))
    if not keys.texts:
        raise FetchFailed("no key in the set is of use here")
    return Published(_metadata(told, issuer), keys)


def _place_of_keys(told: dict[str, Any], issuer: str) -> str:
    """Raises FetchFailed, also for the metadata of somebody else (OpenID Connect Discovery 4.3)."""
    if told.get("issuer") != issuer:
        raise FetchFailed("the metadata is of another issuer; a slash at the end counts")
    place = told.get("jwks_uri")
    if not isinstance(place, str):
        raise FetchFailed("the metadata names no jwks_uri")
    if _loses_tls(place, issuer):
        raise FetchFailed("the metadata names a jwks_uri without TLS")
    return place


def _metadata(told: dict[str, Any], issuer: str) -> Metadata:
    def address(name: str) -> str | None:
        found = told.get(name)
        fits = isinstance(found, str) and is_private(found) and "#" not in found and not _loses_tls(found, issuer)
        return found if fits else None

    scopes, methods = told.get("scopes_supported"), told.get("token_endpoint_auth_methods_supported")
    return Metadata(
        authorization=address("authorization_endpoint"),
        token=address("token_endpoint"),
        userinfo=address("userinfo_endpoint"),
        end_session=address("end_session_endpoint"),
        scopes=frozenset(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else None,
        secret_in_body=isinstance(methods, list) and "client_secret_basic" not in methods,
        names_itself=told.get("authorization_response_iss_parameter_supported") is True,
    )


def _loses_tls(place: str, issuer: str) -> bool:
    return issuer.startswith("https:") and not place.startswith("https:")
