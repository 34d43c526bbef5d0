"""Keys: their text, minting, and the cache of verified secrets."""

import hashlib
import re
from collections.abc import Hashable

import bcrypt
import pytest

from formats import api_key, redaction
from keys.bounded_cache import BoundedCache
from keys.hashing import SecretHasher

KEY = re.compile(r"kh_[0-9a-f]{32}_[0-9A-Za-z]{43}[0-9a-f]{8}")
ID = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"


def hashed(secret: str) -> str:
    return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()


def test_a_key_is_read_as_it_was_written() -> None:
    secret = api_key.new_secret()
    text = api_key.write_key("kh", ID, secret)
    assert KEY.fullmatch(text)
    assert api_key.read_key(text) == ("kh", ID, secret)


def test_secrets_differ_and_use_the_whole_alphabet() -> None:
    secrets = {api_key.new_secret() for _ in range(500)}
    assert len(secrets) == 500
    assert set("".join(secrets)) == set(api_key.ALPHABET)
    assert len(api_key.ALPHABET) ** api_key.SECRET_LENGTH >= 2**256


def test_the_verifier_matches_the_right_hash_and_no_other() -> None:
    verifier = SecretHasher()
    hashes = [hashed("new"), hashed("old")]
    for _ in range(2):  # by bcrypt, then from memory
        assert verifier.matching_hash("new", hashes) == hashes[0]
        assert verifier.matching_hash("old", hashes) == hashes[1]
        assert verifier.matching_hash("other", hashes) is None
    assert verifier.matching_hash("new", []) is None


def test_a_verified_secret_needs_no_second_bcrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, stored = SecretHasher(), hashed("secret")
    assert verifier.matching_hash("secret", [stored])
    monkeypatch.delattr(bcrypt, "checkpw")  # whoever asks for it from now on fails
    assert verifier.matching_hash("secret", [stored]) == stored
    assert verifier.matching_hash("guess", [stored]) is None


def test_a_changed_hash_makes_the_memory_useless() -> None:
    verifier, before, after = SecretHasher(), hashed("secret"), hashed("another")
    assert verifier.matching_hash("secret", [before])
    assert verifier.matching_hash("secret", [after]) is None


def test_a_failure_is_not_remembered() -> None:
    verifier = SecretHasher()
    assert verifier.matching_hash("guess", [hashed("secret")]) is None
    assert len(verifier) == 0


class OvertakenMemory(BoundedCache[bytes]):
    """A cache in which another thread adds the same secret right after this thread misses it."""

    def get(self, key: Hashable) -> bytes | None:
        found = super().get(key)
        self.put(key, hashlib.sha256(b"secret").digest())
        return found


def test_two_first_uses_at_once_are_both_good() -> None:
    verifier, stored = SecretHasher(), hashed("secret")
    verifier._known = OvertakenMemory(10)
    assert verifier.matching_hash("secret", [stored]) == stored


def test_the_memory_is_bounded_and_holds_no_secret() -> None:
    verifier = SecretHasher(size=10)
    secrets = [api_key.new_secret() for _ in range(30)]
    for secret in secrets:
        stored = hashed(secret)
        assert verifier.matching_hash(secret, [stored]) == stored
    assert len(verifier) == 10
    held = repr(vars(verifier._known))
    for secret in secrets:
        assert secret not in held
    assert hashlib.sha256(secrets[-1].encode()).digest() == verifier._known.get(stored)


def test_a_memory_forgets_the_oldest_first() -> None:
    memory: BoundedCache[int] = BoundedCache(3)
    for number in range(5):
        memory.put(str(number), number)
    assert [memory.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
    assert len(memory) == 3


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("nothing here", "nothing here"),
        ("0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"),
        (f"a kh_{'0' * 32}_{'x' * 43}{'0' * 8} b", f"a kh_{'0' * 32}[redacted] b"),
        (f"cut kh_{'0' * 32}_{'x' * 20}", f"cut kh_{'0' * 32}[redacted]"),
        (f"KH_{'A' * 32}_{'X' * 51}", f"KH_{'A' * 32}[redacted]"),
        ("t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0xxxx.c2lnbmF0dXJl t", "t [redacted] t"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0xxxx", "[redacted]"),
        (f"cut kh%5F{'0' * 32}%5f{'x' * 20} b", "cut [redacted] b"),
        (f"/kh_{'0' * 32}_xxxx%2578{'x' * 46}?a", "/[redacted]?a"),
        (f"/kh_{'0' * 32}_{'x' * 12}%2578{'x' * 38}", "/[redacted]"),
        ("".join(f"%25{byte:02x}" for byte in b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0xxxx"), "[redacted]"),
        ("a/" + "%" + "25" * 9 + "41", "a/[redacted]"),
        ("100% of this, 50%25 of that%20one", "100% of this, 50%25 of that%20one"),
        ("service3-frontend.production-server-01", "service3-frontend.production-server-01"),
        ("eyetracker01.production01.example.org", "eyetracker01.production01.example.org"),
        ("ewogICJhbGciOiJIUzI1NiJ9.ewogICJzdWIiOiJh.c2lnbmF0dXJl", "[redacted]"),
    ],
)
def test_what_is_redacted(text: str, left: str) -> None:
    assert redaction.redact(text) == left
