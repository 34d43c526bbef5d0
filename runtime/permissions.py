"""A warning at the start for each file that other users may read or change, since they then have the keys too."""

import os
import stat

from observability.terminal import say
from runtime.settings import Settings


def say_who_else(settings: Settings) -> None:
    """Prints a line for each directory and file that others own, read or write. Links are followed."""
    for path in dict.fromkeys([settings.data_dir, settings.database.parent, settings.secret_file, settings.database]):
        try:
            found = path.stat()
        except OSError:  # a secret from the environment has no file
            continue
        if why := _exposure(found):
            say(f"{path} {why}")


def _exposure(found: os.stat_result) -> str:
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (id {found.st_uid}), who may read and change it"
    mode = stat.S_IMODE(found.st_mode)
    may = [word for word, bits in (("read", 0o044), ("write", 0o022)) if mode & bits]
    if not may:
        return ""
    return f"has mode {mode:03o}: others may {' and '.join(may)} it; chmod {_private_mode(found):03o} ends that"


def _private_mode(found: os.stat_result) -> int:
    return 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
