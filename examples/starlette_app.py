"""A Starlette app: a login, a protected route, and live connections that a reset drops.

    pip install starlette uvicorn websockets
    uvicorn --app-dir examples --factory starlette_app:create

Resets by other processes count too: run `keyturn --path data reset` beside it.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import AsyncIterator, Callable

from live_connections import LiveConnections
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import keyturn

LOGGED_OUT = 4401  # the code that ends a WebSocket


def make_app(service: keyturn.Service, is_password: Callable[[str, str], bool]) -> Starlette:
    """Return the app. `is_password(user, password)` is the host's own way to know its users."""
    sessions, live = keyturn.AsyncService(service), LiveConnections()

    async def user_of(request: Request) -> str:
        token = token_of(request)
        if await sessions.verify_token(token):  # quick, whatever it is given
            claims = (await sessions.inspect_token(token)).claims or {}
            return str(claims["sub"])
        raise HTTPException(401, "log in", {"WWW-Authenticate": "Bearer"})

    async def login(request: Request) -> Response:
        asked = await request.json()
        if not is_password(asked["user"], asked["password"]):
            raise HTTPException(401, "wrong user or password")
        return JSONResponse({"token": await sessions.create_token(subject=asked["user"])})

    async def me(request: Request) -> Response:
        return JSONResponse({"user": await user_of(request)})

    async def log_out_all(request: Request) -> Response:
        await sessions.reset_key("all were logged out", initiator=await user_of(request))
        return Response(status_code=204)

    async def news(websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(TimeoutError):
            async with live.until_reset():
                if await sessions.verify_token(token_of(websocket)):
                    await websocket.send_text("welcome")
                    async for _ in websocket.iter_text():
                        pass  # an app with news sends them here
                    return  # the client left
        await websocket.close(LOGGED_OUT, "log in")

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with live.watching(sessions):
            yield

    routes = [
        Route("/login", login, methods=["POST"]),
        Route("/log-out-all", log_out_all, methods=["POST"]),
        Route("/me", me),
        WebSocketRoute("/news", news),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def token_of(connection: HTTPConnection) -> str:
    """Return the token of a request, or what is none."""
    return connection.headers.get("authorization", "").removeprefix("Bearer ")


def create() -> Starlette:
    """Return the app for uvicorn; its only user is alice, her password is wonderland."""
    service = keyturn.open(path="data", password=None)
    atexit.register(service.close)
    return make_app(service, lambda *given: given == ("alice", "wonderland"))
