"""WebSockets and event streams behind a real server end with their session, and say so."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import keyturn
from keyturn import Service
from keyturn.testing import ClockedService
from keyturn.web import WebOptions
from tests.web.apps import make_app
from tests.web.servers import uvicorn_of, wait_until

SESSION_OVER = 4401
QUICK = WebOptions(check_every=0.05)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with keyturn.open(store="memory:", password=None) as service:
        yield service


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    with uvicorn_of(make_app(service)) as address:
        yield address


@pytest.fixture
def stoppable(service: Service) -> Iterator[Service]:
    """The service, which a test may stop."""
    yield service
    service.start()


def opened(address: str, token: str, path: str = "/socket", **headers: str) -> ClientConnection:
    headers = {"Authorization": f"Bearer {token}"} | headers
    return connect(f"ws://{address}{path}", additional_headers=headers)


def close_of(connection: ClientConnection) -> tuple[int, str]:
    """Return the code and the reason with which the server closes it."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda service, token: service.end_session(token=token), "session ended"),
        (lambda service, token: service.end_sessions(subject="alice"), "session ended"),
        (lambda service, token: service.reset_key(), "unknown key"),
    ],
    ids=["session", "subject", "reset"],
)
def test_a_websocket_is_closed_when_its_session_ends(
    service: Service, address: str, end: Callable[[Service, str], object], reason: str
) -> None:
    token = service.create_token(subject="alice")
    with opened(address, token) as connection:
        assert connection.recv() == "alice"

        end(service, token)

        assert close_of(connection) == (SESSION_OVER, reason)


def test_the_end_of_one_session_closes_no_other(service: Service, address: str) -> None:
    token, other = (service.create_token(subject="alice") for _ in range(2))
    with opened(address, token) as ended, opened(address, other) as stays:
        assert ended.recv() == stays.recv() == "alice"

        service.end_session(token=token)

        assert close_of(ended) == (SESSION_OVER, "session ended")
        stays.send("hello")
        assert stays.recv() == "hello"


def test_a_rotation_closes_nothing_until_its_overlap_ends(
    keyturn_service: ClockedService,
) -> None:
    with (
        uvicorn_of(make_app(keyturn_service, QUICK)) as address,
        opened(address, keyturn_service.create_token(subject="alice")) as connection,
    ):
        assert connection.recv() == "alice"

        keyturn_service.rotate_key(overlap=60)
        connection.send("hello")
        assert connection.recv() == "hello"
        keyturn_service.clock.advance(120)

        assert close_of(connection) == (SESSION_OVER, "revoked")


def test_a_websocket_is_closed_when_its_token_expires(keyturn_service: ClockedService) -> None:
    """By its own timer: nothing else checks it here."""
    with (
        uvicorn_of(make_app(keyturn_service, WebOptions(check_every=3600))) as address,
        opened(address, keyturn_service.create_token(0.1, "alice")) as connection,
    ):
        assert connection.recv() == "alice"

        keyturn_service.clock.advance(5)

        assert close_of(connection) == (SESSION_OVER, "expired")


def test_what_no_event_tells_is_found_by_looking_every_so_often(
    keyturn_service: ClockedService,
) -> None:
    with (
        uvicorn_of(make_app(keyturn_service, QUICK)) as address,
        opened(address, keyturn_service.create_token(subject="alice")) as connection,
    ):
        assert connection.recv() == "alice"

        keyturn_service.clock.advance(90_000)  # the timers of the loop know another time

        assert close_of(connection) == (SESSION_OVER, "expired")


def test_what_cannot_be_checked_is_closed_with_another_code(
    stoppable: Service, address: str
) -> None:
    with opened(address, stoppable.create_token(subject="alice")) as connection:
        assert connection.recv() == "alice"

        stoppable.stop()

        assert close_of(connection)[0] == 1013


def test_a_reset_by_another_process_closes_too(tmp_path: Path) -> None:
    with (
        keyturn.open(path=tmp_path / "data", password=None) as service,
        keyturn.open(path=tmp_path / "data", password=None) as other,
        uvicorn_of(make_app(service)) as address,
        opened(address, service.create_token(subject="alice")) as connection,
    ):
        assert connection.recv() == "alice"

        other.reset_key()

        assert close_of(connection) == (SESSION_OVER, "unknown key")


# --- opening one ---


def test_a_bad_token_is_told_by_a_code_that_a_page_can_read(
    service: Service, address: str
) -> None:
    with opened(address, "none") as connection:
        code, reason = close_of(connection)

    assert (code, reason) == (SESSION_OVER, "the token is not good: malformed")


def test_the_route_refuses_who_has_no_token(address: str) -> None:
    with connect(f"ws://{address}/socket") as connection:
        assert close_of(connection)[0] == SESSION_OVER


def test_an_open_websocket_is_closed_when_the_route_asks_for_a_session(address: str) -> None:
    with connect(f"ws://{address}/open-socket") as connection:
        assert connection.recv() == "welcome"
        assert close_of(connection)[0] == SESSION_OVER


def test_a_protocol_that_was_offered_is_taken_so_that_browsers_see_the_code(
    address: str,
) -> None:
    with connect(f"ws://{address}/socket", subprotocols=["chat"]) as connection:  # type: ignore[list-item]
        assert connection.subprotocol == "chat"
        assert close_of(connection)[0] == SESSION_OVER


def test_a_page_of_another_site_opens_no_websocket(service: Service, address: str) -> None:
    cookie = f"__Host-session={service.create_token()}"
    headers = {"Cookie": cookie, "Origin": "https://evil.test"}

    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{address}/socket", additional_headers=headers)

    assert refused.value.response.status_code == 403


def test_a_page_of_the_site_opens_one_with_its_cookie(service: Service, address: str) -> None:
    cookie = f"__Host-session={service.create_token(subject='alice')}"
    headers = {"Cookie": cookie, "Origin": f"http://{address}"}

    with connect(f"ws://{address}/socket", additional_headers=headers) as connection:
        assert connection.recv() == "alice"


def test_a_service_that_cannot_answer_opens_no_websocket(
    stoppable: Service, address: str
) -> None:
    token = stoppable.create_token()
    stoppable.stop()

    with pytest.raises(InvalidStatus) as refused:
        opened(address, token)

    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "5"


# --- streams of events ---


def test_a_stream_of_events_ends_with_its_session(service: Service, address: str) -> None:
    token = service.create_token()
    with streaming(address, token) as stream:
        assert stream.readline() == b"data: welcome\n"

        service.end_session(token=token)

        assert stream.read() == b"\n"


@contextlib.contextmanager
def streaming(address: str, token: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/news", headers={"Authorization": f"Bearer {token}"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_stream_that_its_client_leaves_is_forgotten(service: Service) -> None:
    app = make_app(service)
    with uvicorn_of(app) as address:
        with streaming(address, service.create_token()) as stream:
            stream.readline()
        token = service.create_token()
        with streaming(address, token) as stream:
            stream.readline()
            service.end_session(token=token)
            stream.read()

        middleware = app.middleware_stack.app
        (connections,) = middleware._live.values()
        wait_until(lambda: not connections._timers)
