"""FastAPI: the session as a dependency of routes and WebSockets, and in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from keyturn.domain.errors import DurationError
from keyturn.testing import ClockedService
from keyturn.web import RequestRefusedError
from keyturn.web.fastapi import (
    Authenticated,
    KeyturnMiddleware,
    answer_refusal,
    log_in,
    log_out,
    session,
)


@pytest.fixture
def client(keyturn_service: ClockedService) -> TestClient:
    app = make_app()
    app.add_middleware(KeyturnMiddleware, service=keyturn_service)
    return TestClient(app, base_url="https://example.com")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(who: Annotated[Authenticated, Depends(session)]) -> str:
        return who.subject

    @app.get("/recent")
    def recent(who: Annotated[Authenticated, Depends(session(max_age=300))]) -> str:
        return who.subject

    @app.post("/login")
    async def login(request: Request) -> str:
        return await log_in(request, "alice", expiry=600, cookie=False)

    @app.post("/logout")
    async def logout(request: Request) -> bool:
        return await log_out(request, "bye")

    @app.websocket("/news")
    async def news(websocket: WebSocket, who: Annotated[Authenticated, Depends(session)]) -> None:
        await websocket.accept()
        await websocket.send_text(who.subject)

    return app


def test_a_route_knows_whose_session_it_is(client: TestClient) -> None:
    response = client.post("/login")
    headers = {"Authorization": f"Bearer {response.json()}"}

    assert "Set-Cookie" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"
    assert client.get("/me", headers=headers).json() == "alice"
    assert client.post("/logout", headers=headers).json() is True
    assert client.get("/me", headers=headers).status_code == 401


def test_a_route_that_depends_on_a_session_refuses_others(client: TestClient) -> None:
    refused = client.get("/me")

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="keyturn"'


def test_a_route_may_ask_for_a_session_that_began_just_now(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    headers = {"Authorization": f"Bearer {keyturn_service.create_token(subject='alice')}"}

    assert client.get("/recent", headers=headers).json() == "alice"
    keyturn_service.clock.advance(302)
    assert client.get("/recent", headers=headers).status_code == 401


def test_an_age_that_is_none_is_an_error_where_the_route_is_made() -> None:
    with pytest.raises(DurationError, match="max_age"):
        session(max_age=-1)


def test_a_websocket_depends_on_a_session_too(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    headers = {"Authorization": f"Bearer {keyturn_service.create_token(subject='alice')}"}

    with client.websocket_connect("/news", headers=headers) as connection:
        assert connection.receive_text() == "alice"
    with (
        client.websocket_connect("/news") as connection,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        connection.receive_text()

    assert closed.value.code == 4401


def test_a_middleware_around_the_whole_app_needs_a_handler_for_refusals(
    keyturn_service: ClockedService,
) -> None:
    app = make_app()
    app.add_exception_handler(RequestRefusedError, answer_refusal)
    client = TestClient(KeyturnMiddleware(app, keyturn_service), base_url="https://example.com")

    refused = client.get("/me")

    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
    with (
        client.websocket_connect("/news") as connection,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        connection.receive_text()
    assert closed.value.code == 4401


def test_the_openapi_document_names_both_ways(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    assert document["components"]["securitySchemes"] == {
        "keyturn_bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "keyturn_cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-session"},
    }
    for path in ("/me", "/recent"):
        operation = document["paths"][path]["get"]
        assert operation["security"] == [{"keyturn_bearer": []}, {"keyturn_cookie": []}]
        assert "parameters" not in operation
    assert "security" not in document["paths"]["/login"]["post"]
