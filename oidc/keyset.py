"""The keys of a provider (RFC 7517): those that may sign, and no others.

What a set holds besides is skipped rather than refused: providers publish keys for encryption in the same place.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from jwt import PyJWK
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

MOST_KEYS = 100  # of a set; the rest is not looked at
LONGEST_KID = 256  # characters
# By the kind of the key. The provider's own list is never asked: some list `none`.
ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
ALL_ALGORITHMS = tuple(name for names in ALGORITHMS.values() for name in names)
_LIBRARY = get_default_algorithms()


class Signer(NamedTuple):
    """A public key, and by name what it may sign with."""

    key: Any
    algorithms: dict[str, Algorithm]


class Keys(NamedTuple):
    """The keys by their ids, and the one that a token without an id must mean, if there is just one."""

    by_id: dict[str, Signer]
    only: Signer | None
    texts: frozenset[str]  # one a key: what is gone from these was withdrawn or changed

    def find(self, kid: str | None) -> Signer | None:
        return self.only if kid is None else self.by_id.get(kid)


NO_KEYS = Keys({}, None, frozenset())


def usable(jwks: dict[str, Any]) -> Keys:
    """The keys of a set that may sign. Two that share an id are both skipped: none can say which is meant."""
    listed = jwks.get("keys")
    found = [key for jwk in (listed if isinstance(listed, list) else [])[:MOST_KEYS] if (key := _usable(jwk))]
    return Keys(dict(_by_id(found)), found[0][1] if len(found) == 1 else None, frozenset(map(_text, found)))


Found = tuple[dict[str, Any], Signer]


def _by_id(found: list[Found]) -> Iterable[tuple[str, Signer]]:
    known = Counter(jwk.get("kid") for jwk, _ in found)
    return ((jwk["kid"], key) for jwk, key in found if jwk.get("kid") is not None and known[jwk["kid"]] == 1)


def _text(found: Found) -> str:
    return repr(sorted(found[0].items(), key=lambda member: member[0]))


def _usable(jwk: Any) -> Found | None:
    """The key, if it is public, long enough, and made to sign with an algorithm of ours."""
    if not isinstance(jwk, dict) or not _may_sign(jwk):
        return None
    try:
        read = PyJWK(jwk)
        too_short = read.Algorithm.check_key_length(read.key)
    except (PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    names = _algorithms(jwk, read.algorithm_name)
    return None if too_short or not names else (jwk, Signer(read.key, {name: _LIBRARY[name] for name in names}))


def _algorithms(jwk: dict[str, Any], named: str) -> tuple[str, ...]:
    """Those of the key: the one that it names. To name one is optional (RFC 7517 section 4.4): then all of its kind.

    Of the kinds, RSA alone has several for one key; the others have one by their curve, which the library says.
    """
    of_its_kind = ALGORITHMS[jwk["kty"]]
    if jwk["kty"] == "RSA" and "alg" not in jwk:
        return of_its_kind
    return (named,) if named in of_its_kind else ()


def _may_sign(jwk: dict[str, Any]) -> bool:
    kid, kind, operations = jwk.get("kid"), jwk.get("kty"), jwk.get("key_ops", ["verify"])
    return (
        isinstance(kind, str)
        and kind in ALGORITHMS
        and ("alg" not in jwk or jwk["alg"] in ALGORITHMS[kind])
        and "d" not in jwk  # whoever publishes the private half has no secret left
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and (kid is None or (isinstance(kid, str) and len(kid) <= LONGEST_KID))
    )
