"""The keys of a provider over time, with the clock moved: when they are fetched, and who waits."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from errors import IdentityProviderUnavailable
from oidc.fetching import FetchFailed
from oidc.keyset import usable
from oidc.provider import BELIEVED, FRESH, PAUSE, Provider, UnknownSigner
from oidc.published import NOTHING, Published
from tests.oidc.conftest import Clock, settled
from tests.oidc.issuer import public_jwk

OLD, NEW = public_jwk("RS256", "old"), public_jwk("EdDSA", "new")


class Source:
    """What the provider reads from: keys, or a failure, after a while if `held`."""

    def __init__(self) -> None:
        self.jwks = [OLD]
        self.fails: Exception | None = None
        self.reads = 0
        self.free = threading.Event()
        self.free.set()

    def read(self, issuer: str) -> Published:
        self.reads += 1
        assert self.free.wait(20)
        if self.fails:
            raise self.fails
        return NOTHING._replace(keys=usable({"keys": self.jwks}))


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.free.set()


@pytest.fixture
def fresh(source: Source, clock: Clock) -> Provider:
    """One that never looked."""
    provider = Provider("https://id.example.com", source.read)
    provider.clock = clock
    return provider


@pytest.fixture
def provider(fresh: Provider) -> Provider:
    fresh.begin()
    return settled(fresh)


def seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def unknown(provider: Provider, kid: str = "new") -> None:
    with pytest.raises(UnknownSigner):
        provider.key(kid)


def unavailable(provider: Provider, kid: str = "old") -> None:
    with pytest.raises(IdentityProviderUnavailable):
        provider.key(kid)


def test_fresh_keys_are_read_once(provider: Provider, source: Source, clock: Clock) -> None:
    for _ in range(100):
        provider.key("old")
        provider.freshen()
    clock.moved += FRESH - 5
    provider.key("old")
    assert source.reads == 1


def test_the_first_token_waits_for_the_start(fresh: Provider, source: Source) -> None:
    source.free.clear()
    fresh.begin()
    threading.Timer(0.1, source.free.set).start()
    assert fresh.key("old")
    assert source.reads == 1


def test_a_good_token_never_waits(provider: Provider, source: Source, clock: Clock) -> None:
    source.free.clear()
    clock.moved += FRESH + 1
    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(lambda _: seconds(lambda: provider.key("old")), range(50))) < 0.5
    assert source.reads == 2
    source.free.set()
    settled(provider)


def test_a_good_token_does_not_wait_for_an_unknown_one(provider: Provider, source: Source, clock: Clock) -> None:
    clock.moved += PAUSE + 1
    source.free.clear()
    waiting = threading.Thread(target=unknown, args=(provider,))
    waiting.start()
    while source.reads < 2:
        time.sleep(0.001)
    assert seconds(lambda: provider.key("old")) < 0.2
    source.free.set()
    waiting.join()


def test_unknown_ids_hold_two_requests_at_most(
    provider: Provider, source: Source, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oidc.provider.PATIENCE", 0.5)
    clock.moved += PAUSE + 1
    source.free.clear()
    with ThreadPoolExecutor(20) as pool:
        took = list(pool.map(lambda number: seconds(lambda: unknown(provider, f"k{number}")), range(200)))
    assert sum(span > 0.4 for span in took) <= 4
    assert source.reads == 2


def test_unknown_ids_cost_a_fetch_in_30_seconds(provider: Provider, source: Source, clock: Clock) -> None:
    for number in range(200):
        unknown(provider, f"k{number}")
        clock.moved += 0.5
    assert source.reads <= 1 + 200 * 0.5 / PAUSE + 1


def test_a_new_key_is_good_within_30_seconds(provider: Provider, source: Source, clock: Clock) -> None:
    source.jwks = [OLD, NEW]
    unknown(provider)
    clock.moved += PAUSE + 1
    edition = provider.edition()
    assert provider.key("new")
    assert provider.key("old")
    assert provider.edition() == edition


@pytest.mark.parametrize("after", [[NEW], [public_jwk("RS256", "old", which="changed")]], ids=["gone", "changed"])
def test_a_withdrawn_key_is_bad_within_10_minutes(
    provider: Provider, source: Source, clock: Clock, after: list[dict[str, object]]
) -> None:
    before, edition = provider.key("old"), provider.edition()
    source.jwks = after
    clock.moved += FRESH + 1
    provider.freshen()
    settled(provider)
    assert provider.edition() == edition + 1
    if after == [NEW]:
        unknown(provider, "old")
    else:
        assert provider.key("old") is not before


def test_there_is_one_attempt_at_a_time(provider: Provider, source: Source, clock: Clock) -> None:
    source.free.clear()
    for _ in range(5):
        clock.moved += FRESH + 1
        assert provider.key("old")
    assert source.reads == 2
    source.free.set()
    settled(provider)


def test_an_outage_of_a_day_is_outlived(provider: Provider, source: Source, clock: Clock) -> None:
    source.fails = FetchFailed("status 503")
    clock.moved += 3600
    for _ in range(50):
        assert provider.key("old")
    assert settled(provider).edition() == 0
    assert source.reads == 2
    clock.moved += BELIEVED
    unavailable(settled(provider))
    assert provider.edition() < 0
    source.fails = None
    clock.moved += PAUSE + 1
    assert provider.key("old")


def test_an_outage_costs_a_fetch_in_30_seconds(fresh: Provider, source: Source, clock: Clock) -> None:
    source.fails = FetchFailed("status 503")
    for _ in range(60):
        unavailable(fresh)
        clock.moved += 1
    assert source.reads <= 3


def test_an_unknown_id_in_an_outage_is_just_unknown(provider: Provider, source: Source, clock: Clock) -> None:
    source.fails = FetchFailed("status 503")
    clock.moved += PAUSE + 1
    unknown(provider)


def test_the_log_says_it_once_a_minute(
    fresh: Provider, source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source.fails = FetchFailed("status 503")
    for _ in range(100):
        unavailable(fresh)
        clock.moved += 1
    assert 1 <= caplog.text.count("status 503") <= 2


def test_a_fault_of_ours_ends_no_thread_and_is_tried_again(
    fresh: Provider, source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source.fails = ZeroDivisionError()
    unavailable(fresh)
    assert "ZeroDivisionError" in caplog.text
    source.fails = None
    clock.moved += PAUSE + 1
    assert fresh.key("old")


def test_no_thread_to_be_had_is_no_fault(provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clock.moved += FRESH + 1
    assert provider.key("old")
    unknown(provider)


def test_nobody_waits_for_the_fetch_of_another(provider: Provider, source: Source, clock: Clock) -> None:
    clock.moved += PAUSE + 1
    source.free.clear()
    first = threading.Thread(target=lambda: unknown(provider, "one"))
    first.start()
    while source.reads < 2:
        time.sleep(0.01)
    assert seconds(lambda: unknown(provider, "two")) < 0.2
    source.free.set()
    first.join()


def test_a_worker_that_was_forked_during_an_attempt_begins_its_own(fresh: Provider, source: Source) -> None:
    """As gunicorn --preload does."""
    source.free.clear()
    fresh.begin()
    while source.reads < 1:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        source.free.set()
        os._exit(0 if fresh.key("old") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    source.free.set()
    settled(fresh)
