"""Who is calling: the bearer of a request becomes a Principal, or the request is refused (RFC 6750).

`requires` states the role that a view needs, `public` that it needs none; a view that states neither answers nothing.
"""

import hashlib
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import jwt
from flask import current_app, g, request
from sqlalchemy import Row

import credentials
import keys
from errors import AuthenticationFailed
from keyring import Keyring
from keys import Keys
from memory import Memory
from models import timestamp, wire_time
from principal import ROLES, Origin, Principal
from settings import Settings
from storage import Storage

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "keyhook"
LEEWAY = 60  # seconds that a clock elsewhere may be ahead (`iat`, `nbf`); `exp` is taken as it is
MAX_CREDENTIAL = 8192  # characters
PEOPLE = 1024  # tokens that a process remembers
EXTENSION = "keyhook"

P = ParamSpec("P")
R = TypeVar("R")


class Service:
    """What the parts of the application share; one for each application, under `app.extensions["keyhook"]`."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self.keys = Keys(storage, settings.key_prefix, settings.bcrypt_rounds)
        self._people: Memory[Principal] = Memory(PEOPLE)  # by the SHA-256 of a token that was read

    def identify(self, credential: str, address: Callable[[], str | None], tenant: str | None = None) -> Principal:
        """Raises AuthenticationFailed, also for one that is not of the tenant when that is given.

        A good key counts as used, by who is at the address.
        """
        self.keys.last_use.flush()
        if len(credential) > MAX_CREDENTIAL:
            raise AuthenticationFailed("oversized credential")
        if not credentials.is_key(credential, self.settings.key_prefix):
            person = self._person(credential)
            _require_tenant(person.tenant, tenant)
            return person
        row, matched = self.keys.check(credential)
        _require_tenant(row.tenant, tenant)
        self.keys.last_use.note(row, address)
        return _holder(row, matched)

    def close(self) -> None:
        """Closes the database; for tests and tools, since a server just ends."""
        self.keys.last_use.close()
        self.storage.close()

    def _person(self, token: str) -> Principal:
        """Reads a token once: what it says never changes, and its end is looked at every time."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        person = self._people.get(digest)
        if person is None:
            person = read_token(token, self.settings.secret_key)
            self._people.put(digest, person)
        elif keys.is_expired(person):
            raise _expired_token()
        return person

    def keyring(self, principal: Principal, origin: Origin) -> Keyring:
        return Keyring(self.storage, self.keys, principal, origin)


def service() -> Service:
    return current_app.extensions[EXTENSION]  # type: ignore[no-any-return]


@lru_cache(maxsize=2048)
def _holder(row: Row[Any], matched: str) -> Principal:
    """Who holds a key: a function of the row that was just read, so remembering it serves nothing stale."""
    return Principal(
        kind="api_key",
        tenant=row.tenant,
        owner=row.owner,
        role=row.role,
        scopes=tuple(row.scopes.split()),
        key_id=row.id,
        key_name=row.name,
        expires_at=keys.ends_at(row, matched),
        issued_at=row.created_at,
        secret_hash=matched,
    )


def _require_tenant(actual: str, required: str | None) -> None:
    if required is not None and actual != required:
        raise AuthenticationFailed("credential of another tenant")


def make_token(secret: bytes, owner: str, role: str, tenant: str, lifetime: timedelta) -> str:
    """A JWT for a person (RFC 7519)."""
    issued = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": owner,
        "iat": issued,
        "exp": issued + lifetime,
        "role": role,
        "tenant": tenant,
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def read_token(token: str, secret: bytes) -> Principal:
    """Who a JWT speaks for, checked as RFC 8725 asks: one algorithm, required claims, no header ever followed.

    Raises AuthenticationFailed.
    """
    try:
        decoded = jwt.decode_complete(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        if "crit" in decoded["header"]:
            raise AuthenticationFailed("token with critical extensions")
        return _person(decoded["payload"])
    except jwt.ExpiredSignatureError:
        raise _expired_token() from None
    except jwt.InvalidTokenError as error:
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        # A hostile header or claim that the library does not expect, such as one nested too deep.
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None


def _person(claims: dict[str, Any]) -> Principal:
    sub, role, tenant = _text(claims, "sub"), _text(claims, "role"), _text({"tenant": "default", **claims}, "tenant")
    if role not in ROLES:
        raise AuthenticationFailed("bad token: unknown role")
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires <= datetime.now(UTC):
        raise _expired_token()
    return Principal(
        kind="jwt",
        tenant=tenant,
        owner=sub,
        role=role,
        expires_at=timestamp(expires),
        issued_at=timestamp(issued),
    )


def _text(claims: dict[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not value:
        raise AuthenticationFailed(f"bad token: {claim} is empty or no string")
    value.encode()  # a lone surrogate is a ValueError
    return value


def _moment(claims: dict[str, Any], claim: str) -> datetime:
    """A NumericDate (RFC 7519 section 2), which is a number and not its text."""
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationFailed(f"bad token: {claim} is no number")
    return datetime.fromtimestamp(value, UTC)


def _expired_token() -> AuthenticationFailed:
    return AuthenticationFailed("expired token", told="The token has expired")


def requires(role: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The view needs a bearer with at least this role; it finds them in `g.principal`."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            environ = request.environ
            g.principal = authenticate(environ, bearer(environ))
            g.principal.require_role(role)
            return view(*args, **kwargs)

        guarded.access = role  # type: ignore[attr-defined]
        return guarded

    return decorate


def public(view: Callable[P, R]) -> Callable[P, R]:
    """The view needs no credential."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


class Views(dict[str, Callable[..., Any]]):
    """The views of an application by their endpoints: one that states no access is a fault of ours and answers nothing.

    Looked at when it is called, whichever way it came in, since a hook before every request would cost five times that.
    """

    def __getitem__(self, endpoint: str) -> Callable[..., Any]:
        view = super().__getitem__(endpoint)
        if not hasattr(view, "access"):
            raise LookupError(f"the view {endpoint} states no access")
        return view


def bearer(environ: "WSGIEnvironment") -> str | None:
    """The token of the Authorization header (RFC 6750 section 2.1), the scheme in any case, or None."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" and token.strip(" ") else None


def authenticate(environ: "WSGIEnvironment", credential: str | None) -> Principal:
    """Says in the environ who it is, for the log and the answer. Raises AuthenticationFailed."""
    if credential is None:
        raise AuthenticationFailed("no credential", sent=False)
    principal: Principal = service().identify(credential, client_address)
    environ["keyhook.who"] = f"{principal.kind}:{principal.key_name or principal.owner}"
    if principal.kind == "api_key" and principal.expires_at:
        environ["keyhook.headers"] = [("Keyhook-Key-Expires", wire_time(principal.expires_at))]
    return principal


def keyring() -> Keyring:
    """The keys of the caller's tenant, as the caller may see and change them."""
    return service().keyring(g.principal, Origin(client_address(), request.environ.get("keyhook.request_id")))


def client_address() -> str | None:
    """The client, seen from behind KEYHOOK_TRUSTED_PROXIES proxies: counted from the right of `X-Forwarded-For`.

    The left of that header is whatever the client sent. One that is shorter or holds no address there says nothing:
    then it is the peer's address.
    """
    proxies = service().settings.trusted_proxies
    peer: str | None = request.environ.get("REMOTE_ADDR")
    if proxies:
        hops = request.headers.get("X-Forwarded-For", "").split(",")
        if len(hops) >= proxies:
            with suppress(ValueError):
                found = ipaddress.ip_address(hops[-proxies].strip())
                if not getattr(found, "scope_id", None):  # which may be any text
                    return str(getattr(found, "ipv4_mapped", None) or found)
    return peer
