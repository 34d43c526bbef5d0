"""The settings: each checked once, at the start; a bad value stops it with one line that names the variable.

Values come from the defaults, then the environment, then the argument of `create_app`. Nothing falls back silently.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keys.lifetimes import Lifetimes
from runtime import parsers, place, provider_parsers
from runtime.settings_table import always, optional, refuse, rows, setting

if TYPE_CHECKING:
    from storage.postgresql.address import Address


@dataclass(frozen=True)
class Settings:
    """One row a setting. All other lists of settings follow from the rows; docs/configuration.md explains each."""

    data_dir: Path = setting("KEYHOOK_DATA_DIR", place.data_directory(), parsers.path, for_commands=True)
    database_url: "Path | Address | None" = optional(
        "KEYHOOK_DATABASE_URL", None, parsers.database, secret=parsers.is_url_of_server, for_commands=True
    )
    # Empty while unset; then the start reads `secret_file` and puts the secret here.
    secret_key: bytes = optional("KEYHOOK_SECRET_KEY", b"", parsers.signing_secret, secret=always, for_commands=True)
    key_prefix: str = setting("KEYHOOK_KEY_PREFIX", "kh", parsers.key_prefix, for_commands=True)
    bcrypt_rounds: int = setting("KEYHOOK_BCRYPT_ROUNDS", 4, parsers.whole_number(4, 31), for_commands=True)
    trusted_proxies: int = setting("KEYHOOK_TRUSTED_PROXIES", 0, parsers.whole_number(0, 100))
    require_database: bool = setting("KEYHOOK_REQUIRE_DATABASE", 0, parsers.switch)
    keys_file: Path | None = optional("KEYHOOK_KEYS_FILE", None, parsers.path)
    default_lifetime: timedelta | None = optional("KEYHOOK_DEFAULT_LIFETIME", None, parsers.lifetime, for_commands=True)
    max_lifetime: timedelta | None = optional("KEYHOOK_MAX_LIFETIME", None, parsers.lifetime, for_commands=True)
    limits_url: str = optional("KEYHOOK_LIMITS_URL", "", parsers.shared_limits, secret=always)
    console: bool = setting("KEYHOOK_CONSOLE", "on", parsers.on_or_off)
    # What the file holds. Its name is no secret, but a token in its place would be one.
    metrics_token: bytes = optional("KEYHOOK_METRICS_TOKEN_FILE", b"", parsers.bearer_in_file, secret=always)
    # The provider whose tokens are good, None: there is none; and what has to be in them.
    oidc_issuer: str | None = optional("KEYHOOK_OIDC_ISSUER", None, provider_parsers.issuer)
    oidc_audience: tuple[str, ...] = setting("KEYHOOK_OIDC_AUDIENCE", "keyhook", provider_parsers.names)
    oidc_admin_groups: tuple[str, ...] = optional("KEYHOOK_OIDC_ADMIN_GROUPS", (), provider_parsers.chosen_names)
    oidc_write_groups: tuple[str, ...] = optional("KEYHOOK_OIDC_WRITE_GROUPS", (), provider_parsers.names)
    oidc_read_groups: tuple[str, ...] = optional("KEYHOOK_OIDC_READ_GROUPS", (), provider_parsers.names)
    oidc_groups_claim: str = setting("KEYHOOK_OIDC_GROUPS_CLAIM", "groups", provider_parsers.text)
    oidc_owner_claim: str = setting("KEYHOOK_OIDC_OWNER_CLAIM", "sub", provider_parsers.text)
    oidc_tenant_claim: str | None = optional("KEYHOOK_OIDC_TENANT_CLAIM", None, provider_parsers.text)
    # No secret either, but somebody may take its name for the place of a token.
    oidc_id_tokens: bool = setting("KEYHOOK_OIDC_ID_TOKENS", "refuse", provider_parsers.accept_or_refuse, secret=always)
    # With a client id people sign in to the console at the provider, which sends them back to the public URL.
    oidc_client_id: str | None = optional("KEYHOOK_OIDC_CLIENT_ID", None, provider_parsers.text)
    oidc_client_secret: str | None = optional("KEYHOOK_OIDC_CLIENT_SECRET", None, provider_parsers.text, secret=always)
    oidc_scopes: tuple[str, ...] = optional("KEYHOOK_OIDC_SCOPES", (), provider_parsers.scopes)
    public_url: str | None = optional("KEYHOOK_PUBLIC_URL", None, provider_parsers.public_url, secret=always)

    @property
    def postgresql(self) -> "Address | None":
        """Where the PostgreSQL database is; None: the database is a file of SQLite."""
        return None if isinstance(self.database_url, Path) else self.database_url

    @property
    def database(self) -> Path:
        """The file of SQLite."""
        return self.database_url if isinstance(self.database_url, Path) else self.data_dir / "keyhook.db"

    @property
    def lifetimes(self) -> Lifetimes:
        return Lifetimes(self.default_lifetime, self.max_lifetime)

    @property
    def secret_file(self) -> Path:
        return self.data_dir / "secret_key"


ROWS = rows(Settings)  # by variable
DEFAULTS = {name: row.default for name, row in ROWS.items()}


def load(values: Mapping[str, Any]) -> Settings:
    """Raises StartupError for a value that makes no sense, an empty one included. None stands for the default."""
    given = {**DEFAULTS, **{name: value for name, value in values.items() if value is not None}}
    if given["KEYHOOK_DATA_DIR"] is None:
        raise refuse("KEYHOOK_DATA_DIR", "must be set: this user has no home directory")
    texts = {name: _text(name, given[name]) for name in ROWS if given[name] is not None}
    chosen = Settings(*(row.parse(name, texts[name]) if name in texts else row.unset for name, row in ROWS.items()))
    if chosen.postgresql and not chosen.secret_key:
        raise refuse("KEYHOOK_SECRET_KEY", "must be set with PostgreSQL: else each machine makes a secret of its own")
    if chosen.default_lifetime and chosen.max_lifetime and chosen.default_lifetime > chosen.max_lifetime:
        raise refuse("KEYHOOK_DEFAULT_LIFETIME", "must not be longer than KEYHOOK_MAX_LIFETIME")
    _require_useful_provider(chosen)
    return chosen


def _require_useful_provider(chosen: Settings) -> None:
    """Refuses a provider that would give nobody a role, and one whose own sessions would be good here."""
    if not chosen.oidc_issuer:
        return
    if not (chosen.oidc_admin_groups or chosen.oidc_write_groups or chosen.oidc_read_groups):
        raise refuse("KEYHOOK_OIDC_ISSUER", "needs KEYHOOK_OIDC_ADMIN_GROUPS, _WRITE_GROUPS or _READ_GROUPS")
    if chosen.oidc_issuer in chosen.oidc_audience:
        raise refuse("KEYHOOK_OIDC_AUDIENCE", "must not name the issuer: its own sessions would be good here")
    if chosen.oidc_client_id and not chosen.public_url:
        raise refuse("KEYHOOK_OIDC_CLIENT_ID", "needs KEYHOOK_PUBLIC_URL: the provider sends people back there")
    if chosen.oidc_client_secret and not chosen.oidc_client_id:
        raise refuse("KEYHOOK_OIDC_CLIENT_SECRET", "needs KEYHOOK_OIDC_CLIENT_ID")


def environment() -> dict[str, str]:
    """The settings in the environment, as text: a secret that looks like a number stays what it is."""
    return {name: os.environ[name] for name in ROWS if name in os.environ}


def _text(name: str, value: object) -> str:
    """Raises StartupError for an empty value and for one that a shell would have changed: no shell has seen it.

    A Path is not typed: it is what the program around, or the place of this file, makes it.
    """
    text = os.fsdecode(value) if isinstance(value, bytes) else str(value)
    if not text.strip():
        raise refuse(name, "is set but empty; unset it to use the default")
    if isinstance(value, Path):
        return text
    if text != text.strip():
        raise refuse(name, "begins or ends with white space")
    if text[0] in "\"'" or text[-1] in "\"'":
        raise refuse(name, "begins or ends with a quote, which is no part of the value: write it without")
    if text[0] == "~" or "$" in text:
        raise refuse(name, "begins with ~ or holds $, which nothing here replaces: write out what it stands for")
    return text
