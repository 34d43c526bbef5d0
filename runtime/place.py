"""Where the data is while KEYHOOK_DATA_DIR is not set."""

from contextlib import suppress
from pathlib import Path

from observability.build import IS_WHEEL, ROOT


def data_directory() -> Path | None:
    """Beside the code in a checkout; of a wheel, where the platform has the data of this user.

    Beside the code of a wheel an upgrade would remove it. None: the user has no home directory. For root it is root's
    own: a directory of the whole machine would be one of all its users.
    """
    if not IS_WHEEL:
        return ROOT / "instance"
    from platformdirs import user_data_path  # a checkout does without

    with suppress(RuntimeError):
        return user_data_path("keyhook", appauthor=False)
    return None
