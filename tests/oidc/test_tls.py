"""A provider behind TLS: its certificate counts, and the authorities are those of SSL_CERT_FILE."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oidc.fetching import FetchFailed, fetch_object
from oidc.published import read_published
from tests.oidc.issuer import Issuer, private_key, running
from tests.oidc.test_fetching import dripping_headers


def certificate(path: Path) -> Path:
    """A file with a certificate for `localhost`, signed by its own key, and the key."""
    key, now = private_key("ES256"), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a provider")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path.write_bytes(
        made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return certificate(tmp_path / "provider.pem")


@pytest.fixture
def issuer(file: Path) -> Iterator[Issuer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with running(context) as started:
        yield started


def test_a_known_authority_is_believed(issuer: Issuer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert list(read_published(issuer.name).keys.by_id) == ["RS256"]


def test_an_unknown_one_is_not(issuer: Issuer) -> None:
    with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
        read_published(issuer.name)


def test_nor_a_certificate_for_another_name(issuer: Issuer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
        read_published(issuer.name.replace("localhost", "127.0.0.1"))


def test_nothing_goes_out_in_clear_when_the_time_is_over(
    issuer: Issuer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form with the client's secret may be sent at that very moment."""
    spoken: list[str | None] = []

    def shut(connection: socket.socket, how: int) -> None:
        if isinstance(connection, ssl.SSLSocket) and not connection.server_side:
            spoken.append(connection.version())
        close(connection, how)

    close = socket.socket.shutdown
    monkeypatch.setattr(socket.socket, "shutdown", shut)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    issuer.answers["/token"] = dripping_headers
    with pytest.raises(FetchFailed):
        fetch_object(issuer.name.replace("/realms/home", "/token"), {"code": "x"}, whole=0.5)
    assert spoken == ["TLSv1.3"]
