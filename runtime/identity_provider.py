"""The OpenID provider of the settings. Without one, nothing of it is imported: its signatures cost 9 MB."""

import hmac
from typing import TYPE_CHECKING

from runtime.settings import Settings

if TYPE_CHECKING:
    from oidc.bearer import Bearers
    from oidc.sign_in import SignIn


def bearers_of(settings: Settings) -> "Bearers | None":
    if settings.oidc_issuer is None:
        return None
    from oidc.bearer import Bearers
    from oidc.claims import Rules
    from oidc.provider import Provider

    groups = {
        "admin": settings.oidc_admin_groups,
        "write": settings.oidc_write_groups,
        "read": settings.oidc_read_groups,
    }
    rules = Rules(
        audience=settings.oidc_audience,
        groups=groups,
        groups_claim=settings.oidc_groups_claim,
        owner_claim=settings.oidc_owner_claim,
        tenant_claim=settings.oidc_tenant_claim,
        id_tokens=settings.oidc_id_tokens,
    )
    return Bearers(Provider(settings.oidc_issuer), rules)


def sign_in_of(settings: Settings, bearers: "Bearers | None") -> "SignIn | None":
    """The sign-in of people at the provider; None: only its tokens are good."""
    if bearers is None or settings.oidc_client_id is None:
        return None
    from oidc.client import Client
    from oidc.sign_in import SignIn

    client = Client(settings.oidc_client_id, settings.oidc_client_secret, settings.public_url or "")
    secret = hmac.digest(settings.secret_key, b"keyhook: sign-in at the provider", "sha256")
    return SignIn(bearers, client, settings.oidc_scopes, secret)
