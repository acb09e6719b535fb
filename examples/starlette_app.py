"""A Starlette app: a login, a protected route, and live connections that a reset drops.

    pip install keyturn starlette uvicorn websockets
    uvicorn --app-dir examples --factory starlette_app:create

Resets by other processes count too: run `keyturn --path data reset` beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from keyturn import Service
from keyturn.web import PerProcess, per_process
from keyturn.web.asgi import KeyturnMiddleware, session_of


def make_app(service: Service | PerProcess, is_password: Callable[[str, str], bool]) -> Starlette:
    """Return the app. `is_password(user, password)` is the host's own way to know its users."""

    async def login(request: Request) -> Response:
        asked = await request.json()
        if not is_password(asked["user"], asked["password"]):
            raise HTTPException(401, "wrong user or password")
        token = await session_of(request.scope).log_in(asked["user"], cookie=False)
        return JSONResponse({"token": token})

    async def me(request: Request) -> Response:
        who = await session_of(request.scope).require()
        return JSONResponse({"user": who.subject})

    async def log_out_all(request: Request) -> Response:
        session = session_of(request.scope)
        who = await session.require(max_age=300)
        await session.service.reset_key("all were logged out", initiator=who.subject)
        return Response(status_code=204)

    async def news(websocket: WebSocket) -> None:
        await session_of(websocket.scope).require()
        await websocket.accept()
        await websocket.send_text("welcome")
        async for _ in websocket.iter_text():
            pass  # an app with news sends them here

    routes = [
        Route("/login", login, methods=["POST"]),
        Route("/log-out-all", log_out_all, methods=["POST"]),
        Route("/me", me),
        WebSocketRoute("/news", news),
    ]
    return Starlette(routes=routes, middleware=[Middleware(KeyturnMiddleware, service=service)])


def create() -> Starlette:
    """Return the app for uvicorn; its only user is alice, her password is wonderland."""
    sessions = per_process(path="data", password=None)
    return make_app(sessions, lambda *given: given == ("alice", "wonderland"))
