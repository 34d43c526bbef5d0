"""The client's address from a proxy: its written forms, and texts that are none."""

import pytest

from web.forwarded import client_address

PEER = "10.0.0.1"
FORMS = {
    "192.0.2.7": "192.0.2.7",
    "192.0.2.7:51034": "192.0.2.7",
    "192.0.2.7:1": "192.0.2.7",
    '"192.0.2.7:51034"': "192.0.2.7",
    '"192.0.2.7"': "192.0.2.7",
    "  192.0.2.7:80\t": "192.0.2.7",
    "2001:db8::7": "2001:db8::7",
    "2001:DB8:0::7": "2001:db8::7",
    "[2001:db8::7]": "2001:db8::7",
    "[2001:db8::7]:443": "2001:db8::7",
    '"[2001:db8::7]:443"': "2001:db8::7",
    '"[2001:db8::7]"': "2001:db8::7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "[::ffff:192.0.2.7]:443": "192.0.2.7",
    "203.0.113.66:1, [2001:db8::7]:443": "2001:db8::7",
    "unknown, 192.0.2.7:1": "192.0.2.7",
}
GARBAGE = [
    "", " ", ",", "unknown", "_hidden", "_hidden:443", "localhost", "app.example.com:443", "192.0.2", "192.0.2.7.",
    "192.0.2.7:", "192.0.2.7:x", "192.0.2.7:123456", "192.0.2.7:-1", "192.0.2.7:80:80", "192.0.2.256:80", "010.0.0.7",
    "010.0.0.7:80", "192.0.2.7/24", "192.0.2.7:80 ;", "[2001:db8::7", "2001:db8::7]", "[2001:db8::7]443",
    "[2001:db8::7]:", "[2001:db8::7]:x", "[[2001:db8::7]]", "[]", "[]:443", "[:]", ":443", "[2001:db8::7]:443:443",
    "fe80::1%eth0", "[fe80::1%eth0]:443", "[fe80::1%25eth0]", '"192.0.2.7', '192.0.2.7"', '""', '"', "'192.0.2.7'",
    '""192.0.2.7""', "for=192.0.2.7", "192.0.2.7:80, unknown", "192.0.2.7,", "١٩٢.0.2.7:80", "192.0.2.7:٨٠", "0x7f.1",
    "1" * 100_000, ":" * 100_000, "[" * 100_000, "1." * 50_000 + ":1", ",1" * 50_000 + ",",
]  # fmt: skip


@pytest.mark.parametrize("written", FORMS)
def test_an_address_is_read_however_it_is_written(written: str) -> None:
    assert client_address({"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": written}, 1) == FORMS[written]
    behind = f"{written}, 10.0.0.2:80, [::1]:80"
    assert client_address({"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": behind}, 3) == FORMS[written]


@pytest.mark.parametrize("written", GARBAGE, ids=lambda written: written[:30])
def test_what_is_no_address_says_nothing(written: str) -> None:
    assert client_address({"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": written}, 1) == PEER


@pytest.mark.parametrize(
    ("proxies", "seen"), [(0, PEER), (1, "192.0.2.3"), (2, "192.0.2.2"), (3, "192.0.2.1"), (4, PEER)]
)
def test_proxies_are_counted_from_the_right(proxies: int, seen: str) -> None:
    header = "192.0.2.1:1, 192.0.2.2:2, 192.0.2.3:3"
    assert client_address({"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": header}, proxies) == seen


def test_without_a_header_or_a_peer_there_is_nothing_to_say() -> None:
    assert client_address({"REMOTE_ADDR": PEER}, 1) == PEER
    assert client_address({}, 1) is None
