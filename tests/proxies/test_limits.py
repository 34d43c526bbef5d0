"""The files in deploy/: a key that was used too often, and one that is good for another host."""

from collections.abc import Iterator

import pytest

from tests.proxies.installed import HOST, PROXIES, Front, name_of, proxied

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module", params=PROXIES, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


def test_beyond_the_limit_a_client_gets_429_or_of_nginx_403(front: Front) -> None:
    key = front.key(rate_limit={"requests": 2, "seconds": 3600})
    refusal = 403 if front.proxy == "nginx" else 429
    answers = [front.ask(key=key) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, refusal, refusal]
    if front.proxy != "nginx":
        assert answers[-1].headers["Retry-After"] == "3600"
        assert answers[-1].json()["error_code"] == "RateLimited"


def test_a_key_is_good_for_its_hosts_alone(front: Front) -> None:
    assert front.ask(key=front.key(hosts=[HOST])).status_code == 200
    assert front.ask(key=front.key(hosts=["*.example.com"])).status_code == 200
    elsewhere = front.key(hosts=["wiki.example.com"])
    assert front.ask(key=elsewhere).status_code == 403
    claimed = front.ask(key=elsewhere, headers={"X-Forwarded-Host": "wiki.example.com"})
    assert claimed.status_code == 403


def test_a_key_is_good_from_its_networks_alone(front: Front) -> None:
    assert front.ask(key=front.key(networks=["127.0.0.9/32"])).status_code == 200
    elsewhere = front.key(networks=["127.0.0.1/32", "192.0.2.0/24"])
    assert front.ask(key=elsewhere).status_code == 403
    assert front.ask(key=elsewhere, headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403
