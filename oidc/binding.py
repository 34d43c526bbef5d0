"""What binds a sign-in to the browser that began it, so that nobody signs another in as themselves.

Nothing of it is stored. The state is signed and timed; the nonce (OpenID Connect Core 3.1.2.1) and the verifier of PKCE
(RFC 7636) follow from it and from a cookie. So there is nothing to flood, two tabs do not disturb each other, and the
state of another browser is worthless.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import NamedTuple

from itsdangerous import BadData, URLSafeTimedSerializer

from errors import SignInFailed

LASTS = 600  # seconds from the beginning of a sign-in to its end
_SALT = b"keyhook: state"


class Ticket(NamedTuple):
    """A sign-in under way."""

    state: str
    nonce: str
    verifier: str
    target: str  # where the browser wants to go afterwards, as it said

    @property
    def challenge(self) -> str:
        """By the method S256."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())


class Binding:
    """The tickets under one secret; `browser` is the text of the cookie."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def begin(self, target: str, browser: str) -> Ticket:
        """A new one, which is good for LASTS seconds."""
        state = self._signer(browser).dumps([target, secrets.token_urlsafe(16)])
        return self._ticket(str(state), browser, target)

    def resume(self, state: str, browser: str) -> Ticket:
        """Raises SignInFailed for a state that is old, or was made for another browser or by somebody else."""
        try:
            target, _ = self._signer(browser).loads(state, max_age=LASTS)
        except (BadData, ValueError, TypeError) as error:
            raise SignInFailed(f"the state: {type(error).__name__}") from None
        return self._ticket(state, browser, target)

    def _signer(self, browser: str) -> URLSafeTimedSerializer:
        key = hmac.digest(self._secret, b"state " + browser.encode(), "sha256")
        options = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        return URLSafeTimedSerializer(key, salt=_SALT, signer_kwargs=options)

    def _ticket(self, state: str, browser: str, target: str) -> Ticket:
        def derived(what: str) -> str:
            return _text(hmac.digest(self._secret, f"{what} {browser} {state}".encode(), "sha256"))

        return Ticket(state, derived("nonce"), derived("verifier"), target)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
