"""The word by which a refused check is counted: one of metrics.REASONS, whatever text the log has."""

import errors
from errors import AuthenticationFailed, KeyhookError

WORDS: dict[type[KeyhookError], str] = {
    errors.InsufficientPermissions: "role",
    errors.InsufficientScope: "scope",
    errors.TenantNotAllowed: "tenant",
    errors.HostNotAllowed: "host",
    errors.AddressNotAllowed: "address",
    errors.RateLimited: "rate",
    errors.UnknownDemand: "demand",
    errors.MethodNotAllowed: "method",
    errors.DatabaseUnavailable: "database",
    errors.IdentityProviderUnavailable: "provider",
}
# Of a refused credential, by the reason in the log; all others mean a text that is no credential of ours.
CREDENTIALS = {
    "no credential": "no_credential",
    "another scheme": "no_credential",
    "unknown key": "unknown",
    "wrong secret": "wrong_secret",
    "wrong prefix": "wrong_secret",
    "bad token: InvalidSignatureError": "wrong_secret",
    "disabled key": "disabled",
    "expired key": "expired",
    "expired token": "expired",
    "credential of another tenant": "tenant",
}


def outcome(error: Exception) -> str:
    """The word for a refusal, and `fault` for an error of ours."""
    if isinstance(error, AuthenticationFailed):
        return CREDENTIALS.get(error.reason, "malformed")
    return next((word for kind, word in WORDS.items() if isinstance(error, kind)), "fault")
