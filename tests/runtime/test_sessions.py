"""Sessions of people: opened once by a link, or by a token; ended at once, everywhere; only their digest is kept."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from errors import AuthenticationFailed
from identity.principal import Principal
from runtime.sessions import Opened, Sessions
from tests.rows import everything, sql

HOUR = timedelta(hours=1)
PAST = "2020-01-01T00:00:00.000000Z"


@pytest.fixture
def sessions(app: Flask) -> Sessions:
    found: Sessions = app.extensions["keyhook"].sessions
    return found


def invite(sessions: Sessions, lifetime: timedelta = HOUR) -> str:
    return sessions.invite("alice", "write", "lab", lifetime)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(AuthenticationFailed) as refusal:
        call()
    return refusal.value.reason


def test_s1_a_link_opens_a_session_of_the_person_that_it_names(sessions: Sessions) -> None:
    code = invite(sessions)
    assert re.fullmatch(r"khc_[0-9a-f]{32}_[0-9A-Za-z]{43}[0-9a-f]{8}", code)
    opened = sessions.redeem(code)
    assert re.fullmatch(r"khs_[0-9a-f]{32}_[0-9A-Za-z]{43}[0-9a-f]{8}", opened.cookie)
    assert sessions.person(opened.cookie) == Principal("console", "lab", "alice", "write", expires_at=opened.ends_at)


def test_a_session_knows_the_provider_of_its_person(sessions: Sessions, app: Flask) -> None:
    issuer = "https://id.example.com/größe"
    person = Principal("jwt", "lab", "alice", "write", expires_at="9999-01-01T00:00:00.000000Z", issuer=issuer)
    assert sessions.person(sessions.open(person).cookie).issuer == issuer
    assert sessions.person(sessions.redeem(invite(sessions)).cookie).issuer is None


def test_s2_a_link_works_once_and_not_late(sessions: Sessions, app: Flask) -> None:
    code = invite(sessions)
    sessions.redeem(code)
    late = invite(sessions)
    sql(app, "UPDATE sessions SET redeem_until = :past WHERE redeem_until IS NOT NULL", past=PAST)
    for bad in (code, late, code.replace("khc", "khs"), code[:-1], "khc_x", ""):
        assert refused(partial(sessions.redeem, bad))


def test_s2_of_many_at_once_one_gets_the_session(
    app: Flask, sessions: Sessions, make_app: Callable[..., Flask], data_dir: Path
) -> None:
    """From two services on one database."""
    both = [sessions, make_app(data_dir).extensions["keyhook"].sessions]
    code = invite(sessions)

    def attempt(number: int) -> Opened | None:
        try:
            return both[number % 2].redeem(code)  # type: ignore[no-any-return]
        except AuthenticationFailed:
            return None

    with ThreadPoolExecutor(32) as clients:
        opened = [one for one in clients.map(attempt, range(32)) if one is not None]
    assert len(opened) == 1
    assert sql(app, "SELECT count(*) FROM sessions") == [(1,)]
    assert both[1].person(opened[0].cookie).owner == "alice"


def test_s3_a_session_ends_with_its_token_or_after_half_a_day(sessions: Sessions, app: Flask) -> None:
    soon, late = "2030-01-01T00:00:00.000000Z", "9999-01-01T00:00:00.000000Z"
    token = Principal("jwt", "default", "alice", "admin", expires_at=late)
    assert sessions.open(token).ends_at < soon
    opened = sessions.open(token._replace(expires_at=PAST))
    assert opened.ends_at == PAST
    assert refused(lambda: sessions.person(opened.cookie)) == "ended session"
    sessions.open(token)
    assert sql(app, f"SELECT count(*) FROM sessions WHERE ends_at = '{PAST}'") == [(0,)]  # noqa: S608


def test_s3_another_signing_secret_ends_all_sessions(sessions: Sessions, app: Flask) -> None:
    opened = sessions.redeem(invite(sessions))
    other = Sessions(app.extensions["keyhook"].storage, b"another secret of 32 bytes or so")
    assert refused(lambda: other.person(opened.cookie)) == "no such session"
    assert sessions.person(opened.cookie)


def test_s5_an_ended_session_is_refused_by_another_process_too(
    app: Flask, sessions: Sessions, make_app: Callable[..., Flask], data_dir: Path
) -> None:
    elsewhere: Sessions = make_app(data_dir).extensions["keyhook"].sessions
    first, second = (sessions.redeem(invite(sessions)).cookie for _ in range(2))
    sessions.end(first)
    for each in (sessions, elsewhere):
        assert refused(partial(each.person, first))
        assert each.person(second)
    waiting = invite(sessions)
    assert elsewhere.end_all() == 1
    assert refused(lambda: sessions.person(second))
    assert refused(lambda: sessions.redeem(waiting))


def forgeries(code: str, cookie: str) -> Iterator[str]:
    yield from (code, cookie.replace("khs_", "kh_"), cookie.replace("khs_", "khc_"), cookie[:-1], cookie + " ")
    yield from ("", "khs_", "\0", "é" * 90, cookie.upper())


def test_nothing_but_the_cookie_is_a_session(sessions: Sessions) -> None:
    waiting = invite(sessions)
    cookie = sessions.redeem(invite(sessions)).cookie
    for forged in forgeries(waiting, cookie):
        assert refused(partial(sessions.person, forged))
        with pytest.raises(AuthenticationFailed):
            sessions.end(forged)
    assert sessions.person(cookie)


def test_c6_the_database_keeps_neither_code_nor_cookie(sessions: Sessions, app: Flask) -> None:
    code = invite(sessions)
    cookie = sessions.redeem(code).cookie
    kept = str(everything(app))
    for secret in (code, cookie):
        assert secret[36:79] not in kept


def test_a_code_and_a_cookie_are_no_bearers(sessions: Sessions, call: Callable[..., Any]) -> None:
    code = invite(sessions)
    for secret in (code, sessions.redeem(invite(sessions)).cookie):
        assert call("GET", "/v0/auth", by=secret).status_code == 401
