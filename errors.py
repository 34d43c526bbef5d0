"""All errors of a request, and the one place that renders them.

A view never builds an error body; it raises one of these.
"""

import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from observability.request_info import RequestInfo, request_info

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = logging.getLogger("keyhook")

EXAMPLE_ID = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"  # of a key, wherever the API document shows one


class StartupError(SystemExit):
    """A setting or a file that the service refuses to start with.

    A SystemExit with a text: any server that loads the app prints that one line and ends with status 1.
    """


class KeyhookError(Exception):
    """Base of the errors that a client is told: an HTTP status, an `error_code`, a message and its details."""

    status: int = 500
    message: ClassVar[str] = "The service failed to answer this request"

    def __init__(self, details: Any = None, message: str | None = None) -> None:
        super().__init__(message or self.message)
        self.details = details
        self.text = message or self.message
        self.headers = Headers()

    @classmethod
    def example(cls) -> Self:
        """A refusal of this kind, as the API document shows it."""
        return cls()

    @classmethod
    def code(cls) -> str:
        """The `error_code` on the wire: the name of the class."""
        return cls.__name__

    @property
    def reason(self) -> str | None:
        """The reason, for the log alone."""
        return None

    @property
    def key_id(self) -> str | None:
        """The id of the API key that was refused, if any; for the log alone. An id is no secret."""
        return None

    def note(self, info: RequestInfo) -> None:
        """Leaves the evidence for the line of the request."""
        info.reason = self.reason or info.reason
        info.refused_key = self.key_id or info.refused_key

    def body(self) -> dict[str, Any]:
        return {"message": self.text, "error_code": self.code(), "details": self.details}


class InternalServerError(KeyhookError):
    """A fault of ours; the trace is in the log and nowhere else."""


class MalformedBody(KeyhookError):
    status = 400
    message = "The body is not one JSON object in UTF-8"


class BadRequest(KeyhookError):
    status = 400
    message = "The request could not be understood"


class ValidationError(KeyhookError):
    """Details: `{field: [what is wrong, ...]}`."""

    status = 400
    message = "The request is not valid"

    @classmethod
    def example(cls) -> Self:
        return cls({"expires": ["Unknown field."]})


class InvalidRequest(ValidationError):
    """The error of RFC 7662 section 2.1 by way of RFC 6749 section 5.2, beside our own three members."""

    @classmethod
    def example(cls) -> Self:
        return cls({"token": ["Missing data for required field."]})

    @classmethod
    def code(cls) -> str:
        return ValidationError.code()

    def body(self) -> dict[str, Any]:
        return {"error": "invalid_request", **super().body()}


class AuthenticationFailed(KeyhookError):
    """No credential, or one that is not good (RFC 6750 section 3).

    `why` and the id of a refused key go to the log, so that guesses and the use of a leaked secret can be traced.
    `told` goes to the client too, so it is set only for a client with the right secret.
    """

    status = 401
    message = "A valid credential is required"
    CHALLENGE: ClassVar[str] = 'Bearer realm="keyhook"'
    BASIC: ClassVar[str] = 'Basic realm="keyhook", charset="UTF-8"'

    def __init__(self, why: str, *, sent: bool = True, told: str | None = None, key_id: str | None = None) -> None:
        text = told or ("The credential is not valid" if sent else None)
        super().__init__(None, text)
        self._why = why
        self._key_id = key_id
        challenge = self.CHALLENGE
        if sent:
            challenge += f', error="invalid_token", error_description="{text}"'
        self.headers["WWW-Authenticate"] = challenge

    @classmethod
    def example(cls) -> Self:
        return cls("", sent=False)

    @property
    def reason(self) -> str:
        return self._why

    @property
    def key_id(self) -> str | None:
        return self._key_id

    def offer_basic(self) -> None:
        """Asks for HTTP Basic (RFC 7617) too.

        The challenge has a line of its own, since browsers read one challenge a line. It comes first, since nginx
        before 1.23 forwards only the first line.
        """
        self.headers.setlist("WWW-Authenticate", [self.BASIC, self.headers["WWW-Authenticate"]])


class NotGoodEnough(KeyhookError):
    """Base of the refusals of a good credential."""

    def note(self, info: RequestInfo) -> None:
        """Also notes the id of the caller's key, since another tenant may have a key of that name, and counts it."""
        super().note(info)
        info.refused_key = info.acting_key or info.refused_key
        if info.acting_key and info.refusals:
            info.refusals.refuse(info.acting_key, noted=True)


class Forbidden(NotGoodEnough):
    """Base of the refusals of a credential that lacks something (RFC 6750 section 3.1)."""

    status = 403

    def __init__(self, details: Any) -> None:
        super().__init__(details)
        self.headers["WWW-Authenticate"] = f'{AuthenticationFailed.CHALLENGE}, error="insufficient_scope"'


class RateLimited(NotGoodEnough):
    """The allowance of a key is used up (RFC 6585 section 4). `retry_after` is in seconds."""

    status = 429
    message = "The key was used too often"

    def __init__(self, requests: int, seconds: int, retry_after: int) -> None:
        super().__init__({"requests": requests, "seconds": seconds, "retry_after": retry_after})
        self.headers["Retry-After"] = str(retry_after)
        self.headers.extend(rate_headers(requests, seconds, 0, retry_after))

    @classmethod
    def example(cls) -> Self:
        return cls(1, 3600, 3600)

    def as_forbidden(self) -> None:
        """Answers with 403, since nginx makes a 500 of any other refusal."""
        self.status = 403


def rate_headers(requests: int, seconds: int, remaining: int, reset: int) -> list[tuple[str, str]]:
    """The headers that tell a client its allowance (draft-ietf-httpapi-ratelimit-headers-10)."""
    return [
        ("RateLimit-Policy", f'"key";q={requests};w={seconds}'),
        ("RateLimit", f'"key";r={remaining};t={reset}'),
    ]


class AddressNotAllowed(Forbidden):
    message = "The key may not be used from this address"

    def __init__(self, address: str) -> None:
        super().__init__({"address": address})

    @classmethod
    def example(cls) -> Self:
        return cls("127.0.0.1")


class HostNotAllowed(Forbidden):
    message = "The key is not good for this host"

    def __init__(self, host: str | None) -> None:
        super().__init__({"host": host})

    @classmethod
    def example(cls) -> Self:
        return cls(None)


class InsufficientPermissions(Forbidden):
    message = "The role is too low"

    def __init__(self, *, required: str, actual: str | None, why: str | None = None) -> None:
        """`actual` is None for somebody whom the provider knows and who has no role here; `why` goes to the log."""
        super().__init__({"required": required, "actual": actual})
        self._why = why

    @classmethod
    def example(cls, required: str = "write") -> Self:
        return cls(required=required, actual="check" if required == "read" else "read")

    @property
    def reason(self) -> str | None:
        return self._why


class InsufficientScope(Forbidden):
    message = "A scope is missing"

    def __init__(self, *, required: list[str], missing: list[str]) -> None:
        super().__init__({"required": required, "missing": missing})

    @classmethod
    def example(cls) -> Self:
        return cls(required=["photos:read", "photos:write"], missing=["photos:write"])


class TenantNotAllowed(Forbidden):
    """The credential is of another tenant. The holder is told their own tenant, but not the accepted ones."""

    message = "Credentials of this tenant are not accepted here"

    def __init__(self, tenant: str) -> None:
        super().__init__({"tenant": tenant})

    @classmethod
    def example(cls) -> Self:
        return cls("lab")


class UnknownDemand(KeyhookError):
    """An unknown demand at the gate. It is a 403, since nginx makes a 500 of a 400."""

    status = 403
    message = "The gate was asked for something that it does not know"

    def __init__(self, parameter: str) -> None:
        super().__init__({"parameter": parameter})

    @classmethod
    def example(cls) -> Self:
        return cls("scopes")

    @property
    def reason(self) -> str:
        return "unknown demand"


class ExceedsCreator(Forbidden):
    message = "A key can give no more than it has"

    def __init__(self, *, requested: Any, creator: Any) -> None:
        super().__init__({"requested": requested, "creator": creator})


class ScopeExceedsCreator(ExceedsCreator):
    message = "A key can give only scopes that it has itself"

    @classmethod
    def example(cls) -> Self:
        return cls(requested=["photos:write"], creator=["photos:read"])


class ExpiryExceedsCreator(ExceedsCreator):
    message = "A key can give no life longer than its own"

    @classmethod
    def example(cls) -> Self:
        return cls(requested=None, creator="2099-01-01T00:00:00Z")


class HostExceedsCreator(ExceedsCreator):
    message = "A key can give only hosts that it is good for itself"

    @classmethod
    def example(cls) -> Self:
        return cls(requested=[], creator=["photos.example.com"])


class NetworkExceedsCreator(ExceedsCreator):
    message = "A key can give only networks that it may be used from itself"

    @classmethod
    def example(cls) -> Self:
        return cls(requested=[], creator=["127.0.0.0/8"])


class RateExceedsCreator(ExceedsCreator):
    """What a limited key mints draws from the allowance of that key, and it can touch nothing beyond."""

    message = "A key with a rate limit can give no other allowance than its own"

    @classmethod
    def example(cls) -> Self:
        return cls(requested=None, creator={"requests": 10, "seconds": 3600})


class UnknownApiKey(KeyhookError):
    status = 404
    message = "No API key has this name"

    def __init__(self, name: str) -> None:
        super().__init__({"name": name})

    @classmethod
    def example(cls) -> Self:
        return cls("laptop")


class UnknownApiKeyId(UnknownApiKey):
    message = "No API key has this id, nor was any that is there minted with it"

    @classmethod
    def example(cls) -> Self:
        return cls(EXAMPLE_ID)

    @classmethod
    def code(cls) -> str:
        return UnknownApiKey.code()


class NotFound(KeyhookError):
    status = 404
    message = "No such route"


class MethodNotAllowed(KeyhookError):
    status = 405
    message = "This route does not take that method"

    def __init__(self, allow: list[str]) -> None:
        super().__init__()
        self.headers["Allow"] = ", ".join(sorted(allow))

    @classmethod
    def example(cls) -> Self:
        return cls(["GET"])


class DuplicateName(KeyhookError):
    status = 409
    message = "An entity with this name already exists"


class DeclaredKey(KeyhookError):
    """A key that a file declares, and that only the file can change."""

    status = 409
    message = "This key is declared in a file, and only a change of that file changes it"

    def __init__(self, name: str) -> None:
        super().__init__({"name": name})

    @classmethod
    def example(cls) -> Self:
        return cls("laptop")


class ForTheLog(KeyhookError):
    """Base of the refusals whose reason, `why`, goes to the log and to nobody else."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    @classmethod
    def example(cls) -> Self:
        return cls("")

    @property
    def reason(self) -> str:
        return self._why


class OfForms(KeyhookError):
    """Base of the refusals that only the forms of the console meet."""


class ForeignPage(OfForms):
    """A form that another site's page sent in a person's name, or one that does not say which page sent it."""

    status = 403
    message = "The request did not come from a page of this service"


class SessionEnded(ForTheLog, OfForms):
    """A form of somebody who is not signed in, or not any more."""

    status = 401
    message = "The session has ended"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.headers["WWW-Authenticate"] = AuthenticationFailed.CHALLENGE


class SignInFailed(ForTheLog, OfForms):
    """A browser that came back from the identity provider without what lets it in."""

    status = 400
    message = "The sign-in failed"


class KeyChanged(OfForms):
    """A form that shows a key as it was."""

    status = 409
    message = "The key was changed meanwhile"


class PayloadTooLarge(KeyhookError):
    status = 413
    LIMIT: ClassVar[int] = 64 * 1024  # bytes
    message = f"The body is larger than {LIMIT // 1024} KiB"


class UnsupportedMediaType(KeyhookError):
    status = 415
    message = "The body must be there, of the media type that this route takes, in UTF-8, without a Content-Encoding"


class Unavailable(ForTheLog):
    """Base of the refusals while something that the service needs does not answer."""

    status = 503
    message = "Something that the service needs does not answer at the moment"
    RETRY_AFTER: ClassVar[int] = 5  # seconds

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.headers["Retry-After"] = str(self.RETRY_AFTER)


class DatabaseUnavailable(Unavailable):
    """The database is locked, full, read-only or gone."""

    message = "The database does not answer at the moment"


class IdentityProviderUnavailable(Unavailable):
    """The OpenID provider has not answered for so long that nobody can say whether its token is good."""

    message = "The identity provider does not answer at the moment"
    RETRY_AFTER = 30


def install(app: Flask) -> None:
    """Makes the application render every exception here."""
    app.register_error_handler(Exception, lambda error: render(error, request.environ))


def render(error: Exception, environ: "WSGIEnvironment") -> Response:
    """The answer to a request that was refused or failed; the reason goes to the log."""
    return as_json(noted(error, environ))


def as_json(told: KeyhookError) -> Response:
    response = Response(json.dumps(told.body(), ensure_ascii=False), told.status, mimetype="application/json")
    response.headers.update(told.headers)
    return response


def noted(error: Exception, environ: "WSGIEnvironment") -> KeyhookError:
    """The error as a KeyhookError, with its reason in the log."""
    told, info = translate(error), request_info(environ)
    told.note(info)
    if isinstance(told, DatabaseUnavailable):
        info.database_failed = True
        log.error("database unavailable: %s", told.reason)
    return told


def translate(error: Exception) -> KeyhookError:
    """The error as a KeyhookError. An unexpected one is logged with its trace."""
    if isinstance(error, KeyhookError):
        return error
    if isinstance(error, HTTPException):
        return _of_framework(error)
    log.error("unhandled error", exc_info=error)
    return InternalServerError()


def _of_framework(error: HTTPException) -> KeyhookError:
    if error.code == 404:
        return NotFound()
    if error.code == 405:
        return MethodNotAllowed(list(getattr(error, "valid_methods", None) or []))
    if error.code == 413:
        return PayloadTooLarge()
    if error.code == 415:
        return UnsupportedMediaType()
    if error.code is not None and error.code < 500:
        return BadRequest()
    return InternalServerError()
