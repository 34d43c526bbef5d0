"""A provider behind TLS: its certificate counts, and the authorities are those of SSL_CERT_FILE."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oidc.fetching import FetchFailed
from oidc.published import read_published
from tests.oidc.issuer import Issuer, private_key, running


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
