"""What runs here: a checkout or an installed wheel, its version, and the words by which a person calls it."""

import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
IS_WHEEL = (ROOT / "__init__.py").exists()  # deploy/launcher.py, which a wheel has under that name
COMMAND = "keyhook" if IS_WHEEL else "flask"


@cache
def version() -> str:
    """A wheel has pyproject.toml too, so that this is the one place of the version."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def how_to_install(extra: str) -> str:
    """What to call in a checkout to get what the service needs besides: `oidc`, `postgresql` or `redis`.

    `keyhook[oidc]` would do for a wheel too, but in a wrong environment it would be whatever an index has by that name.
    """
    return f"pip install '.[{extra}]'" if IS_WHEEL else f"pip install -r requirements-{extra}.txt"
