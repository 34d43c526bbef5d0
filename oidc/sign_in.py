"""Sign-in at the provider by authorization code with PKCE (OpenID Connect Core 3.1, RFC 9700), and the way out.

Of the tokens that it ends with nothing is kept: who it is goes into a session, and there it ends.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from errors import AuthenticationFailed, IdentityProviderUnavailable, SignInFailed
from formats.redaction import has_credential
from formats.times import timestamp
from identity.principal import Principal
from oidc.bearer import Bearers, cause
from oidc.binding import Binding, Ticket
from oidc.claims import find
from oidc.client import Client
from oidc.published import Metadata

SCOPES = ("openid", "profile", "email", "groups")  # less those that the provider says it does not know
LASTS = timedelta(hours=1)  # a session: then a lost group counts
LONGEST_TARGET = 1000  # characters: it travels in an address

_WORD = re.compile(r"[a-z_]{1,50}")  # an error code (RFC 6749 section 4.1.2.1)


class Arrival(NamedTuple):
    """Who came back from the provider, and where they wanted to go."""

    person: Principal
    target: str


class SignIn:
    """The sign-in at one provider; `browser` is what its cookie says."""

    def __init__(self, bearers: Bearers, client: Client, scopes: tuple[str, ...], secret: bytes) -> None:
        """Without `scopes` the usual ones are asked for."""
        self.provider = bearers.provider
        self.client = client
        self._scopes = scopes
        self._binding = Binding(secret)
        rules = replace(bearers.rules, audience=(client.id,), id_tokens=True)
        self._id_tokens = Bearers(bearers.provider, rules)

    def begin(self, target: str, browser: str) -> str:
        """The address at the provider that the browser is to go to. Raises IdentityProviderUnavailable."""
        metadata = self._metadata()
        kept = target if len(target) <= LONGEST_TARGET and not has_credential(target) else ""
        ticket = self._binding.begin(kept, browser)
        asked = {
            "response_type": "code",
            "client_id": self.client.id,
            "redirect_uri": self.client.redirect_uri,
            "scope": " ".join(self._asked_for(metadata)),
            "state": ticket.state,
            "nonce": ticket.nonce,
            "code_challenge": ticket.challenge,
            "code_challenge_method": "S256",
        }
        return _with(metadata.authorization or "", asked)

    def finish(self, answer: Mapping[str, str], browser: str) -> Arrival:
        """Who it is, by what the browser brought back.

        Raises SignInFailed, InsufficientPermissions for somebody without a group of ours, and
        IdentityProviderUnavailable.
        """
        ticket = self._binding.resume(answer.get("state", ""), browser)
        metadata = self._metadata()
        self._require_sender(answer, metadata)
        tokens = self.client.redeem(_code(answer), ticket, metadata)
        try:
            claims = self._whole(self._claims(tokens, ticket), tokens, metadata)
            holder = self._id_tokens.holder(claims)
        except AuthenticationFailed as refusal:
            raise SignInFailed(f"the ID token: {cause(refusal)}") from None
        return Arrival(holder._replace(expires_at=timestamp(datetime.now(UTC) + LASTS)), ticket.target)

    def way_out(self) -> str | None:
        """Where a browser ends its session at the provider as well (OpenID Connect RP-Initiated Logout 1.0)."""
        place = self.provider.known().end_session
        asked = {"client_id": self.client.id, "post_logout_redirect_uri": self.client.after_sign_out}
        return _with(place, asked) if place else None

    def _metadata(self) -> Metadata:
        metadata = self.provider.metadata()
        if not (metadata.authorization and metadata.token):
            raise IdentityProviderUnavailable("the metadata names no authorization_endpoint or token_endpoint of use")
        return metadata

    def _asked_for(self, metadata: Metadata) -> list[str]:
        known = metadata.scopes
        return list(self._scopes) or [scope for scope in SCOPES if known is None or scope in known | {"openid"}]

    def _require_sender(self, answer: Mapping[str, str], metadata: Metadata) -> None:
        """Refuses the answer of another provider (RFC 9207)."""
        if ("iss" in answer or metadata.names_itself) and answer.get("iss") != self.provider.issuer:
            raise SignInFailed("the answer is of another issuer")

    def _claims(self, tokens: dict[str, Any], ticket: Ticket) -> dict[str, Any]:
        """Those of the ID token (OpenID Connect Core 3.1.3.7). Raises SignInFailed and AuthenticationFailed."""
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise SignInFailed("the provider gave no ID token")
        claims = self._id_tokens.claims(token)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), ticket.nonce.encode()):
            raise SignInFailed("the ID token is of another sign-in")
        if claims.get("azp", self.client.id) != self.client.id:
            raise SignInFailed("the ID token is for another client")
        return claims

    def _whole(self, claims: dict[str, Any], tokens: dict[str, Any], metadata: Metadata) -> dict[str, Any]:
        """The claims, with those of UserInfo if one of ours is missing: some providers tell groups there alone."""
        access, rules = tokens.get("access_token"), self._id_tokens.rules
        wanted = (rules.groups_claim, rules.owner_claim, rules.tenant_claim)
        missing = [name for name in wanted if name and find(claims, name) is None]
        if not (
            missing and metadata.userinfo and isinstance(access, str) and access.isascii() and access.isprintable()
        ):
            return claims
        more = self.client.person(access, metadata)
        if more.get("sub") != claims["sub"]:
            raise SignInFailed("UserInfo is of somebody else")
        return _together(claims, more, missing)


def _together(claims: dict[str, Any], more: dict[str, Any], missing: list[str]) -> dict[str, Any]:
    """Those of the ID token, then those of UserInfo, and of UserInfo those that are `missing`, which may be null in the
    token or absent from an object in it.

    Either may name an email of its own, so that an email counts as verified only if whoever names it says so.
    """
    whole = {**more, **claims, **{name: find(more, name) for name in missing}}
    naming = [each for each in (claims, more) if each.get("email") == whole.get("email")]
    said = next((each["email_verified"] for each in naming if "email_verified" in each), None)
    return {**whole, "email_verified": said}


def _code(answer: Mapping[str, str]) -> str:
    """Raises SignInFailed."""
    if "error" in answer:
        word = answer["error"]
        raise SignInFailed(f"the provider refused: {word if _WORD.fullmatch(word) else 'for a reason without a name'}")
    if not answer.get("code"):
        raise SignInFailed("the answer has no code")
    return answer["code"]


def _with(address: str, asked: dict[str, str]) -> str:
    """The address, which may have a query of its own, with more of it."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"
