"""Keys that look right and are not."""

import zlib

from formats import api_key

GENERIC = 'Bearer realm="keyhook", error="invalid_token", error_description="The credential is not valid"'


def checksummed(head: str) -> str:
    return f"{head}{zlib.crc32(head.encode()):08x}"


def other_secret(key: str) -> str:
    """The same id with another secret and a right checksum."""
    return api_key.write_key("kh", key.split("_")[1], api_key.new_secret())


def under(prefix: str, key: str) -> str:
    """The same id and secret in a key with another prefix."""
    return checksummed(f"{prefix}{key[key.index('_') : -8]}")
