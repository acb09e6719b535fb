"""What a client may send to a real server: the right status for each, never a traceback."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest

import keyturn
from keyturn import Service
from tests.web.apps import make_app
from tests.web.servers import uvicorn_of, wait_until


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with keyturn.open(store="memory:", password=None) as service:
        yield service


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    with uvicorn_of(make_app(service), h11_max_incomplete_event_size=65_536) as address:
        yield address


def raw(address: str, request: bytes) -> bytes:
    """Send bytes, and return all that comes back."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65_536):
            received += part
    return received


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /me HTTP/1.0\r\n", 401),
        (b"GET / HTTP/1.0\r\n", 200),
        (b"GET /me HTTP/1.0\r\nAuthorization: Bearer %b\r\n" % (b"x" * 40_000), 401),
        (b"GET /me HTTP/1.0\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y\r\n", 400),
        (b"GET /me HTTP/1.0\r\nCookie: __Host-session=x\r\nCookie: __Host-session=y\r\n", 400),
        (b"GET /me HTTP/1.0\r\n" + b"Cookie: a=b\r\n" * 90, 401),
        (b"GET /?access_token=x HTTP/1.0\r\n", 400),
        (b"DELETE /me HTTP/1.0\r\n", 405),
        (b"POST /login HTTP/1.0\r\nOrigin: null\r\n", 403),
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else None,
)
def test_each_bad_request_has_its_status(
    address: str, request_: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = raw(address, request_ + b"Connection: close\r\n\r\n")

    assert int(answer.split()[1]) == status
    assert b"Traceback" not in answer
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_token_stands_in_no_log_line_and_in_no_answer(
    service: Service, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = service.create_token().encode()
    service.stop()
    caplog.set_level(logging.DEBUG)

    request = b"GET /me HTTP/1.0\r\nAuthorization: Bearer %b\r\n\r\n" % token
    answer = raw(address, request)

    assert answer.startswith(b"HTTP/1.1 503")
    assert token not in answer
    assert token.decode() not in caplog.text
    assert "a session could not be checked" in caplog.text
    service.start()


def test_a_client_that_never_reads_holds_up_no_other(service: Service, address: str) -> None:
    """Its WebSocket is closed as far as it lets us, and others are served meanwhile."""
    host, _, port = address.partition(":")
    token = service.create_token()
    with socket.create_connection((host, int(port)), timeout=20) as deaf:
        deaf.sendall(
            b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % token.encode()
        )
        wait_until(lambda: deaf.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 101"))

        service.end_session(token=token)

        assert raw(address, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_subject_may_be_written_in_any_script(service: Service, address: str) -> None:
    token = service.create_token(subject="аліса 🔑").encode()

    answer = raw(address, b"GET /me HTTP/1.0\r\nAuthorization: Bearer %b\r\n\r\n" % token)

    assert "аліса 🔑".encode() in answer
