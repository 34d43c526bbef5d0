"""Shared by several commands: durations, tenants, the operator, and errors as an exit status."""

import errno
import json
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from marshmallow import ValidationError as SchemaError

from errors import AuthenticationFailed, KeyhookError
from formats.durations import read_duration
from formats.redaction import redact, redact_values
from identity.principal import Principal, RequestOrigin
from identity.rates import RateLimit
from keys.tenant_keys import TenantKeys
from runtime.state import service
from web.contract import flat


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A number and one of s, m, h, d, w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        span = read_duration(value)
        if span is None:
            self.fail(f"{value!r} is no duration: write a number and one of s m h d w, as in 90d", param, ctx)
        return span  # other rules refuse one that is too long


class Rate(click.ParamType):  # type: ignore[type-arg]
    """Requests, a slash and a duration."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RateLimit:
        if isinstance(value, RateLimit):
            return value
        requests, _, span = value.partition("/")
        if not re.fullmatch(r"[0-9]{1,9}", requests):
            self.fail(f"{value!r} is no rate: write requests, a slash and a duration, as in 100/1m", param, ctx)
        return RateLimit(int(requests), int(Duration().convert(span, param, ctx).total_seconds()))


class Note(click.ParamType):  # type: ignore[type-arg]
    """A name, an equals sign and a text."""

    name = "note"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals:
            self.fail(f"{value!r} is no note: write name=text", param, ctx)
        return name, text


tenant_option = click.option("--tenant", default="default", show_default=True, help="Whose keys.")


def in_reach(span: timedelta) -> timedelta:
    try:
        datetime.now(UTC) + span
    except OverflowError:
        raise click.ClickException("that is beyond the year 9999") from None
    if not span:
        raise click.ClickException("a time must be longer than nothing")
    return span


def operator_keys(tenant: str) -> TenantKeys:
    """The keys of a tenant in the hands of the person at the terminal, who acts as an admin."""
    require_text("--tenant", tenant)
    return service().keyring(Principal("cli", tenant, login_name(), "admin"), RequestOrigin())


def login_name() -> str:
    """The name of the process's user id, since the audit trusts it and anybody can set LOGNAME and USER."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
        name.encode()
        return name
    except (KeyError, UnicodeEncodeError):  # a container may run under a number without a name
        return str(os.getuid())


def require_text(option: str, value: str) -> None:
    if not value.strip() or not value.isprintable():
        raise click.ClickException(f"{option}: must be printable and not empty")


@contextmanager
def errors_as_exit_status() -> Iterator[None]:
    """Turns our errors into one line and exit status 1."""
    try:
        yield
    except SchemaError as error:
        raise click.ClickException(_one_line(redact_values(flat(error.messages_dict)))) from None
    except UnicodeEncodeError:
        raise click.ClickException("what was given is no text in UTF-8") from None
    except AuthenticationFailed as error:
        raise click.ClickException(error.reason) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader closed the pipe
            raise
        raise click.ClickException(f"stdout cannot be written: {error.strerror}") from None
    except KeyhookError as error:
        details = json.dumps(redact_values(error.details), ensure_ascii=False) if error.details else ""
        why = redact(error.reason) if error.reason else details
        raise click.ClickException(f"{error.text}{': ' if why else ''}{why}") from None


def _one_line(messages: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {json.dumps(what, ensure_ascii=False)}" for name, what in messages.items())
