"""Replay tests of `starlette_app.py`, with the fixture `replay` that Keyturn brings to pytest.

Run them with `pytest examples`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from starlette_app import make_app

from keyturn import ResetKey
from keyturn.testing import Generated, Replay, Reset, Rotated
from keyturn.web.asgi import SESSION_OVER


@pytest.fixture
def client(replay: Replay) -> Iterator[TestClient]:
    """The app, on the service of the replay."""
    with TestClient(make_app(replay.service, lambda user, password: password == "right")) as it:
        yield it


def bearer(token: str) -> dict[str, str]:
    """Return the headers of a request with a token."""
    return {"Authorization": f"Bearer {token}"}


def test_who_logs_in_is_known(client: TestClient) -> None:
    token = client.post("/login", json={"user": "alice", "password": "right"}).json()["token"]

    assert client.get("/me", headers=bearer(token)).json() == {"user": "alice"}


def test_a_wrong_password_is_refused(client: TestClient) -> None:
    assert client.post("/login", json={"user": "alice", "password": "?"}).status_code == 401


def test_a_session_ends_with_its_expiry(client: TestClient, replay: Replay) -> None:
    token = client.post("/login", json={"user": "alice", "password": "right"}).json()["token"]

    replay.clock.advance(24 * 3600 + 1)

    assert client.get("/me", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize(("generation", "status"), [(1, 401), (2, 200), (3, 200)])
def test_tokens_of_the_past(
    client: TestClient, replay: Replay, generation: int, status: int
) -> None:
    replay.given(Generated(), Reset(reason="laptop stolen"), Rotated(overlap=60))

    response = client.get("/me", headers=bearer(replay.token(generation)))

    assert response.status_code == status


def test_logging_all_out_is_on_the_record(client: TestClient, replay: Replay) -> None:
    headers = bearer(replay.token(subject="alice"))

    replay.when(lambda _: client.post("/log-out-all", headers=headers).status_code)

    replay.then(Reset(reason="all were logged out", initiator="alice")).then_reply(204)


def test_a_reset_drops_live_connections(client: TestClient, replay: Replay) -> None:
    with client.websocket_connect("/news", headers=bearer(replay.token())) as connection:
        assert connection.receive_text() == "welcome"

        replay.when(ResetKey(reason="laptop stolen"))

        with pytest.raises(WebSocketDisconnect) as dropped:
            connection.receive_text()

    assert (dropped.value.code, dropped.value.reason) == (SESSION_OVER, "unknown key")


def test_a_live_connection_takes_a_good_token(client: TestClient) -> None:
    with (
        client.websocket_connect("/news", headers=bearer("none")) as connection,
        pytest.raises(WebSocketDisconnect) as dropped,
    ):
        connection.receive_text()

    assert dropped.value.code == SESSION_OVER
