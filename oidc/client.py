"""What Keyhook asks a provider as its client: tokens for a code, and what it knows of a person."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote_plus

from errors import IdentityProviderUnavailable, SignInFailed
from oidc.binding import Ticket
from oidc.fetching import FetchFailed, fetch_object
from oidc.published import Metadata

WHOLE = 5.0  # seconds for one question, while a browser waits
LATER = (408, 429)  # a refusal for the moment alone: too slow, too often
AT_ONCE = 4  # sign-ins that ask: half of the threads of `flask serve`, so that a slow provider holds up no check


class Client:
    """Keyhook as the provider knows it. Without a secret it is a public client, which PKCE alone protects."""

    def __init__(self, client_id: str, secret: str | None, public_url: str) -> None:
        """`public_url` is the service's own address without a slash at its end, as browsers show it."""
        self.id = client_id
        self.redirect_uri = f"{public_url}/console/callback"
        self.after_sign_out = f"{public_url}/"
        self._secret = secret
        self._room = BoundedSemaphore(AT_ONCE)

    def redeem(self, code: str, ticket: Ticket, metadata: Metadata) -> dict[str, Any]:
        """The tokens for a code (RFC 6749 section 4.1.3). Raises SignInFailed and IdentityProviderUnavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": ticket.verifier,
        }
        own, headers = self._authentication(metadata)
        with self._asking("the code"):
            return fetch_object(metadata.token or "", {**form, **own}, headers, whole=WHOLE)

    def person(self, access_token: str, metadata: Metadata) -> dict[str, Any]:
        """The claims of UserInfo (OpenID Connect Core 5.3). Raises SignInFailed and IdentityProviderUnavailable."""
        with self._asking("UserInfo"):
            bearer = {"Authorization": f"Bearer {access_token}"}
            return fetch_object(metadata.userinfo or "", headers=bearer, whole=WHOLE)

    def _authentication(self, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        """What says in the form, and in the headers, who asks (RFC 6749 section 2.3.1)."""
        if self._secret is None:
            return {"client_id": self.id}, {}
        if metadata.secret_in_body:
            return {"client_id": self.id, "client_secret": self._secret}, {}
        both = f"{quote_plus(self.id)}:{quote_plus(self._secret)}"
        return {}, {"Authorization": f"Basic {b64encode(both.encode()).decode()}"}

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Lets only a few ask at once, and tells a refusal from an outage."""
        if not self._room.acquire(blocking=False):
            raise IdentityProviderUnavailable("too many sign-ins at once")
        try:
            yield
        except FetchFailed as failure:
            if failure.status is not None and 400 <= failure.status < 500 and failure.status not in LATER:
                raise SignInFailed(f"the provider refused {what}: {failure}") from None
            raise IdentityProviderUnavailable(f"the provider was asked for {what}: {failure}") from None
        finally:
            self._room.release()
